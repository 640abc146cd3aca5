"""Distillation: what cross-entropy with many targets is, against torch."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.algorithms.distillation import (
    SoftDatum,
    Tail,
    TopTokens,
    imitation_datum,
    mean_over_positions,
    mixture_logprobs,
    one_target_each,
    top_token_datum,
)
from crucible.train.types import Datum, ImageChunk, ModelInput, TensorData

VOCABULARY = 6
logits = st.lists(st.floats(-4, 4), min_size=VOCABULARY, max_size=VOCABULARY)


def distribution(values: list[float]) -> torch.Tensor:
    return torch.log_softmax(torch.tensor(values, dtype=torch.float64), 0)


def top(teachers: list[torch.Tensor], counts: list[int]) -> TopTokens:
    best = [teacher.topk(count) for teacher, count in zip(teachers, counts, strict=True)]
    return TopTokens(
        tokens_NK=tuple(tuple(one.indices.tolist()) for one in best),
        logprobs_NK=tuple(tuple(one.values.tolist()) for one in best),
    )


def cross_entropy(datum: Datum, students: list[torch.Tensor]) -> float:
    """Compute what a backend with targets (N, K), or (N,), gives."""
    targets, weights = datum.loss_fn_inputs["target_tokens"], datum.loss_fn_inputs["weights"]
    width = len(targets) // targets.shape[0]
    pairs = zip(targets.data, weights.data, strict=True)
    return -sum(w * students[i // width][int(t)].item() for i, (t, w) in enumerate(pairs))


@given(st.lists(st.tuples(logits, logits, st.integers(1, VOCABULARY)), min_size=1, max_size=4), st.booleans())
def test_the_cross_entropy_is_the_forward_kl_up_to_the_entropy(
    positions: list[tuple[list[float], list[float], int]], renormalise: bool
) -> None:
    teachers, students = ([distribution(one[i]) for one in positions] for i in (0, 1))  # type: ignore[arg-type]  # logits
    teacher = top(teachers, [count for *_, count in positions])
    tail: Tail = "renormalise" if renormalise else "drop"
    soft = top_token_datum(ModelInput.from_tokens([1] * len(positions)), teacher, tail=tail)
    expected = 0.0
    for p, q, tokens in zip(teachers, students, teacher.tokens_NK, strict=True):
        named = p[list(tokens)]
        named = named - named.logsumexp(0) if renormalise else named
        expected += (named.exp() * (named - q[list(tokens)])).sum().item()
    assert cross_entropy(soft.datum, students) - soft.entropy == pytest.approx(expected, abs=1e-9)
    assert not renormalise or expected >= -1e-9


@given(st.lists(st.tuples(logits, logits), min_size=1, max_size=4))
def test_all_tokens_of_a_teacher_give_the_whole_kl(positions: list[tuple[list[float], list[float]]]) -> None:
    teachers, students = ([distribution(one[i]) for one in positions] for i in (0, 1))
    for tail in ("renormalise", "drop"):
        soft = top_token_datum(
            ModelInput.from_tokens([1] * len(positions)),
            top(teachers, [VOCABULARY] * len(positions)),
            tail=tail,
        )
        exact = sum((p.exp() * (p - q)).sum().item() for p, q in zip(teachers, students, strict=True))
        assert cross_entropy(soft.datum, students) - soft.entropy == pytest.approx(exact, abs=1e-9)


def soft_of_three() -> SoftDatum:
    teacher = TopTokens(
        tokens_NK=((), (3, 4), (5,)), logprobs_NK=((), (math.log(0.6), math.log(0.2)), (math.log(0.5),))
    )
    return top_token_datum(ModelInput.from_tokens([1, 2, 3]), teacher)


def test_positions_without_a_teacher_have_weight_0() -> None:
    soft = soft_of_three()
    assert soft.datum.loss_fn_inputs["target_tokens"] == TensorData(
        data=(0, 0, 3, 4, 5, 0), dtype="int64", shape=(3, 2)
    )
    assert soft.datum.loss_fn_inputs["weights"].data == pytest.approx((0, 0, 0.75, 0.25, 1, 0))


@given(st.lists(logits, min_size=3, max_size=3))
def test_one_target_each_has_the_same_loss(students: list[list[float]]) -> None:
    soft = soft_of_three()
    parts = one_target_each(soft.datum)
    assert [len(part.loss_fn_inputs["weights"].shape) for part in parts] == [1, 1]
    rows = list(map(distribution, students))
    total = sum(cross_entropy(part, rows) for part in parts)
    assert total == pytest.approx(cross_entropy(soft.datum, rows), abs=1e-9)


def test_a_teachers_sample_is_trained_on_as_it_was_sampled() -> None:
    image = ImageChunk(data=b"", format="png", expected_tokens=2)
    prompt = ModelInput(chunks=(image, *ModelInput.from_tokens([8]).chunks))
    datum = imitation_datum(prompt, [3, 4])
    assert datum.model_input.tokens == (0, 0, 8, 3)
    assert [*datum.loss_fn_inputs["target_tokens"].data] == [0, 8, 3, 4]
    assert [*datum.loss_fn_inputs["weights"].data] == [0, 0, 1, 1]
    assert imitation_datum(prompt, [3]).model_input == prompt
    for nothing in (imitation_datum, lambda prompt, answer: imitation_datum(ModelInput.from_tokens([]), [1])):
        with pytest.raises(ValueError, match="at least one token"):
            nothing(prompt, [])


@given(st.lists(logits, min_size=1, max_size=4), st.lists(st.floats(0.1, 5), min_size=4, max_size=4))
def test_a_mixture_of_teachers_is_a_distribution(teachers: list[list[float]], shares: list[float]) -> None:
    rows = [distribution(one).exp() for one in teachers]
    weights = torch.tensor(shares[: len(rows)], dtype=torch.float64)
    expected = (torch.stack(rows) * (weights / weights.sum())[:, None]).sum(0)
    mixed = mixture_logprobs([row.log().tolist() for row in rows], shares[: len(rows)])
    assert [math.exp(one) for one in mixed] == pytest.approx(expected.tolist())
    assert sum(math.exp(one) for one in mixed) == pytest.approx(1)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="one log-probability"):
        TopTokens(tokens_NK=((1,),), logprobs_NK=((),))
    with pytest.raises(ValueError, match="the input has 1"):
        top_token_datum(ModelInput.from_tokens([1]), TopTokens(tokens_NK=(), logprobs_NK=()))
    with pytest.raises(ValueError, match="names no token"):
        top_token_datum(ModelInput.from_tokens([1]), TopTokens(tokens_NK=((),), logprobs_NK=((),)))
    with pytest.raises(ValueError, match="not both"):
        one_target_each(imitation_datum(ModelInput.from_tokens([1]), [2]))
    for teachers, shares in (([], None), ([(0.0,)], [0.0]), ([(0.0,)], [1.0, 1.0])):
        with pytest.raises(ValueError, match="teachers"):
            mixture_logprobs(teachers, shares)


@given(
    st.lists(
        st.lists(st.tuples(logits, logits, st.integers(0, VOCABULARY)), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(["renormalise", "drop"]),
)
def test_the_loss_of_a_batch_is_the_mean_over_the_positions_that_are_taught(
    batch: list[list[tuple[list[float], list[float], int]]], tail: Tail
) -> None:
    soft, terms, students = [], [], []
    for positions in batch:
        if not any(count for *_, count in positions):
            continue
        teacher = top([distribution(one[0]) for one in positions], [count for *_, count in positions])
        model_input = ModelInput.from_tokens(range(len(positions)))
        soft.append(top_token_datum(model_input, teacher, tail=tail))
        students.append([distribution(one[1]) for one in positions])
        kl = cross_entropy(soft[-1].datum, students[-1]) - soft[-1].entropy
        terms.append((kl, sum(count > 0 for *_, count in positions)))
    if not soft:
        with pytest.raises(ValueError, match="teaches no position"):
            mean_over_positions(soft)
        return
    whole = mean_over_positions(soft)
    assert whole.num_positions == sum(count for _, count in terms)
    owners = [students[[one.datum.model_input for one in soft].index(part.model_input)] for part in whole.data]
    if len({len(one.datum.model_input) for one in soft}) == len(soft):  # so that an input tells whose it is
        loss = sum(cross_entropy(part, owner) for part, owner in zip(whole.data, owners, strict=True))
        mean = sum(kl for kl, _ in terms) / whole.num_positions
        assert loss - whole.entropy == pytest.approx(mean, abs=1e-9)
