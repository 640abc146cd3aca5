"""The loss and the gradient of a batch are the sums of those of its parts, and those of plain autograd in float64."""

import copy
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call

from crucible.engine import Adam, Example, LoadedModel, NonFiniteLossError, Trainer
from crucible.engine.losses import LOSSES, MAX_LOG_RATIO
from crucible.kitchen.handlers.torch.custom_loss import train_on_custom_loss
from crucible.train.algorithms import stable
from crucible.train.algorithms.preference import Dpo, Pairs
from crucible.train.types import Datum, ModelInput
from tests.engine.tiny import LORA, VOCAB, example, tiny_model

POLICY = ("importance_sampling", "ppo", "cispo", "dro")
PREFIX = (5, 9, 2, 7, 7, 3)

ids = st.integers(0, VOCAB - 1)
settings_of = {
    "ppo": st.fixed_dictionaries({}, optional={"clip_low_threshold": st.floats(0.1, 1), "clip_high_threshold": st.floats(1, 3)}),
    "cispo": st.fixed_dictionaries({}, optional={"clip_high_threshold": st.floats(0.5, 5)}),
    "dro": st.fixed_dictionaries({}, optional={"beta": st.floats(0, 1)}),
}  # fmt: skip


@functools.cache
def tiny() -> LoadedModel:
    return tiny_model()


@st.composite
def examples(draw: st.DrawFn, name: str) -> Example:
    """Draw an example: it may begin as others do, and may or may not have weights, some of which may be 0 or below."""
    prefix = PREFIX if draw(st.booleans()) else ()
    tokens = (*prefix, *draw(st.lists(ids, min_size=1, max_size=6)))
    size = len(tokens)

    def row(values: st.SearchStrategy[float]) -> list[float]:
        return [0.0] * len(prefix) + draw(st.lists(values, min_size=size - len(prefix), max_size=size - len(prefix)))

    inputs: dict[str, Sequence[float] | Sequence[int]] = {"target_tokens": (*tokens[1:], draw(ids))}
    if name != "cross_entropy":
        # A ratio that is far from 1 makes a loss too large to compare in float32: see the test of large ratios.
        inputs |= {"logprobs": row(st.floats(-9, -3)), "advantages": row(st.sampled_from((-1.0, 0.0, 0.5, 2.0)))}
    if name == "cross_entropy" or draw(st.booleans()):
        inputs["weights"] = row(st.sampled_from((-0.5, 0.0, 0.25, 1.0, 3.0)))
    return Example(tokens=tokens, loss_inputs=inputs)


@st.composite
def batches(draw: st.DrawFn) -> tuple[str, Mapping[str, float], list[Example]]:
    name = draw(st.sampled_from(sorted(LOSSES)))
    always = Example(
        tokens=(4, 4),
        loss_inputs={
            "target_tokens": (4, 8),
            **({"weights": (1.0, 1.0)} if name == "cross_entropy" else {"logprobs": (-6.0, -6.0), "advantages": (1.0, -1.0)}),
        },
    )  # fmt: skip
    batch = [always, *draw(st.lists(examples(name), min_size=1, max_size=4))]
    return name, draw(settings_of.get(name, st.just({}))), draw(st.permutations(batch))


def learned(micro_batch_tokens: int) -> Trainer:
    """Make a trainer whose B is not zero any more."""
    trainer = Trainer(tiny(), LORA, micro_batch_tokens=micro_batch_tokens)
    trainer.forward_backward([example(20, seed=1)], "cross_entropy")
    trainer.optim_step(Adam(learning_rate=1e-2))
    return trainer


def gradients(trainer: Trainer) -> Tensor:
    return torch.cat([one.grad.flatten() for one in trainer._state.parameters if one.grad is not None])


