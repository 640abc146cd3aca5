"""How the losses of tokens become the loss of a batch. Backends add up tokens, so every mean is made of weights.

Letters: N data of a batch, T positions of a datum.
"""

import operator
from collections import Counter
from collections.abc import Sequence
from typing import Literal, TypeAlias, assert_never

import attrs

from crucible.fields import AT_LEAST_1, checked
from crucible.train.types.trajectories import PolicyDatum

AggregationKind: TypeAlias = Literal["token_sum", "token_mean", "sequence_mean", "fixed_length"]


@attrs.frozen(kw_only=True, field_transformer=checked)
class Aggregation:
    """How much each sampled token counts, with M tokens in the batch, R trajectories, and m tokens in the token's own.

    - token_sum: 1, what the Tinker API's losses do by themselves;
    - token_mean: 1 / M, as in DAPO (arXiv 2503.14476, eq. 8): long answers count for more;
    - sequence_mean: 1 / (R m), as in GRPO (arXiv 2402.03300, eq. 3): each trajectory counts the same;
    - fixed_length: 1 / (R max_tokens), as in Dr. GRPO (arXiv 2503.20783): no bias by length. TRL and verl divide by such a
      constant; any other only rescales the learning rate.
    """

    kind: AggregationKind = "token_mean"
    max_tokens: int = attrs.field(default=1, metadata=AT_LEAST_1)


def token_weights(data: Sequence[PolicyDatum], aggregation: Aggregation) -> tuple[tuple[float, ...], ...]:
    """Give the weight of each position, 0 where nothing was sampled.

    A trajectory that made several data counts as one: its tokens are counted over all of them.
    """
    tokens_R: Counter[tuple[int, int]] = Counter()
    for datum in data:
        tokens_R[datum.group, datum.trajectory] += sum(map(bool, datum.mask_N))
    weights = {key: _weight(count, tokens_R, aggregation) for key, count in tokens_R.items()}
    return tuple(
        tuple(weights[datum.group, datum.trajectory] if mask else 0.0 for mask in datum.mask_N) for datum in data
    )


def aggregated(data: Sequence[PolicyDatum], aggregation: Aggregation) -> tuple[PolicyDatum, ...]:
    """Multiply each advantage by its token's weight, so that a sum over tokens becomes the aggregation.

    Exact for `importance_sampling`, `ppo` and `cispo`, which are homogeneous in the advantage. `dro` is not: its quadratic
    term does not scale with the advantage.
    """
    return tuple(
        datum.with_advantages(tuple(map(operator.mul, datum.advantages, weights)))
        for datum, weights in zip(data, token_weights(data, aggregation), strict=True)
    )


def _weight(count: int, tokens_R: Counter[tuple[int, int]], aggregation: Aggregation) -> float:
    match aggregation.kind:
        case "token_sum":
            return 1.0
        case "token_mean":
            return 1.0 / max(tokens_R.total(), 1)
        case "sequence_mean":
            return 1.0 / (len(tokens_R) * max(count, 1))
        case "fixed_length":
            return 1.0 / (len(tokens_R) * aggregation.max_tokens)
        case _:
            assert_never(aggregation.kind)
