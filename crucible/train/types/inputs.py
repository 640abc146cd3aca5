"""What a model reads and what a loss compares: chunks, inputs, data.

Alignment, as in the Tinker API: position `i` of `model_input` predicts position `i` of `target_tokens`; every array of
`loss_fn_inputs` has the length N of the input, one entry for each token.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import attrs

DType: TypeAlias = Literal["int64", "float32"]
TokenId: TypeAlias = int


def _frozen_numbers(data: Sequence[float]) -> tuple[float, ...]:
    return tuple(data)


@attrs.frozen(kw_only=True)
class TensorData:
    """A flat array of numbers with its type and shape.

    >>> TensorData.ints([1, 2, 3])
    TensorData(data=(1, 2, 3), dtype='int64', shape=(3,))
    """

    data: tuple[float, ...] = attrs.field(converter=_frozen_numbers)
    dtype: DType
    shape: tuple[int, ...]

    def __attrs_post_init__(self) -> None:
        if math.prod(self.shape) != len(self.data):
            raise ValueError(f"shape {self.shape} holds {math.prod(self.shape)} numbers, data has {len(self.data)}")

    @classmethod
    def ints(cls, data: Sequence[int]) -> "TensorData":
        """Make a one-dimensional int64 array."""
        return cls(data=data, dtype="int64", shape=(len(data),))

    @classmethod
    def floats(cls, data: Sequence[float]) -> "TensorData":
        """Make a one-dimensional float32 array."""
        return cls(data=data, dtype="float32", shape=(len(data),))

    def __len__(self) -> int:
        return len(self.data)


@attrs.frozen(kw_only=True)
class EncodedTextChunk:
    """Token ids of text."""

    tokens: tuple[TokenId, ...]

    def __len__(self) -> int:
        return len(self.tokens)


@attrs.frozen(kw_only=True)
class ImageChunk:
    """An encoded image and the number of positions it takes in the context."""

    data: bytes = attrs.field(repr=lambda data: f"<{len(data)} bytes>")
    format: Literal["png", "jpeg"]
    expected_tokens: int = attrs.field(validator=attrs.validators.ge(1))

    def __len__(self) -> int:
        return self.expected_tokens


Chunk: TypeAlias = EncodedTextChunk | ImageChunk


@attrs.frozen(kw_only=True)
class ModelInput:
    """What a model reads, as chunks in order.

    >>> len(ModelInput.from_tokens([5, 6, 7]))
    3
    """

    chunks: tuple[Chunk, ...]

    @classmethod
    def from_tokens(cls, tokens: Sequence[TokenId]) -> "ModelInput":
        """Make an input of text alone."""
        return cls(chunks=(EncodedTextChunk(tokens=tuple(tokens)),) if tokens else ())

    def __len__(self) -> int:
        """Count the positions, image positions included."""
        return sum(len(chunk) for chunk in self.chunks)

    def beginning_at(self, start: int) -> "ModelInput":
        """Give what stands from a position on; an image that begins before it is left out.

        >>> ModelInput.from_tokens([5, 6, 7]).beginning_at(1).tokens
        (6, 7)
        """
        chunks: list[Chunk] = []
        for chunk in self.chunks:
            skipped, start = min(start, len(chunk)), max(0, start - len(chunk))
            if not skipped:
                chunks.append(chunk)
            elif isinstance(chunk, EncodedTextChunk) and skipped < len(chunk):
                chunks.append(EncodedTextChunk(tokens=chunk.tokens[skipped:]))
        return ModelInput(chunks=tuple(chunks))

    @property
    def tokens(self) -> tuple[TokenId, ...]:
        """All token ids; an image stands as that many zeros."""
        return tuple(
            token
            for chunk in self.chunks
            for token in (chunk.tokens if isinstance(chunk, EncodedTextChunk) else (0,) * len(chunk))
        )


@attrs.frozen(kw_only=True)
class Datum:
    """One training example: an input and, for each of its positions, what the loss needs.

    Raises: ValueError when an array is not as long as the input.
    """

    model_input: ModelInput
    loss_fn_inputs: Mapping[str, TensorData]

    def __attrs_post_init__(self) -> None:
        for name, tensor in self.loss_fn_inputs.items():
            if tensor.shape[0] != len(self.model_input):
                raise ValueError(f"{name} has {tensor.shape[0]} entries for an input of {len(self.model_input)} tokens")

    @property
    def num_loss_tokens(self) -> int:
        """Count the positions that are trained on: those of non-zero weight, or all when there are no weights."""
        weights = self.loss_fn_inputs.get("weights")
        return len(self.model_input) if weights is None else sum(weight != 0 for weight in weights.data)
