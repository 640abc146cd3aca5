"""Runs of text that are encoded together, to tokens and weights."""

from collections.abc import Sequence

import attrs

from crucible.effects import Failure, Result, Success
from crucible.train.renderers.base import PlacedImage, RenderedExample, RenderError
from crucible.train.renderers.quoting import encode
from crucible.train.renderers.vocabulary import vocabulary_of
from crucible.train.types import ImageChunk, TokenId, Tokenizer


@attrs.frozen(kw_only=True)
class Run:
    """A part of a quoted conversation that is encoded on its own, all of one weight; or an image in place of text."""

    text: str
    weight: float
    image: ImageChunk | None = None


def encode_runs(tokenizer: Tokenizer, runs: Sequence[Run], mark: str) -> Result[RenderedExample, RenderError]:
    """Encode what a template wrote of a conversation that was quoted with a mark.

    Fails: RenderError when the tokenizer cannot encode a text without a control token.
    """
    tokens: list[TokenId] = []
    weights: list[float] = []
    images: list[PlacedImage] = []
    control: list[int] = []
    numbers = vocabulary_of(tokenizer, [run.text for run in runs]).ids
    for run in runs:
        if run.image is not None:
            images.append(PlacedImage(start=len(tokens), chunk=run.image))
            tokens += [0] * len(run.image)
            weights += [0.0] * len(run.image)
            continue
        try:
            encoded = encode(tokenizer, run.text, mark, begins=not tokens) if run.text else ()
        except ValueError as error:
            return Failure(RenderError(message=str(error)))
        control += [len(tokens) + place for place, token in enumerate(encoded) if token in numbers]
        tokens += encoded
        weights += [run.weight] * len(encoded)
    return Success(
        RenderedExample(tokens=tuple(tokens), weights=tuple(weights), images=tuple(images), control=tuple(control))
    )
