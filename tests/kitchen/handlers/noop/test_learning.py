"""The noop model is a model: its losses have the slopes they claim, and it learns what it is taught."""

import itertools
import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Do, do, perform
from crucible.kitchen.handlers import noop
from crucible.kitchen.handlers.noop._bigram import TOKENIZER, VOCAB_SIZE, Policy, choose, log_softmax
from crucible.kitchen.handlers.noop._losses import configured
from crucible.train.errors import TrainError
from crucible.train.ports import SamplingClient, TrainingClient
from crucible.train.types import (
    AdamParams,
    Datum,
    LossFn,
    ModelInput,
    SamplingConfig,
    SamplingParams,
    SessionConfig,
    TensorData,
)

LOSSES: tuple[LossFn, ...] = ("cross_entropy", "importance_sampling", "ppo", "cispo", "dro")

numbers = st.floats(-4, 0)


@pytest.mark.parametrize("loss_fn", LOSSES)
@given(numbers, numbers, st.floats(-2, 2))
def test_a_slope_is_the_derivative_of_its_loss(loss_fn: LossFn, logprob: float, old: float, advantage: float) -> None:
    formula = configured(loss_fn, None).unwrap().formula
    tiny = 1e-6
    here = formula(logprob, old, advantage)
    if loss_fn == "cispo":  # its ratio is held fixed: the slope is that of slope * logprob
        assert here.loss == pytest.approx(here.slope * logprob)
        return
    above, below = (formula(logprob + d, old, advantage).loss for d in (tiny, -tiny))
    ratio = math.exp(logprob - old)
    if loss_fn == "ppo" and min(abs(ratio - 0.8), abs(ratio - 1.2)) < 1e-4:
        return  # a corner has no derivative
    assert here.slope == pytest.approx((above - below) / (2 * tiny), rel=1e-3, abs=1e-4)


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=20))
def test_logprobs_sum_to_one(logits: list[float]) -> None:
    assert math.fsum(map(math.exp, log_softmax(logits))) == pytest.approx(1)


@given(
    st.lists(st.floats(-9, 0), min_size=2, max_size=9),
    st.floats(0, 0.999),
    st.integers(1, 9),
    st.floats(0.05, 1),
    st.floats(0.1, 3),
)
def test_a_choice_is_among_the_likeliest(
    logits: list[float], draw: float, top_k: int, top_p: float, temperature: float
) -> None:
    logprobs = log_softmax(logits)
    chosen = choose(logprobs, draw, temperature=temperature, top_k=top_k, top_p=top_p)
    better = [logprob for logprob in logprobs if logprob > logprobs[chosen]]
    assert len(better) < top_k
    heat = [math.exp(logprob / temperature) for logprob in sorted(logprobs, reverse=True)[:top_k]]
    assert sum(heat[: len(better)]) < top_p * sum(heat) + 1e-9


def supervised(texts: Sequence[str]) -> tuple[Datum, ...]:
    def datum(tokens: Sequence[int]) -> Datum:
        return Datum(
            model_input=ModelInput.from_tokens(tokens[:-1]),
            loss_fn_inputs={"target_tokens": TensorData.ints(tokens[1:])},
        )

    return tuple(datum(TOKENIZER.encode(text)) for text in texts)


@do
def losses_of(data: Sequence[Datum], rate: float, steps: int) -> Do[TrainError, TrainingClient, list[float]]:
    session = yield from perform(TrainingClient.start_session, SessionConfig(model="m"))
    losses = []
    for _ in range(steps):
        future = yield from perform(TrainingClient.forward_backward, session, data)
        losses.append((yield from perform(TrainingClient.await_, future)).loss)
        yield from perform(TrainingClient.optim_step, session, AdamParams(learning_rate=rate))
    return losses


@given(st.lists(st.text(min_size=2, max_size=30), min_size=1, max_size=3), st.floats(1e-6, 10))
def test_the_loss_never_goes_up_on_one_batch(texts: list[str], rate: float) -> None:
    losses = noop.training().run(losses_of(supervised(texts), rate, 4)).unwrap()
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(losses))
    assert losses[-1] < losses[0]


def test_what_is_learned_depends_on_data_model_and_seed() -> None:
    one, two = supervised(["abcabc"]), supervised(["abcabd"])
    first = noop.training().run(losses_of(one, 1e-3, 3)).unwrap()
    assert noop.training().run(losses_of(one, 1e-3, 3)).unwrap() == first
    assert noop.training().run(losses_of(two, 1e-3, 3)).unwrap() != first
    assert noop.training(seed=1).run(losses_of(one, 1e-3, 3)).unwrap() != first


@do
def rewarded(wanted: str, rate: float) -> Do[TrainError, TrainingClient | SamplingClient, list[float]]:
    """Reward one answer to a prompt, on policy, and give the share of it at each step."""
    session = yield from perform(TrainingClient.start_session, SessionConfig(model="m"))
    prompt = TOKENIZER.encode("Answer:")
    shares = []
    for number in range(12):
        saved = yield from perform(TrainingClient.save_sampler_weights, session, f"step-{number}")
        config = SamplingConfig(model="m", weights_path=saved.path)
        sampler = yield from perform(SamplingClient.start_session, config)
        params = SamplingParams(max_tokens=1, seed=number)
        [group] = yield from perform(
            SamplingClient.sample, sampler, [ModelInput.from_tokens(prompt)], params, num_samples=32
        )
        rewards = [float(TOKENIZER.decode(sample.tokens) == wanted) for sample in group]
        shares.append(sum(rewards) / len(rewards))
        data = [
            Datum(
                model_input=ModelInput.from_tokens(prompt),
                loss_fn_inputs=arrays(len(prompt), sample.tokens[0], sample.logprobs[0], reward - shares[-1]),
            )
            for sample, reward in zip(group, rewards, strict=True)
        ]
        yield from perform(TrainingClient.forward_backward, session, data, loss_fn="importance_sampling")
        yield from perform(TrainingClient.optim_step, session, AdamParams(learning_rate=rate))
    return shares


def arrays(size: int, token: int, logprob: float, advantage: float) -> Mapping[str, TensorData]:
    before = [0] * (size - 1)
    return {
        "target_tokens": TensorData.ints([*before, token]),
        "logprobs": TensorData.floats([*before, logprob]),
        "advantages": TensorData.floats([*before, advantage]),
    }


def test_a_rewarded_answer_becomes_more_frequent() -> None:
    handlers = noop.all()
    greedy = max(range(VOCAB_SIZE), key=lambda token: Policy("m", 0).logprobs(TOKENIZER.encode(":")[0])[token])
    shares = handlers.run(rewarded(TOKENIZER.decode([greedy]), 1e-2)).unwrap()
    assert shares[-1] > shares[0] + 0.3
