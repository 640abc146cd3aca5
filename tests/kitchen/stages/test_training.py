"""The stages of one optimizer step."""

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Call, Handlers, Success, fold, trace
from crucible.kitchen import Context, pure_stage
from crucible.kitchen.handlers.noop import EveryPort
from crucible.kitchen.stages.supervised import SupervisedState
from crucible.kitchen.stages.training import (
    await_step,
    forward_backward,
    log_epoch_metrics,
    log_step_metrics,
    optim_step,
)
from crucible.kitchen.states import Batched
from crucible.telemetry.events import EpochCompleted, TrainingStep
from crucible.train.algorithms.schedules import Schedule, learning_rate
from crucible.train.types import AdamParams
from tests.kitchen.fakes import Told, recording
from tests.kitchen.stages.small import batched, opened
from tests.kitchen.workflows.small import handlers_of, many_rows


@pure_stage
def all_of_it(context: Context[Batched[SupervisedState]]) -> Context[Batched[SupervisedState]]:
    """Take the batch as it is."""
    return context


whole_step = all_of_it >> forward_backward >> optim_step >> await_step >> log_step_metrics


def ready(step: int = 0) -> tuple[Handlers[EveryPort], Context[Batched[SupervisedState]]]:
    handlers = handlers_of()
    context = batched(opened(handlers))
    return handlers, context.to(attrs.evolve(context.state, base=attrs.evolve(context.state.base, step=step)))


@settings(max_examples=15)
@given(many_rows)
def test_a_step_on_a_fresh_backend_always_does_the_same(rows: list[dict[str, object]]) -> None:
    """Each stage by itself, twice, on backends that are in the same state."""

    def outcomes() -> list[object]:
        handlers = handlers_of(rows)
        seen: list[object] = []
        context = batched(opened(handlers))
        before = attrs.evolve(context)
        submitted, calls = recording(handlers, forward_backward(context))
        seen += [submitted, calls]
        stepping, calls = recording(handlers, optim_step(submitted.unwrap()))
        seen += [stepping, calls]
        stepped, calls = recording(handlers, await_step(stepping.unwrap()))
        seen += [stepped, calls]
        logged, calls = recording(handlers, log_step_metrics(stepped.unwrap()))
        assert before == context
        return [*seen, logged, calls]

    assert outcomes() == outcomes()


def test_a_batch_is_scaled_so_that_its_loss_is_the_mean_over_trained_tokens() -> None:
    handlers, context = ready()
    told = Told()
    after = handlers.run(whole_step(context), writer=told).unwrap()
    [step] = [event for _, event in told.events if isinstance(event, TrainingStep)]
    sums = [sum(datum.loss_fn_inputs["weights"].data) for datum in context.state.batch]
    assert step.num_tokens == sum(sums)
    assert 3 < step.loss < 8
    assert after.state.epoch_loss == step.loss
    assert after.state.epoch_steps == 1


def test_another_loss_than_cross_entropy_is_given_the_data_as_it_is() -> None:
    handlers, context = ready()
    performed: list[object] = []
    handlers = trace(handlers, into=lambda traced: performed.append(traced.call))
    how = attrs.evolve(context.state.base.optimization, loss_fn="ppo", loss_fn_config={"clip_low_threshold": 0.9})
    changed = context.to(attrs.evolve(context.state, base=attrs.evolve(context.state.base, optimization=how)))
    error = handlers.run(forward_backward(changed)).failure()
    assert str(error).startswith("this loss needs logprobs (item 0)")
    [call] = performed
    assert isinstance(call, Call)
    assert call.arguments[1] == context.state.batch
    assert call.keywords == {"loss_fn": "ppo", "loss_fn_config": {"clip_low_threshold": 0.9}}


@given(st.integers(0, 9))
@settings(max_examples=10)
def test_the_learning_rate_is_that_of_the_step_and_the_rest_of_adam_is_kept(step: int) -> None:
    handlers, context = ready(step)
    adam = AdamParams(beta1=0.5, grad_clip_norm=0.25)
    schedule = Schedule(kind="linear", peak=0.5, total_steps=10)
    how = attrs.evolve(context.state.base.optimization, schedule=schedule, adam=adam)
    context = context.to(attrs.evolve(context.state, base=attrs.evolve(context.state.base, optimization=how)))
    performed: list[object] = []
    submitted = handlers.run(forward_backward(context)).unwrap()
    handlers = trace(handlers, into=lambda traced: performed.append(traced.call.arguments[1]))
    stepping = handlers.run(optim_step(submitted)).unwrap()
    assert performed == [attrs.evolve(adam, learning_rate=learning_rate(schedule, step))]
    assert stepping.state.base.step == step


def test_the_step_is_counted_when_it_is_done_and_nowhere_else() -> None:
    handlers, context = ready(step=4)
    submitted = handlers.run(forward_backward(context)).unwrap()
    stepping = handlers.run(optim_step(submitted)).unwrap()
    assert (submitted.state.base.step, stepping.state.base.step) == (4, 4)
    assert handlers.run(await_step(stepping)).unwrap().state.base.step == 5


@given(st.lists(st.floats(0, 9), max_size=5), st.integers(0, 3))
def test_the_mean_of_an_epoch_is_over_its_steps_and_the_next_begins_at_zero(losses: list[float], epoch: int) -> None:
    _, context = _ready
    state = attrs.evolve(
        context.state.base, epoch=epoch, epoch_loss=sum(losses), epoch_steps=len(losses), step=len(losses)
    )
    told = Told()
    after = Handlers.none().run(log_epoch_metrics(context.to(state)), writer=told)
    mean = sum(losses) / len(losses) if losses else 0.0
    assert told.events == [("/", EpochCompleted(step=len(losses), epoch=epoch, mean_loss=mean))]
    begun = fold(after, lambda it: it.state, lambda _: state)
    assert (begun.epoch, begun.epoch_loss, begun.epoch_steps, begun.step) == (epoch + 1, 0.0, 0, len(losses))


_ready = ready()


def test_logging_a_step_gives_its_state_on() -> None:
    handlers, context = ready()
    after = handlers.run(whole_step(context))
    assert isinstance(after, Success)
    assert after.unwrap().state == attrs.evolve(
        context.state.base,
        step=1,
        batches_done=1,
        had_gradient=True,
        epoch_loss=after.unwrap().state.epoch_loss,
        epoch_steps=1,
    )
