"""Prompts with the answers to others, from which KTO estimates how far a policy has gone from its reference."""

from collections.abc import Sequence

from crucible.train.types import Chunk, Datum, EncodedTextChunk, ModelInput, TensorData


def mismatched(data: Sequence[Datum], *, max_length: int) -> tuple[Datum, ...]:
    """Give, for each datum of pairs (chosen and rejected in turn), its prompt with the answer to another prompt.

    The other one is that of the next pair which has a different prompt, after the last the first; chosen stands for chosen and
    rejected for rejected. So what belongs to a pair does not depend on its batch, and a reference can be asked once (Ethayarajh
    et al. 2024, arXiv 2402.01306, section 4.1, shift the answers of a batch). What becomes longer than `max_length` is cut.

    Gives: nothing when all prompts are the same.

    >>> def datum(*tokens: int) -> Datum:
    ...     inputs = {"target_tokens": TensorData.ints(tokens[1:]), "weights": TensorData.floats([0, 1])}
    ...     return Datum(model_input=ModelInput.from_tokens(tokens[:-1]), loss_fn_inputs=inputs)
    >>> pairs = [datum(1, 2, 7), datum(1, 2, 8), datum(3, 4, 9), datum(3, 4, 5)]
    >>> [one.loss_fn_inputs["target_tokens"].data for one in mismatched(pairs, max_length=8)]
    [(2, 9), (2, 5), (4, 7), (4, 8)]
    """
    prompts = [_prompt_of(datum).tokens for datum in data[::2]]
    others = _next_different(prompts)
    if None in others:
        return ()
    return tuple(
        _joined(data[2 * place + side], data[2 * other + side], max_length)
        for place, other in enumerate(others)
        if other is not None
        for side in (0, 1)
    )


def _next_different(prompts: Sequence[object]) -> list[int | None]:
    """Give the place of the next prompt that differs from each, going round; None where there is none."""
    count, found = len(prompts), list[int | None]([None] * len(prompts))
    for step in reversed(range(2 * count)):
        here, there = step % count, (step + 1) % count
        found[here] = there if prompts[here] != prompts[there] else found[there]
    return found


def _joined(asked: Datum, answered: Datum, max_length: int) -> Datum:
    """Join the prompt of one datum and the answer of another, cut to so many tokens."""
    prompt, first = _prompt_of(asked), _first_trained(answered)
    answer = _part(answered.model_input, first + 1, len(answered.model_input))
    whole = ModelInput(chunks=(*prompt.chunks, *answer.chunks))
    before, rest = len(prompt) - 1, slice(first, None)
    targets = [
        *asked.loss_fn_inputs["target_tokens"].data[:before],
        *answered.loss_fn_inputs["target_tokens"].data[rest],
    ]
    weights = [*(0.0,) * before, *answered.loss_fn_inputs["weights"].data[rest]]
    size = min(len(whole), max_length - 1)
    return Datum(
        model_input=_part(whole, 0, size),
        loss_fn_inputs={
            "target_tokens": TensorData.ints([int(token) for token in targets[:size]]),
            "weights": TensorData.floats(weights[:size]),
        },
    )


def _prompt_of(datum: Datum) -> ModelInput:
    """Give what a model reads before the first token that is trained on."""
    return _part(datum.model_input, 0, _first_trained(datum) + 1)


def _first_trained(datum: Datum) -> int:
    return next(place for place, weight in enumerate(datum.loss_fn_inputs["weights"].data) if weight)


def _part(model_input: ModelInput, start: int, stop: int) -> ModelInput:
    """Give the positions from `start` to `stop`; an image of which a part lies outside is left out."""
    chunks, place = list[Chunk](), 0
    for chunk in model_input.chunks:
        begin, end = max(start - place, 0), min(stop - place, len(chunk))
        if isinstance(chunk, EncodedTextChunk):
            chunks += [EncodedTextChunk(tokens=chunk.tokens[begin:end])] if begin < end else []
        elif (begin, end) == (0, len(chunk)):
            chunks.append(chunk)
        place += len(chunk)
    return ModelInput(chunks=tuple(chunks))
