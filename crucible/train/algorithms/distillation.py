"""Distillation: a student learns a teacher's distribution, from its samples, from its top tokens, or on its own samples.

On-policy distillation is `kl.reverse_kl_advantages`: the student samples, the teacher gives log-probabilities, the loss is
`importance_sampling`. Here is the off-policy side, as cross-entropy that every backend has, and mixtures of teachers.

What cannot be expressed where a backend answers with the log-probabilities of given targets only: the reverse KL, or a
Jensen-Shannon divergence, over the whole vocabulary (they need the student's whole distribution). On-policy distillation
estimates the first from samples. A teacher must share the student's tokens: text is never tokenised again.

Letters: N positions of a datum, K tokens that a teacher names for each.
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

from crucible.train.algorithms.stable import log_sum_exp
from crucible.train.types.inputs import Datum, ModelInput, TensorData, TokenId

Tail: TypeAlias = Literal["renormalise", "drop"]


@attrs.frozen(kw_only=True)
class TopTokens:
    """What a teacher would say at each position: its K likeliest tokens with log-probabilities, none where it is not asked.

    Raises: ValueError when the shapes differ.
    """

    tokens_NK: tuple[tuple[TokenId, ...], ...]
    logprobs_NK: tuple[tuple[float, ...], ...]

    def __attrs_post_init__(self) -> None:
        if list(map(len, self.tokens_NK)) != list(map(len, self.logprobs_NK)):
            raise ValueError("there is not one log-probability for each of the teacher's tokens")


@attrs.frozen(kw_only=True)
class SoftDatum:
    """A datum with K weighted targets at each position. Its forward KL is its cross-entropy minus `entropy`."""

    datum: Datum
    entropy: float


@attrs.frozen(kw_only=True)
class SoftBatch:
    """Data with one target for each position. Their forward KL, the mean over positions, is their loss minus `entropy`."""

    data: tuple[Datum, ...]
    entropy: float
    num_positions: int


def imitation_datum(prompt: ModelInput, answer: Sequence[TokenId]) -> Datum:
    """Make the cross-entropy datum of a teacher's sample: off-policy distillation (Kim and Rush 2016, arXiv 1606.07947).

    The tokens are those the teacher sampled, trained on with weight 1; the prompt has weight 0.

    >>> datum = imitation_datum(ModelInput.from_tokens([1, 2]), [3, 4])
    >>> datum.loss_fn_inputs["target_tokens"].data, datum.loss_fn_inputs["weights"].data
    ((2, 3, 4), (0.0, 1.0, 1.0))

    Raises: ValueError when the prompt or the answer is empty.
    """
    if not len(prompt) or not answer:
        raise ValueError("a sample to imitate needs a prompt and an answer of at least one token each")
    read = ModelInput.from_tokens(tuple(answer[:-1])).chunks
    targets = [*prompt.tokens[1:], *answer]
    weights = [0.0] * (len(prompt) - 1) + [1.0] * len(answer)
    return Datum(
        model_input=ModelInput(chunks=(*prompt.chunks, *read)),
        loss_fn_inputs={"target_tokens": TensorData.ints(targets), "weights": TensorData.floats(weights)},
    )


def top_token_datum(model_input: ModelInput, teacher: TopTokens, *, tail: Tail = "renormalise") -> SoftDatum:
    """Make the datum whose cross-entropy is the forward KL to a teacher's top tokens, up to a constant.

    KL(teacher, student) = sum p log p - sum p log q at each position, over the K tokens that the teacher names (Hinton et al.
    2015, arXiv 1503.02531). The first sum is no function of the student, and is kept as minus `entropy`. What is done with
    the probability that the teacher gives to all other tokens is a choice:

    - renormalise: p is scaled to sum to 1, so it is a true KL, never negative, of the teacher given its top tokens; the
      student is taught that all others are impossible;
    - drop: p is as it is, so only these terms of the KL are counted. They may be negative, and their weights sum to less.

    Targets and weights have the shape (N, K), as in the Tinker API; positions with fewer tokens are filled up with weight 0.
    Backends that take one target for each position take `one_target_each` of it.

    Args:
        model_input: what the student reads; position i of `teacher` is what follows position i of it.
        teacher: the top tokens, none at positions that are not trained on.
        tail: what to do with the rest of the probability.

    >>> teacher = TopTokens(tokens_NK=((7, 8),), logprobs_NK=((math.log(0.25), math.log(0.25)),))
    >>> soft = top_token_datum(ModelInput.from_tokens([5]), teacher)
    >>> soft.datum.loss_fn_inputs["weights"], round(soft.entropy, 6)
    (TensorData(data=(0.5, 0.5), dtype='float32', shape=(1, 2)), 0.693147)

    Raises: ValueError when there are not as many positions, or the teacher names no token at all.
    """
    if len(teacher.tokens_NK) != len(model_input):
        raise ValueError(f"the teacher speaks of {len(teacher.tokens_NK)} positions, the input has {len(model_input)}")
    width = max(map(len, teacher.tokens_NK), default=0)
    if not width:
        raise ValueError("the teacher names no token at any position: there is nothing to train on")
    logprobs_NK = [_scaled(row, tail) for row in teacher.logprobs_NK]
    targets = [token for row in teacher.tokens_NK for token in (*row, *(0,) * (width - len(row)))]
    weights = [weight for row in logprobs_NK for weight in (*map(math.exp, row), *(0.0,) * (width - len(row)))]
    shape = (len(model_input), width)
    inputs = {
        "target_tokens": TensorData(data=targets, dtype="int64", shape=shape),
        "weights": TensorData(data=weights, dtype="float32", shape=shape),
    }
    entropy = -math.fsum(math.exp(logprob) * logprob for row in logprobs_NK for logprob in row)
    return SoftDatum(datum=Datum(model_input=model_input, loss_fn_inputs=inputs), entropy=entropy)


def one_target_each(datum: Datum) -> tuple[Datum, ...]:
    """Split a datum with K targets for each position into K data with one: the sum of their losses is the same.

    It costs up to K forward passes where a backend with (N, K) targets needs one. Columns of weight 0 are left out.

    >>> teacher = TopTokens(tokens_NK=((7, 8),), logprobs_NK=((math.log(0.5), math.log(0.5)),))
    >>> parts = one_target_each(top_token_datum(ModelInput.from_tokens([5]), teacher).datum)
    >>> [part.loss_fn_inputs["target_tokens"].data for part in parts]
    [(7,), (8,)]

    Raises: ValueError when targets or weights have not the shape (N, K).
    """
    targets, weights = datum.loss_fn_inputs["target_tokens"], datum.loss_fn_inputs["weights"]
    if len(targets.shape) != 2 or targets.shape != weights.shape:
        raise ValueError(f"targets of shape {targets.shape} and weights of shape {weights.shape} are not both (N, K)")
    width = targets.shape[1]
    columns = [(targets.data[k::width], weights.data[k::width]) for k in range(width)]
    return tuple(
        Datum(
            model_input=datum.model_input,
            loss_fn_inputs={
                "target_tokens": TensorData.ints([int(token) for token in column]),
                "weights": TensorData.floats(shares),
            },
        )
        for column, shares in columns
        if any(shares)
    )


def mean_over_positions(batch: Sequence[SoftDatum]) -> SoftBatch:
    """Scale soft data so that their loss is the mean over the positions that are taught, and split them by `one_target_each`.

    >>> half = TopTokens(tokens_NK=((7, 8),), logprobs_NK=((math.log(0.5), math.log(0.5)),))
    >>> soft = mean_over_positions([top_token_datum(ModelInput.from_tokens([5]), half)] * 2)
    >>> [part.loss_fn_inputs["weights"].data for part in soft.data], round(soft.entropy, 6), soft.num_positions
    ([(0.25,), (0.25,), (0.25,), (0.25,)], 0.693147, 2)

    Raises: ValueError when no position is taught.
    """
    count = sum(_taught_positions(soft.datum) for soft in batch)
    if not count:
        raise ValueError("the batch teaches no position")
    return SoftBatch(
        data=tuple(part for soft in batch for part in one_target_each(_scaled_by(soft.datum, 1 / count))),
        entropy=math.fsum(soft.entropy for soft in batch) / count,
        num_positions=count,
    )


def mixture_logprobs(
    teachers_MN: Sequence[Sequence[float]], shares_M: Sequence[float] | None = None
) -> tuple[float, ...]:
    """Give the log-probabilities of a mixture of M teachers: log(sum of share x probability), shares equal by default.

    For teachers with a subject each, do not mix: give every datum the log-probabilities of its own teacher.

    >>> [round(math.exp(x), 6) for x in mixture_logprobs([(math.log(0.2),), (math.log(0.6),)])]
    [0.4]

    Raises: ValueError when lengths differ, there is no teacher, or shares are not positive.
    """
    shares = [1.0] * len(teachers_MN) if shares_M is None else list(shares_M)
    if not teachers_MN or len(shares) != len(teachers_MN) or not all(share > 0 for share in shares):
        raise ValueError(f"{len(teachers_MN)} teachers with the shares {shares}: give each a share above 0")
    logs = [math.log(share) - math.log(math.fsum(shares)) for share in shares]
    return tuple(
        log_sum_exp(log + logprob for log, logprob in zip(logs, column, strict=True))
        for column in zip(*teachers_MN, strict=True)
    )


def _scaled(logprobs_K: Sequence[float], tail: Tail) -> tuple[float, ...]:
    if tail == "drop" or not logprobs_K:
        return tuple(logprobs_K)
    total = log_sum_exp(logprobs_K)
    return tuple(logprob - total for logprob in logprobs_K)


def _taught_positions(datum: Datum) -> int:
    weights = datum.loss_fn_inputs["weights"]
    width = weights.shape[1]
    return sum(any(weights.data[start : start + width]) for start in range(0, len(weights), width))


def _scaled_by(datum: Datum, factor: float) -> Datum:
    weights = datum.loss_fn_inputs["weights"]
    scaled = attrs.evolve(weights, data=[weight * factor for weight in weights.data])
    return attrs.evolve(datum, loss_fn_inputs={**datum.loss_fn_inputs, "weights": scaled})
