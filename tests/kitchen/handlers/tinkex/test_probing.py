"""What a Tinker server can do is found out over HTTP, told, and what a workflow lacks is an error before the first step."""

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from crucible.effects import Journal, perform, record, replay
from crucible.kitchen import Context
from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.handlers import noop, tinkex
from crucible.kitchen.handlers.tinkex.probing import probed
from crucible.kitchen.stages.distillation import DistillationConfig
from crucible.kitchen.stages.preference import PreferenceConfig
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows import distillation, distillation_forward_kl, preference, supervised
from crucible.telemetry.events import BackendProbed
from crucible.testing.tinker_server import Delay, Deviations, Fail, Fault, serve
from crucible.train.errors import Unsupported
from crucible.train.needs import unmet
from crucible.train.ports import TrainingClient
from crucible.train.types import Capabilities, DatasetConfig, Row, SamplingConfig, SessionConfig
from tests.kitchen.handlers.tinkex.servers import AVERAGES, MODEL, serving
from tests.kitchen.workflows.runs import on_nothing, ran, sessions_left_open

ROWS: tuple[Row, ...] = tuple({"prompt": f"{n}?", "completion": f"yes {n}"} for n in range(4))
PAIRS: tuple[Row, ...] = tuple({"prompt": f"{n}?", "chosen": f"yes {n}", "rejected": "no"} for n in range(4))
SESSION, DATASET = SessionConfig(model=MODEL), DatasetConfig(name="rows")
DUELS = PreferenceConfig(session=SESSION, dataset=DATASET, batch_size=2)
LESSONS = DistillationConfig(session=SESSION, dataset=DATASET, teachers=(SamplingConfig(model="other"),), max_tokens=2)

PROMISED = {
    "trains": True,
    "loss_reduction": "sum",
    "losses_are_sums": True,
    "negative_weights": True,
    "custom_losses": True,
    "prompt_logprobs": True,
    "top_logprobs": True,
    "idempotent_submit": True,
}


@pytest.mark.parametrize(
    ("deviations", "different"),
    [
        (Deviations(), {}),
        (AVERAGES, {"loss_reduction": "mean", "negative_weights": False}),
        (Deviations(lacks=["negative_weights"]), {"negative_weights": False}),
        (Deviations(lacks=["prompt_logprobs"]), {"prompt_logprobs": False}),
        (Deviations(lacks=["top_logprobs"]), {"top_logprobs": False}),
        (
            Deviations(lacks=["grad_norm"]),
            {
                "trains": None,
                "loss_reduction": "unknown",
                "losses_are_sums": False,
                "negative_weights": None,
                "custom_losses": None,
                "idempotent_submit": None,
            },
        ),
    ],
)
def test_a_probe_finds_what_a_server_does_otherwise(deviations: Deviations, different: Mapping[str, object]) -> None:
    with serving(deviations) as there:
        found = probed(there.config, MODEL, "a server")
        sent = there.server.asked("create_session", "create_model", "forward_backward", "optim_step", "asample")
    told = {
        **attrs.asdict(found),
        "losses_are_sums": found.losses_are_sums,
        "custom_losses": found.has("custom_losses"),
    }
    assert {name: told[name] for name in PROMISED} == {**PROMISED, **different}
    assert found.known_by == "probed"
    assert found.num_requests >= len(sent) > 4
    assert 0 < found.seconds < there.config.probe_seconds


def test_what_fails_in_a_probe_is_noted_and_not_known() -> None:
    with serve(noop.all(), models=[MODEL], faults=[Fault("create_model", Fail("no adapter is free"))]) as server:
        config = tinkex.TinkerConfig(base_url=server.url, api_key=server.api_key)
        found = probed(config, MODEL, "a server")
    assert (found.loss_reduction, found.trains, found.prompt_logprobs) == ("unknown", None, True)
    assert found.has("custom_losses") is None
    (note,) = found.notes
    assert note.startswith("a model: ")
    assert "no adapter is free" in note


