"""Every exception the engine raises on purpose.

EngineError
 +-- ModelNotFoundError        nothing at that id or path, or the network is out of reach
 +-- ModelLoadError            something is there, and it cannot be loaded
 +-- UnsupportedModelError     a model that this engine would train or sample wrongly
 +-- LoraTargetError           no module of the model carries a targeted name
 +-- BatchError
 |    +-- EmptyBatchError      no example, or no trained token
 |    +-- InvalidExampleError  a shape, a token id or a missing array; carries the index
 |    +-- SequenceTooLongError carries index, length and limit
 +-- LossError
 |    +-- UnknownLossError     lists the known names
 |    +-- LossConfigError      lists the known keys
 |    +-- NonFiniteLossError   carries the examples
 +-- StepError
 |    +-- NoGradientError      optim_step before forward_backward
 |    +-- NonFiniteGradientError
 +-- SamplingError             an argument of `Sampler.sample` that cannot be met
 +-- NonFiniteLogitsError      the model gives no distribution of the next token
 +-- CheckpointError           a checkpoint could not be written or is damaged
      +-- CheckpointNotFoundError
      +-- CheckpointMismatchError
"""

from __future__ import annotations

from collections.abc import Iterable


class EngineError(Exception):
    """Base of every error the engine raises on purpose."""


class ModelNotFoundError(EngineError):
    """No model at the id or path given; the message names what was tried and the fix."""


class ModelLoadError(EngineError):
    """A model was found and could not be loaded; the message holds the reason."""


class UnsupportedModelError(EngineError):
    """The model loads, and this engine would train or sample it wrongly; the message names its type and the reason."""


class LoraTargetError(EngineError):
    """The LoRA target names no linear module of this model; the message lists those it has."""


class BatchError(EngineError):
    """A batch the engine refuses before any computation; the trainer's state is unchanged."""


class EmptyBatchError(BatchError):
    """The batch holds no example, or no example holds a trained token."""


class InvalidExampleError(BatchError):
    """One example is malformed.

    Attributes:
        index: position of the example in the batch.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"example {index}: {reason}")
        self.index = index


class SequenceTooLongError(BatchError):
    """A sequence does not fit the model's context.

    Attributes:
        index: position of the sequence in the batch.
        length: its length in tokens.
        limit: the largest length accepted, in tokens.
    """

    def __init__(self, index: int, length: int, limit: int) -> None:
        super().__init__(f"sequence {index} has {length} tokens and the limit is {limit}: truncate or drop it")
        self.index = index
        self.length = length
        self.limit = limit


class LossError(EngineError):
    """A loss cannot be computed as asked."""


class UnknownLossError(LossError):
    """No loss of that name; the message lists the known ones."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown loss {name!r}; known: {', '.join(sorted(known))}")
        self.name = name


class LossConfigError(LossError):
    """A key of the loss configuration is unknown; the message lists the known ones."""


class NonFiniteLossError(LossError):
    """The loss of some examples is NaN or infinite; accumulated gradients were set to zero.

    Attributes:
        examples: positions of the offending examples in the batch (empty for a custom loss).
    """

    def __init__(self, examples: tuple[int, ...]) -> None:
        where = f"examples {', '.join(map(str, examples))}" if examples else "the whole batch"
        super().__init__(
            f"the loss is not finite for {where}; accumulated gradients were dropped. "
            "Check weights, advantages and old logprobs for NaN, or lower the learning rate"
        )
        self.examples = examples


class StepError(EngineError):
    """An optimizer step was refused; weights and moments are unchanged."""


class NoGradientError(StepError):
    """`optim_step` was called with no gradient accumulated since the last step."""


class NonFiniteGradientError(StepError):
    """The gradient norm is NaN or infinite; gradients were dropped, nothing was updated."""


class SamplingError(EngineError):
    """An argument of `Sampler.sample` cannot be met."""


class NonFiniteLogitsError(EngineError):
    """The model's logits are NaN, infinite, or minus infinity for every token: there is nothing to sample or to score.

    Attributes:
        index: position of the prompt or sequence in what was asked for.
        place: how many tokens were generated before (sampling), None where a sequence was scored.
    """

    def __init__(self, index: int, place: int | None = None) -> None:
        where = f"sequence {index}" if place is None else f"prompt {index} after {place} generated tokens"
        super().__init__(
            f"the model has no next-token distribution (its logits are NaN or infinite) for {where}: "
            "the weights or the adapter are damaged, or overflow in this precision; use an earlier checkpoint, or float32"
        )
        self.index = index
        self.place = place


class CheckpointError(EngineError):
    """A checkpoint could not be written, or what is there is damaged; the message holds the fix."""


class CheckpointNotFoundError(CheckpointError):
    """No checkpoint at that directory."""


class CheckpointMismatchError(CheckpointError):
    """The checkpoint belongs to another base model or another LoRA shape."""
