"""Batches: what is wrong with them is found before they are sent, and what comes back is read the way the port means it."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.tinkex.losses import Loss
from crucible.train.errors import (
    BackendFailed,
    InvalidRequest,
    NonFiniteLoss,
    SequenceTooLong,
    TrainError,
    Unsupported,
)
from crucible.train.finite import finite_data, not_finite
from crucible.train.types import Datum, ForwardBackwardOutput, TensorData

if TYPE_CHECKING:
    import tinker.types as wire
    from numpy.typing import NDArray

BACKEND = "the Tinker API"


@attrs.frozen(kw_only=True)
class Batch:
    """Data that a loss can be taken of: each with the arrays that the loss reads, and no others."""

    data: tuple[Datum, ...]
    loss: Loss

    @property
    def is_trained(self) -> bool:
        """Whether a token of it is trained on."""
        return any(any(trained_of(datum)) for datum in self.data)

    def output(self, answer: "wire.ForwardBackwardOutput") -> Result[ForwardBackwardOutput, TrainError]:
        """Read an answer: log-probabilities are 0.0 where nothing is trained, and the loss is their sum, as on every backend.

        Where a position has several targets, its log-probability is theirs, times their weights.
        """
        if len(answer.loss_fn_outputs) != len(self.data):
            message = f"the server answered with {len(answer.loss_fn_outputs)} outputs for {len(self.data)} data"
            return Failure(BackendFailed(message=message))
        losses: list[float] = []
        rows: list[tuple[float, ...]] = []
        for datum, fields in zip(self.data, answer.loss_fn_outputs, strict=True):
            if "logprobs" not in fields:
                return Failure(
                    BackendFailed(message=f"the server gave no logprobs, but {', '.join(fields) or 'nothing'}")
                )
            found = fields["logprobs"].to_numpy().astype("float64")
            if found.size != len(datum.loss_fn_inputs["target_tokens"]):
                message = f"the server gave {found.size} logprobs for {len(datum.model_input)} positions"
                return Failure(BackendFailed(message=message))
            loss, row = self._scored(datum, found)
            losses.append(loss)
            rows.append(row)
        bad = tuple(index for index, loss in enumerate(losses) if not math.isfinite(loss))
        metrics = {name: float(value) for name, value in answer.metrics.items()}
        told = not_finite({name: value for name, value in metrics.items() if name in ("loss", "loss:sum")})
        if bad or told:
            loss = sum(losses) if bad else math.nan
            return Failure(NonFiniteLoss(loss=loss, indices=bad, reason=f"the server's own {told}" if told else ""))
        return Success(ForwardBackwardOutput(loss=math.fsum(losses), logprobs=tuple(rows), metrics=metrics))

    def _scored(self, datum: Datum, found: "NDArray") -> tuple[float, tuple[float, ...]]:  # type: ignore[type-arg]  # float64
        import numpy as np

        shape = datum.loss_fn_inputs["target_tokens"].shape
        inputs = {name: np.asarray(tensor.data).reshape(shape) for name, tensor in datum.loss_fn_inputs.items()}
        logprobs, trained = found.reshape(shape), np.asarray(trained_of(datum)).reshape(shape)
        with np.errstate(invalid="ignore"):  # NaN is found, and told as an error
            loss = np.where(trained, self.loss.of_tokens(logprobs, inputs), 0.0)
        if len(shape) > 1:
            logprobs, trained = (logprobs * inputs["weights"]).sum(axis=1), np.asarray(trained.any(axis=1))
        return float(loss.sum()), tuple(np.where(trained, logprobs, 0.0).tolist())


def batch_of(data: Sequence[Datum], loss: Loss, *, max_length: int) -> Result[Batch, TrainError]:
    """Make a batch, or name the first datum that is at fault.

    Weights of a policy loss go into the advantages, as each is proportional to them.
    """
    if not data:
        return Failure(InvalidRequest(message="the batch is empty", fix="leave the step out, or give it data"))
    finite = finite_data(data)
    if isinstance(finite, Failure):
        return finite
    prepared: list[Datum] = []
    for index, datum in enumerate(data):
        problem = _problem(datum, index, loss, max_length)
        made = _prepared(datum, index, loss) if problem is None else Failure(problem)
        if isinstance(made, Failure):
            return made
        prepared.append(made.unwrap())
    return Success(Batch(data=tuple(prepared), loss=loss))


def with_something_trained(batch: Batch) -> Result[Batch, TrainError]:
    """Give the batch when a token of it is trained on."""
    if batch.is_trained:
        return Success(batch)
    fix = "look at the weights: at least one position must have a weight other than 0"
    return Failure(InvalidRequest(message="no token of this batch is trained on", fix=fix))


def trained_of(datum: Datum) -> tuple[bool, ...]:
    """Tell for each target whether it is trained on: it has a weight, or an old log-probability or an advantage."""
    inputs = datum.loss_fn_inputs
    if "weights" in inputs:
        return tuple(weight != 0 for weight in inputs["weights"].data)
    sampled = zip(inputs["logprobs"].data, inputs["advantages"].data, strict=True)
    return tuple(old != 0 or advantage != 0 for old, advantage in sampled)


def _problem(datum: Datum, index: int, loss: Loss, max_length: int) -> TrainError | None:
    size, inputs = len(datum.model_input), datum.loss_fn_inputs
    needed = ["target_tokens", *(name for name in loss.inputs if name != "weights")]
    found: TrainError | None = None
    if not size:
        found = InvalidRequest(message="there are no tokens", fix="leave the datum out", index=index)
    elif size > max_length:
        found = SequenceTooLong(index=index, length=size, limit=max_length)
    elif missing := [name for name in needed if name not in inputs]:
        fix = f"give one number for each token as loss_fn_inputs[{missing[0]!r}]"
        found = InvalidRequest(message=f"{loss.name} needs {missing[0]}", fix=fix, index=index)
    elif unknown := set(inputs) - {"target_tokens", "weights", *loss.inputs}:
        known = ", ".join(dict.fromkeys(("target_tokens", *loss.inputs, "weights")))
        message = f"{loss.name} knows no input {', '.join(sorted(unknown))}"
        found = InvalidRequest(message=message, fix=f"known: {known}", index=index)
    elif len(inputs["target_tokens"].shape) > 1 and loss.name != "cross_entropy":
        found = Unsupported(feature=f"several targets for one position in {loss.name} (item {index})", backend=BACKEND)
    elif any(tensor.shape != inputs["target_tokens"].shape for tensor in inputs.values()):
        shapes = ", ".join(f"{name} {tensor.shape}" for name, tensor in inputs.items())
        found = InvalidRequest(message=f"the arrays have different shapes: {shapes}", index=index)
    return found


def _prepared(datum: Datum, index: int, loss: Loss) -> Result[Datum, TrainError]:
    """Give the datum with exactly the arrays that the loss reads."""
    inputs = datum.loss_fn_inputs
    targets = inputs["target_tokens"]
    weights = inputs["weights"].data if "weights" in inputs else (1.0,) * len(targets)
    if loss.name == "cross_entropy":
        given: Mapping[str, TensorData] = {"weights": TensorData(data=weights, dtype="float32", shape=targets.shape)}
    elif loss.name == "dro" and set(weights) - {0.0, 1.0}:
        feature = f"weights other than 0 and 1 in dro (item {index})"
        return Failure(Unsupported(feature=feature, backend=BACKEND, fix="put them into the advantages"))
    elif any(weight < 0 for weight in weights):
        return Failure(
            InvalidRequest(message=f"{loss.name} has a weight below 0", fix="turn the advantage", index=index)
        )
    else:
        old = zip(inputs["logprobs"].data, weights, strict=True)
        worth = zip(inputs["advantages"].data, weights, strict=True)
        given = {
            "logprobs": TensorData.floats([logprob if weight else 0.0 for logprob, weight in old]),
            "advantages": TensorData.floats([advantage * weight for advantage, weight in worth]),
        }
    return Success(attrs.evolve(datum, loss_fn_inputs={"target_tokens": targets, **given}))