def in_float64(
    trainer: Trainer, name: str, config: Mapping[str, float], batch: Sequence[Example]
) -> tuple[float, Tensor]:
    """Compute the loss and its gradient by the formulas of the docs, one example at a time, without our engine."""
    model: Any = copy.deepcopy(tiny().model).double()
    adapter = trainer.snapshot()
    leaves = {key: tuple(one.double().requires_grad_() for one in pair) for key, pair in adapter.tensors.items()}
    merged = {
        f"{key}.weight": model.get_submodule(key).weight.detach() + LORA.scale * b @ a for key, (a, b) in leaves.items()
    }
    total = torch.zeros((), dtype=torch.float64)
    for one in batch:
        logits = functional_call(model, merged, (torch.tensor([one.tokens]),), {"use_cache": False}).logits[0]
        inputs = {key: torch.tensor(values, dtype=torch.float64) for key, values in one.loss_inputs.items()}
        new = logits.log_softmax(dim=-1).gather(1, inputs["target_tokens"].long()[:, None])[:, 0]
        total = total + token_losses(name, config, new, inputs).sum()
    found = torch.autograd.grad(total, [leaf for pair in leaves.values() for leaf in pair])
    return total.item(), torch.cat([one.flatten() for one in found])


def token_losses(name: str, config: Mapping[str, float], new: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    weights = inputs.get("weights", torch.ones_like(new))
    if name == "cross_entropy":
        return -weights * new
    old, advantages = inputs["logprobs"], inputs["advantages"]
    given = {**LOSSES[name].config, **config}
    ratio = (new - old).exp()
    match name:
        case "importance_sampling":
            loss = -ratio * advantages
        case "ppo":
            held = ratio.clip(given["clip_low_threshold"], given["clip_high_threshold"])
            loss = -torch.minimum(ratio * advantages, held * advantages)
        case "cispo":
            held = ratio.clip(given["clip_low_threshold"], given["clip_high_threshold"])
            loss = -held.detach() * new * advantages
        case _:
            loss = -(new * advantages - given["beta"] / 2 * (new - old) ** 2)
    sampled = (old != 0) | (advantages != 0)
    return torch.where(sampled, weights * loss, 0.0)


@given(batches(), st.sampled_from((1, 8, 20, 1000)), st.integers(0, 4))
@settings(max_examples=40)
def test_a_batch_is_the_sum_of_its_parts(
    drawn: tuple[str, Mapping[str, float], list[Example]], micro_batch_tokens: int, cut: int
) -> None:
    name, config, batch = drawn
    whole, parts = learned(micro_batch_tokens), learned(1000)
    together = whole.forward_backward(batch, name, config)
    each = [part for part in (batch[:cut], batch[cut:]) if has_something_scored(name, part)]
    apart = [parts.forward_backward(part, name, config).loss for part in each]
    expected, gradient = in_float64(whole, name, config, batch)
    scale = 1 + abs(expected) + float(gradient.norm())
    assert together.loss == pytest.approx(expected, abs=1e-5 * scale)
    assert math.fsum(apart) == pytest.approx(expected, abs=1e-5 * scale)
    for trainer in (whole, parts):
        assert (gradients(trainer).double() - gradient).norm() <= 1e-4 * scale


def has_something_scored(name: str, part: Sequence[Example]) -> bool:
    """Tell whether a part can be trained on alone: a batch without a scored token is refused."""
    arrays = LOSSES[name].selects
    return any(
        any(one.loss_inputs[array][i] for array in arrays)
        and one.loss_inputs.get("weights", [1.0] * len(one.tokens))[i]
        for one in part
        for i in range(len(one.tokens))
    )


@pytest.mark.parametrize("name", POLICY)
def test_weights_of_one_example_are_not_those_of_another(name: str) -> None:
    bare = example(6, seed=1)
    inputs = {"target_tokens": bare.loss_inputs["target_tokens"], "logprobs": [-6.0] * 6, "advantages": [1.0] * 6}
    batch = [
        Example(tokens=bare.tokens, loss_inputs=inputs),
        Example(tokens=bare.tokens, loss_inputs={**inputs, "weights": [2.0] * 6}),
    ]
    trainer = Trainer(tiny(), LORA)
    losses = [trainer.forward([one], name).loss for one in batch]
    assert losses[1] == pytest.approx(2 * losses[0], rel=1e-5)
    for order in (batch, batch[::-1]):
        assert trainer.forward(order, name).loss == pytest.approx(sum(losses), rel=1e-5)


@pytest.mark.parametrize("name", POLICY)
@pytest.mark.parametrize("advantage", [-2.0, 0.0, 1.0])
@pytest.mark.parametrize("old", [-15.0, -25.0, -100.0, -1e4, -1e30])
def test_gradients_are_finite_at_any_ratio(name: str, advantage: float, old: float) -> None:
    one = Example(
        tokens=(4, 5, 6),
        loss_inputs={"target_tokens": (5, 6, 7), "logprobs": (-6.0, old, -6.0), "advantages": (1.0, advantage, 1.0)},
    )
    trainer = learned(1000)
    if name == "dro" and old == -1e30:  # its square is not a float32: told as an error, nothing is trained
        return
    assert math.isfinite(trainer.forward_backward([one], name).loss)
    assert gradients(trainer).isfinite().all()
    assert math.isfinite(trainer.optim_step(Adam()).grad_norm)


@pytest.mark.parametrize("gap", [-30.0, -20.0, 0.0, 5.0, 20.0, 20.001, 89.0, 1e6, math.inf])
@pytest.mark.parametrize("advantage", [-1.5, 1.5])
def test_a_ratio_is_exact_up_to_its_bound_and_held_beyond(gap: float, advantage: float) -> None:
    old = torch.zeros(1, dtype=torch.float64)
    inputs = {"logprobs": old, "advantages": old + advantage, "weights": old + 1}
    for name in ("importance_sampling", "ppo", "cispo"):
        at = (old + gap).requires_grad_()
        loss = LOSSES[name].token_loss(at, inputs, LOSSES[name].config)
        (slope,) = torch.autograd.grad(loss.sum(), at)
        exact = math.exp(min(gap, MAX_LOG_RATIO))
        held = {"importance_sampling": exact, "ppo": min(exact, 1.2) if advantage > 0 else max(exact, 0.8)}
        if name in held:
            assert loss.item() == pytest.approx(-held[name] * advantage, rel=1e-12)
        assert slope.isfinite().all()
        if gap > MAX_LOG_RATIO and name != "cispo":
            assert slope.item() == 0


def test_the_engine_and_the_algorithms_have_one_bound() -> None:
    assert MAX_LOG_RATIO == stable.MAX_LOG_RATIO


def test_a_loss_that_no_float32_holds_names_its_example_and_trains_nothing() -> None:
    from crucible.engine import NoGradientError

    good = Example(tokens=(4,), loss_inputs={"target_tokens": (5,), "logprobs": (-6.0,), "advantages": (1.0,)})
    trainer = learned(1000)
    for key, value in (("advantages", math.nan), ("advantages", 1e300), ("weights", math.inf), ("logprobs", math.nan)):
        bad = attrs.evolve(good, loss_inputs={**good.loss_inputs, key: (value,)})
        with pytest.raises(NonFiniteLossError, match="examples 1") as caught:
            trainer.forward_backward([good, bad], "ppo")
        assert caught.value.examples == (1,)
        with pytest.raises(NoGradientError):
            trainer.optim_step(Adam())


def test_a_rejected_answer_that_cannot_be_trains_nothing_and_breaks_nothing() -> None:
    loaded = tiny_model()
    head = torch.nn.Linear(64, VOCAB)
    head.weight.data = loaded.model.lm_head.weight.data
    head.bias.data = torch.zeros(VOCAB).index_fill_(0, torch.tensor([7]), -torch.inf)
    loaded.model.lm_head = head
    pair = [Example(tokens=(4, 5), loss_inputs={"target_tokens": (5, last), "weights": (0.0, 1.0)}) for last in (6, 7)]
    dpo = Dpo(pairs=Pairs(weights_NT=((0.0, 1.0),) * 2), beta=0.5)
    data = [Datum(model_input=ModelInput.from_tokens(one.tokens), loss_fn_inputs={}) for one in pair]
    for micro_batch_tokens in (1, 1000):
        trainer = Trainer(loaded, LORA, micro_batch_tokens=micro_batch_tokens)
        output = train_on_custom_loss(trainer, pair, data, dpo)
        assert (output.loss, output.logprobs[1][1]) == (0.0, -math.inf)
        assert gradients(trainer).isfinite().all()
        assert trainer.optim_step(Adam()).grad_norm == 0
        with pytest.raises(NonFiniteLossError, match="examples 0"):
            train_on_custom_loss(trainer, pair[::-1], data, dpo)
