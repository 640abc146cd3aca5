"""How servers differ from what the Tinker API promises, as changes of what is asked of the handlers."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

from crucible.train.types import AdamParams, Datum, LossFn, TensorData

Lack: TypeAlias = Literal["prompt_logprobs", "top_logprobs", "negative_weights", "grad_norm", "metadata"]

_LEAST = 1e-9


def _set(lacks: Sequence[Lack]) -> frozenset[Lack]:
    return frozenset(lacks)


@attrs.frozen(kw_only=True)
class Deviations:
    """What a server does otherwise.

    >>> Deviations(averages=True, lacks=["top_logprobs"])
    Deviations(averages=True, lacks=frozenset({'top_logprobs'}))

    Args:
        averages: as SkyRL 0.4.0 on JAX: the loss of each sequence is divided by the sum of its weights, at least 1e-9 (of a
            policy loss by its positions), and the gradient of a step by the number of its sequences.
        lacks: scores of a text and the likeliest tokens are refused; weights below 0 are taken for 0; a step does not tell
            the norm of its gradient; what is to be kept with a checkpoint is forgotten.
    """

    averages: bool = False
    lacks: frozenset[Lack] = attrs.field(default=frozenset(), converter=_set)


class Averaging:
    """Divides what one model is trained on as an averaging server divides the gradient.

    The number of sequences of a step is known at the step. Each batch is divided by that of the first, and at the step, where
    it took several, epsilon and the clipping norm are raised instead of the gradient lowered.
    """

    def __init__(self, deviations: Deviations) -> None:
        self._deviations = deviations
        self._first = 0
        self._all = 0

    def batch(self, data: Sequence[Datum], loss_fn: LossFn) -> tuple[Datum, ...]:
        """Give the data that a pass with gradients goes over."""
        if loss_fn == "cross_entropy" and "negative_weights" in self._deviations.lacks:
            data = [_with(datum, "weights", [max(weight, 0.0) for weight in _of(datum, "weights")]) for datum in data]
        if not self._deviations.averages:
            return tuple(data)
        self._first = self._first or len(data)
        self._all += len(data)
        return tuple(_divided(datum, loss_fn, self._first) for datum in data)

    def step(self, adam: AdamParams) -> tuple[AdamParams, float]:
        """Give the settings of a step on what was accumulated, and what to divide its norm by; begin anew."""
        missing = self._all / self._first if self._first else 1.0
        self._first = self._all = 0
        return attrs.evolve(adam, eps=adam.eps * missing, grad_clip_norm=adam.grad_clip_norm * missing), missing


def _divided(datum: Datum, loss_fn: LossFn, sequences: int) -> Datum:
    if loss_fn == "cross_entropy":
        weights = _of(datum, "weights")
        return _with(datum, "weights", [weight / max(sum(weights), _LEAST) / sequences for weight in weights])
    size = len(datum.model_input) * sequences
    return _with(datum, "advantages", [advantage / size for advantage in _of(datum, "advantages")])


def _of(datum: Datum, name: str) -> tuple[float, ...]:
    found = datum.loss_fn_inputs.get(name)
    return (1.0,) * len(datum.model_input) if found is None else found.data


def _with(datum: Datum, name: str, numbers: Sequence[float]) -> Datum:
    before = datum.loss_fn_inputs.get(name)
    shape = datum.loss_fn_inputs["target_tokens"].shape if before is None else before.shape
    tensor = TensorData(data=tuple(numbers), dtype="float32", shape=shape)
    return attrs.evolve(datum, loss_fn_inputs={**datum.loss_fn_inputs, name: tensor})
