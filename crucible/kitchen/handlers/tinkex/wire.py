"""Our types as the SDK's, and its answers as ours."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crucible.effects import Failure, Result, Success
from crucible.train.errors import BackendFailed, TrainError
from crucible.train.types import (
    AdamParams,
    Datum,
    EncodedTextChunk,
    ModelInput,
    OptimStepOutput,
    Sample,
    SamplingParams,
    TensorData,
    Tokenizer,
    TokenLogprob,
)

if TYPE_CHECKING:
    import tinker.types as wire


def input_to(model_input: ModelInput) -> "wire.ModelInput":
    """Give an input, images and all, as the SDK's."""
    import tinker.types as wire

    chunks: list[wire.ModelInputChunk] = [
        wire.EncodedTextChunk(tokens=list(chunk.tokens))
        if isinstance(chunk, EncodedTextChunk)
        else wire.ImageChunk(data=chunk.data, format=chunk.format, expected_tokens=chunk.expected_tokens)
        for chunk in model_input.chunks
    ]
    return wire.ModelInput(chunks=chunks)


def data_to(data: Sequence[Datum]) -> "list[wire.Datum]":
    """Give training data as the SDK's."""
    import tinker.types as wire

    return [
        wire.Datum(
            model_input=input_to(datum.model_input),
            loss_fn_inputs={name: _tensor_to(tensor) for name, tensor in datum.loss_fn_inputs.items()},
        )
        for datum in data
    ]


def adam_to(adam: AdamParams) -> "wire.AdamParams":
    """Give an optimizer step's settings, all of them, as the SDK's."""
    import tinker.types as wire

    return wire.AdamParams(
        learning_rate=adam.learning_rate,
        beta1=adam.beta1,
        beta2=adam.beta2,
        eps=adam.eps,
        weight_decay=adam.weight_decay,
        grad_clip_norm=adam.grad_clip_norm,
    )


def stepped_of(answer: "wire.OptimStepResponse", adam: AdamParams, step: int) -> OptimStepOutput:
    """Read what an optimizer step did; the norm of the gradient is None where the server does not tell it."""
    metrics = {name: float(value) for name, value in (answer.metrics or {}).items()}
    norms = [value for name, value in metrics.items() if "grad_norm" in name or "grad_l2" in name]
    norm = norms[0] if norms else None
    return OptimStepOutput(step=step, learning_rate=adam.learning_rate, grad_norm=norm, metrics=metrics)


def samples_of(answer: "wire.SampleResponse", expected: int) -> Result[tuple[Sample, ...], TrainError]:
    """Read the samples of one prompt."""
    if len(answer.sequences) != expected:
        message = f"the server gave {len(answer.sequences)} samples, {expected} were asked for"
        return Failure(BackendFailed(message=message))
    samples: list[Sample] = []
    for one in answer.sequences:
        logprobs = one.logprobs
        if logprobs is None or len(logprobs) != len(one.tokens):
            return Failure(BackendFailed(message="the server gave a sample without its log-probabilities"))
        samples.append(Sample(tokens=tuple(one.tokens), logprobs=tuple(logprobs), stop_reason=one.stop_reason))
    return Success(tuple(samples))


def logprobs_of(found: Sequence[float | None], size: int) -> Result[tuple[float | None, ...], TrainError]:
    """Read the log-probabilities of an input's tokens; some servers leave out that of the first, which there is none of.

    >>> logprobs_of([-1.0, -2.0], 3).unwrap()
    (None, -1.0, -2.0)
    """
    if len(found) not in (size, size - 1):
        return Failure(BackendFailed(message=f"the server gave {len(found)} log-probabilities for {size} tokens"))
    rest = tuple(found[len(found) - size + 1 :])
    if any(logprob is None for logprob in rest):
        return Failure(BackendFailed(message="the server left out the log-probability of a token"))
    return Success((None, *rest))


def top_of(answer: "wire.SampleResponse", size: int) -> Result[tuple[tuple[TokenLogprob, ...], ...], TrainError]:
    """Read the likeliest tokens in the place of each of an input's tokens; for the first there are none."""
    found = answer.topk_prompt_logprobs
    if found is None:
        return Failure(BackendFailed(message="the server gave no likeliest tokens"))
    places = tuple(tuple(TokenLogprob(*pair) for pair in place or ()) for place in found)[-(size - 1) :]
    if len(found) not in (size, size - 1) or not all(places):
        return Failure(BackendFailed(message=f"the server gave likeliest tokens at {len(found)} of {size} places"))
    return Success(((), *places))


def sampling_to(
    params: SamplingParams, tokenizer: Tokenizer | None, *, place: int, max_tokens: int
) -> "wire.SamplingParams":
    """Give the settings for the prompt at a place of a call: equal prompts get seeds, so samples, of their own.

    The SDK takes stop tokens or stop texts; given either, a server may stop at nothing else, so the end of sequence is added:
    as a token where no text is asked for, so that an answer may quote it.
    """
    import tinker.types as wire

    stop: list[int] | list[str] | None = None
    if tokenizer is not None:
        end = tokenizer.eos_token
        tokens = [*params.stop_tokens, end]
        stop = tokens if params.stop_tokens or not params.stop else [*params.stop, tokenizer.decode([end])]
    return wire.SamplingParams(
        max_tokens=max_tokens,
        seed=(params.seed + 1_000_003 * place) % 2**31,
        stop=stop,
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
    )


def cut(sample: Sample, params: SamplingParams, tokenizer: Tokenizer | None) -> Sample:
    """End a sample at the first token with which a stop text is complete, where the server was not told of the texts."""
    if tokenizer is None or not (params.stop and params.stop_tokens):
        return sample
    for size in range(1, len(sample.tokens) + 1):
        text = tokenizer.decode(sample.tokens[:size])
        if any(end in text for end in params.stop):
            return Sample(tokens=sample.tokens[:size], logprobs=sample.logprobs[:size], stop_reason="stop")
    return sample


def _tensor_to(tensor: TensorData) -> "wire.TensorData":
    import numpy as np
    import tinker.types as wire

    numbers = np.asarray(tensor.data, dtype=np.int64 if tensor.dtype == "int64" else np.float32)
    return wire.TensorData(data=numbers.reshape(tensor.shape), dtype=tensor.dtype, shape=list(tensor.shape))
