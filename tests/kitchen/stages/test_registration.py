"""Registration of trained weights."""

import attrs

from crucible.effects import perform
from crucible.kitchen.ports import ModelRegistry
from crucible.kitchen.stages.checkpoints import save_final_weights
from crucible.kitchen.stages.registration import register_model
from crucible.telemetry.events import ModelRegistered
from crucible.train.errors import InvalidRequest
from tests.kitchen.fakes import Told
from tests.kitchen.stages.small import opened
from tests.kitchen.workflows.small import BASE, handlers_of


def test_weights_that_were_not_saved_cannot_be_registered() -> None:
    handlers = handlers_of()
    error = handlers.run(register_model(opened(handlers))).failure()
    assert error == InvalidRequest(
        message="no final weights were saved", fix="put save_final_weights before register_model"
    )


def test_a_model_without_a_name_of_its_own_is_registered_under_its_base() -> None:
    handlers, told = handlers_of(), Told()
    context = handlers.run(save_final_weights(opened(handlers))).unwrap()
    handlers.run(register_model(context), writer=told).unwrap()
    assert told.events[1][1] == ModelRegistered(model_id="noop@evening", version="evening", step=0)
    named = context.to(attrs.evolve(context.state, config=attrs.evolve(BASE, register_as="talker")))
    handlers.run(register_model(named)).unwrap()
    models = handlers.run(perform(ModelRegistry.list_models)).unwrap()
    assert [(model.artifact.name, model.artifact.version) for model in models] == [
        ("noop", "evening"),
        ("talker", "evening"),
    ]
    assert models[0].artifact.uri == models[1].artifact.uri


def test_another_model_under_the_version_of_a_run_is_refused() -> None:
    handlers = handlers_of()
    context = handlers.run(save_final_weights(opened(handlers))).unwrap()
    handlers.run(register_model(context)).unwrap()
    handlers.run(register_model(context)).unwrap()
    scored = context.to(attrs.evolve(context.state, metrics={"accuracy": 1.0}))
    error = handlers.run(register_model(scored)).failure()
    assert str(error) == "model 'noop@evening' exists already: register it under another version"
