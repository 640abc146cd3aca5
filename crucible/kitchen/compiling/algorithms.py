"""Policy-gradient algorithms by their names."""

from collections.abc import Callable

import attrs

from crucible.ir import AlgorithmSpec
from crucible.train.algorithms.aggregation import Aggregation
from crucible.train.algorithms.policy_gradient import (
    BuiltInLoss,
    PolicyGradient,
    cispo,
    cispo_clip,
    dapo,
    dr_grpo,
    dro_quadratic,
    grpo,
    importance_sampling,
    ppo_clip,
    reinforce,
    rloo,
)


def algorithm_of(spec: AlgorithmSpec, *, max_tokens: int) -> PolicyGradient:
    """Make the algorithm of that name, with what is to be different in it.

    >>> algorithm_of(AlgorithmSpec(name="grpo", baseline="mean"), max_tokens=8).baseline
    'mean'

    Args:
        spec: the name, and the differences.
        max_tokens: of a sample: what a fixed length is, where none is given.

    Raises: ValueError for a number that the loss does not take.
    """
    plain = _ALGORITHMS[spec.name](max_tokens)
    loss = plain.loss if spec.loss_fn is None or spec.loss_fn == plain.loss.loss_fn else _LOSSES[spec.loss_fn]()
    unknown = sorted(set(spec.loss_fn_config or ()) - set(loss.loss_fn_config))
    if unknown:
        there = ", ".join(sorted(loss.loss_fn_config)) or "none"
        raise ValueError(
            f"algorithm.loss_fn_config has what {loss.loss_fn} does not take, {unknown[0]}: there are {there}"
        )
    if spec.loss_fn_config is not None:
        loss = attrs.evolve(loss, loss_fn_config=dict(spec.loss_fn_config))
    aggregation = plain.aggregation
    if spec.aggregation is not None:
        kind = spec.aggregation.kind
        length = (spec.aggregation.max_tokens or max_tokens) if kind == "fixed_length" else 1
        aggregation = Aggregation(kind=kind, max_tokens=length)
    return attrs.evolve(
        plain,
        loss=loss,
        baseline=spec.baseline or plain.baseline,
        aggregation=aggregation,
        drop_constant_groups=(
            plain.drop_constant_groups if spec.drop_constant_groups is None else spec.drop_constant_groups
        ),
    )


_ALGORITHMS: dict[str, Callable[[int], PolicyGradient]] = {
    "cispo": lambda _: cispo(),
    "dapo": lambda _: dapo(),
    "dr_grpo": lambda max_tokens: dr_grpo(max_tokens=max_tokens),
    "grpo": lambda _: grpo(),
    "reinforce": lambda _: reinforce(),
    "rloo": lambda _: rloo(),
}
_LOSSES: dict[str, Callable[[], BuiltInLoss]] = {
    "cispo": cispo_clip,
    "dro": dro_quadratic,
    "importance_sampling": importance_sampling,
    "ppo": ppo_clip,
}