def test_an_answer_that_does_not_come_in_time_is_no_refusal() -> None:
    with serve(noop.all(), models=[MODEL], faults=[Fault("asample", Delay(30))]) as server:
        config = tinkex.TinkerConfig(base_url=server.url, api_key=server.api_key, probe_seconds=1.5)
        found = probed(config, MODEL, "a server")
    assert (found.prompt_logprobs, found.top_logprobs) == (None, None)
    assert found.seconds < 15
    assert unmet(("prompt_logprobs",), found) is None
    assert isinstance(unmet(("custom_losses",), found), Unsupported)


def test_a_workflow_tells_what_was_found_and_what_it_cost() -> None:
    with serving(AVERAGES, before=on_nothing(ROWS)) as there:
        run = ran(there.handlers, supervised(Context.start(SupervisedConfig(session=SESSION, dataset=DATASET))))
    run.outcome.unwrap()
    (event,) = run.events(BackendProbed)
    assert (event.loss_reduction, event.losses_are_sums, event.known_by) == ("mean", True, "probed")
    assert event.num_requests > 10
    assert event.probe_seconds > 0
    assert there.server.url in event.backend


def test_a_recorded_run_tells_what_was_found_again_and_sends_nothing() -> None:
    journal, config = Journal(), attrs.evolve(DUELS, learning_rate=1e-3)
    with serving(AVERAGES, before=on_nothing(PAIRS)) as there:
        first = ran(record(there.handlers, journal), preference(Context.start(config, run_id="evening")))
    again = ran(replay(journal), preference(Context.start(config, run_id="evening")))  # the server is gone
    assert again.events(BackendProbed) == first.events(BackendProbed) != []
    assert again.told == first.told


def test_a_backend_that_knows_itself_is_not_probed() -> None:
    run = ran(on_nothing(ROWS), supervised(Context.start(SupervisedConfig(session=SESSION, dataset=DATASET))))
    assert run.outcome.unwrap().state.session.capabilities == Capabilities()
    assert not run.events(BackendProbed)


@pytest.mark.parametrize(
    ("workflow", "config", "lack", "said"),
    [
        (preference, DUELS, "grad_norm", "custom losses"),
        (preference, DUELS, "prompt_logprobs", "log-probabilities of the tokens"),
        (distillation, LESSONS, "prompt_logprobs", "log-probabilities of the tokens"),
        (distillation_forward_kl, LESSONS, "top_logprobs", "likeliest tokens"),
    ],
)
def test_what_a_workflow_needs_and_the_server_lacks_is_an_error_before_the_first_step(
    workflow: Any, config: TrainingConfig, lack: Any, said: str
) -> None:
    rows = PAIRS if isinstance(config, PreferenceConfig) else ROWS
    with serving(Deviations(lacks=[lack]), before=on_nothing(rows)) as there:
        run = ran(there.handlers, workflow(Context.start(config)))
    error = run.outcome.failure()
    cause = getattr(error, "error", error)
    assert isinstance(cause, Unsupported), cause
    assert said in str(cause)
    assert there.server.url in str(cause)
    assert cause.fix
    assert run.events(BackendProbed)
    assert not sessions_left_open(run.log)
    assert not run.log.of("TrainingClient.forward_backward")
    assert not run.log.of("CustomLossClient.forward_backward_custom")


def test_a_preference_loss_without_a_reference_needs_no_scores() -> None:
    with serving(Deviations(lacks=["prompt_logprobs"]), before=on_nothing(PAIRS)) as there:
        run = ran(there.handlers, preference(Context.start(attrs.evolve(DUELS, loss="simpo"))))
    run.outcome.unwrap()


def test_a_training_that_says_no_need_sends_nothing_for_it() -> None:
    with serving() as there:
        there.handlers.run(perform(TrainingClient.start_session, SESSION)).unwrap()
        assert len(there.server.asked("create_model")) == 1
        assert not there.server.asked("forward_backward")


def test_a_need_that_is_none_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="did you mean custom_losses"):
        SessionConfig(model=MODEL, needs=("custom_loss",))  # type: ignore[arg-type]  # as from a file
