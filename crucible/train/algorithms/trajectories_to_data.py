"""Trajectories to training data, tokens as they were sampled: nothing is ever tokenised again.

A multi-turn episode whose observations each extend what was there before is one sequence, computed once. Where one does not
(a template that drops earlier thoughts, a context that was cut), a new datum begins.
"""

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from crucible.train.types.inputs import (
    Chunk,
    Datum,
    EncodedTextChunk,
    ImageChunk,
    ModelInput,
    TensorData,
    TokenId,
)
from crucible.train.types.trajectories import PolicyDatum, TokensWithLogprobs, Trajectory

Piece: TypeAlias = TokenId | ImageChunk
"""A token, or an image as a whole."""


@attrs.frozen(kw_only=True)
class _Running:
    """A sequence as it grows: its pieces, and for each its log-probability, advantage and mask."""

    pieces: tuple[Piece, ...] = ()
    logprobs: tuple[float, ...] = ()
    advantages: tuple[float, ...] = ()
    mask: tuple[float, ...] = ()

    def extended_by(self, pieces: Sequence[Piece]) -> bool:
        """Whether these pieces begin with all of mine."""
        return tuple(pieces[: len(self.pieces)]) == self.pieces

    def seen(self, pieces: Sequence[Piece]) -> "_Running":
        """Add what was observed."""
        nothing = (0.0,) * len(pieces)
        return _Running(
            pieces=(*self.pieces, *pieces),
            logprobs=self.logprobs + nothing,
            advantages=self.advantages + nothing,
            mask=self.mask + nothing,
        )

    def acted(self, action: TokensWithLogprobs, advantage: float) -> "_Running":
        """Add what was done."""
        size = len(action.tokens)
        return _Running(
            pieces=(*self.pieces, *action.tokens),
            logprobs=self.logprobs + action.logprobs,
            advantages=self.advantages + (advantage,) * size,
            mask=self.mask + (1.0,) * size,
        )

    def up_to_last_action(self) -> "_Running":
        """Leave out what comes after the last token that was sampled."""
        size = max(i for i, mask in enumerate(self.mask) if mask) + 1
        return _Running(
            pieces=self.pieces[:size],
            logprobs=self.logprobs[:size],
            advantages=self.advantages[:size],
            mask=self.mask[:size],
        )


def trajectory_to_data(
    trajectory: Trajectory, advantage: float | Sequence[float], *, group: int = 0, index: int = 0
) -> tuple[PolicyDatum, ...]:
    """Make the data of a trajectory: one where each observation extends the sequence so far, else several.

    Each position predicts the next token. Where that was sampled it has the log-probability it was sampled with, the
    advantage and mask 1; where it was observed, 0 each. The final observation is not needed, and left out.

    Args:
        trajectory: its actions carry log-probabilities, its first observation at least one token.
        advantage: of the whole trajectory, or one for each transition.
        group: which group it is of.
        index: which trajectory of that group it is.

    >>> from crucible.train.types import ModelInput
    >>> from crucible.train.types.trajectories import Transition
    >>> first = Transition(
    ...     observation=ModelInput.from_tokens([1, 2]), action=TokensWithLogprobs(tokens=(3,), maybe_logprobs=(-0.5,))
    ... )
    >>> second = Transition(
    ...     observation=ModelInput.from_tokens([1, 2, 3, 4]),
    ...     action=TokensWithLogprobs(tokens=(5,), maybe_logprobs=(-0.1,)),
    ... )
    >>> (made,) = trajectory_to_data(Trajectory(transitions=(first, second)), 2.0)
    >>> made.datum.model_input.tokens, made.datum.loss_fn_inputs["target_tokens"].data
    ((1, 2, 3, 4), (2, 3, 4, 5))
    >>> made.logprobs, made.advantages, made.mask_N
    ((0.0, -0.5, 0.0, -0.1), (0.0, 2.0, 0.0, 2.0), (0.0, 1.0, 0.0, 1.0))

    Raises: ValueError when log-probabilities are not known, an observation is empty, or the advantages are not as many as
    the transitions.
    """
    count = len(trajectory.transitions)
    advantages_T = tuple(advantage) if isinstance(advantage, Sequence) else (advantage,) * count
    finished: list[_Running] = []
    running = _Running()
    for transition, worth in zip(trajectory.transitions, advantages_T, strict=True):
        pieces = _pieces(transition.observation)
        if not pieces:
            raise ValueError(
                "an observation has no tokens: nothing comes before its action, so it cannot be trained on"
            )
        if not running.extended_by(pieces):
            finished.append(running)
            running = _Running()
        running = running.seen(pieces[len(running.pieces) :]).acted(transition.action, worth)
    return tuple(_datum(each, group, index) for each in (*finished, running) if any(each.mask))


def _pieces(observation: ModelInput) -> tuple[Piece, ...]:
    return tuple(
        piece
        for chunk in observation.chunks
        for piece in (chunk.tokens if isinstance(chunk, EncodedTextChunk) else (chunk,))
    )


def _datum(running: _Running, group: int, index: int) -> PolicyDatum:
    """Shift by one: all but the last piece is the input, all but the first position the target.

    What was observed after the last action trains nothing, and is left out.
    """
    running = running.up_to_last_action()
    sizes = [len(piece) if isinstance(piece, ImageChunk) else 1 for piece in running.pieces]
    targets = [0 if isinstance(piece, ImageChunk) else piece for piece in running.pieces]

    def shifted(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(value for value, size in zip(values, sizes, strict=True) for _ in range(size))[1:]

    inputs = {
        "target_tokens": TensorData.ints([int(target) for target in shifted(targets)]),
        "logprobs": TensorData.floats(shifted(running.logprobs)),
        "advantages": TensorData.floats(shifted(running.advantages)),
    }
    datum = Datum(model_input=ModelInput(chunks=_chunks(running.pieces[:-1])), loss_fn_inputs=inputs)
    return PolicyDatum(datum=datum, mask_N=shifted(running.mask), group=group, trajectory=index)


def _chunks(pieces: Sequence[Piece]) -> tuple[Chunk, ...]:
    chunks: list[Chunk] = []
    tokens: list[TokenId] = []
    for piece in pieces:
        if not isinstance(piece, ImageChunk):
            tokens.append(piece)
            continue
        chunks += [EncodedTextChunk(tokens=tuple(tokens)), piece] if tokens else [piece]
        tokens = []
    return (*chunks, EncodedTextChunk(tokens=tuple(tokens))) if tokens else tuple(chunks)
