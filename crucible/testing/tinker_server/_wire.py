"""The messages of the Tinker API as our types, and our results as its messages. Protobuf and JSON are the SDK's own."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Literal, cast, get_args

import numpy as np
from tinker import types as wire
from tinker.proto import tinker_public_pb2 as pb

from crucible.effects import Failure, Result, Success
from crucible.train.errors import InvalidRequest, TrainError, Unsupported
from crucible.train.types import (
    Chunk,
    Datum,
    DType,
    EncodedTextChunk,
    ForwardBackwardOutput,
    ImageChunk,
    LossFn,
    ModelInput,
    Sample,
    SamplingParams,
    TensorData,
    TokenLogprob,
)

_NUMPY_TYPES: Mapping[int, np.dtype[np.generic]] = {
    pb.DTYPE_FLOAT32: np.dtype(np.float32),
    pb.DTYPE_INT64: np.dtype(np.int64),
    pb.DTYPE_INT32: np.dtype(np.int32),
}


def data_of(message: pb.ForwardBackwardRequest) -> Result[tuple[Datum, ...], TrainError]:
    """Read a training batch."""
    data = []
    for index, datum in enumerate(message.data):
        try:
            chunks = tuple(_proto_chunk(chunk) for chunk in datum.model_input)
            inputs = {name: _tensor(tensor) for name, tensor in datum.loss_fn_inputs.items()}
            data.append(Datum(model_input=ModelInput(chunks=chunks), loss_fn_inputs=inputs))
        except ValueError as error:
            return Failure(InvalidRequest(message=str(error), index=index))
    return Success(tuple(data))


def loss_of(message: pb.ForwardBackwardRequest) -> Result[tuple[LossFn, Mapping[str, float]], TrainError]:
    """Read the name and the configuration of a loss."""
    if message.loss_fn not in get_args(LossFn):
        fix = f"use one of {', '.join(get_args(LossFn))}"
        return Failure(Unsupported(feature=f"the loss {message.loss_fn!r}", backend="this server", fix=fix))
    texts = [name for name, value in message.loss_fn_config_v2.items() if value.WhichOneof("value") == "text"]
    if texts:
        return Failure(InvalidRequest(message=f"{message.loss_fn} takes no text as {texts[0]}"))
    return Success((cast("LossFn", message.loss_fn), dict(message.loss_fn_config)))


def input_of(prompt: wire.ModelInput) -> Result[ModelInput, TrainError]:
    """Read a prompt."""
    chunks: list[Chunk] = []
    for chunk in prompt.chunks:
        if isinstance(chunk, wire.EncodedTextChunk):
            chunks.append(EncodedTextChunk(tokens=tuple(chunk.tokens)))
        elif isinstance(chunk, wire.ImageChunk):
            chunks.append(ImageChunk(data=chunk.data, format=chunk.format, expected_tokens=chunk.expected_tokens or 1))
        else:
            return Failure(Unsupported(feature=f"a {type(chunk).__name__} in a prompt", backend="this server"))
    return Success(ModelInput(chunks=tuple(chunks)))


def params_of(params: wire.SamplingParams, *, room: int, seed: int) -> Result[SamplingParams, TrainError]:
    """Read how to sample; `room` and `seed` stand where nothing was said."""
    if params.stop is not None and not isinstance(params.stop, str) and len(params.stop) == 0:
        fix = "leave stop out: the end-of-sequence token always stops"
        return Failure(Unsupported(feature="stop=[]", backend="this server", fix=fix))
    stop = (params.stop,) if isinstance(params.stop, str) else tuple(params.stop or ())
    try:
        return Success(
            SamplingParams(
                max_tokens=room if params.max_tokens is None else params.max_tokens,
                temperature=params.temperature,
                top_k=params.top_k,
                top_p=params.top_p,
                stop=tuple(text for text in stop if isinstance(text, str)),
                stop_tokens=tuple(token for token in stop if isinstance(token, int)),
                seed=seed if params.seed is None else params.seed,
            )
        )
    except ValueError as error:
        return Failure(InvalidRequest(message=str(error)))


def batch_message(output: ForwardBackwardOutput) -> bytes:
    """Write the result of a pass: one record of log-probabilities, with the metrics beside it."""
    rows = [np.asarray(row, dtype=np.float32) for row in output.logprobs]
    record = pb.ArrayRecord(type_tag="ArrayRecord", num_datums=len(rows))
    logprobs = record.fields["logprobs"]
    logprobs.data = b"".join(row.tobytes() for row in rows)
    logprobs.offsets = np.asarray([0, *accumulate(row.nbytes for row in rows)], dtype=np.int64).tobytes()
    logprobs.dtype = pb.DTYPE_FLOAT32
    reduced = {name if ":" in name else f"{name}:mean": value for name, value in output.metrics.items()}
    message = pb.ForwardBackwardOutput(
        loss_fn_output_type="ArrayRecord",
        loss_fn_outputs=[record],
        metrics={**reduced, "loss:sum": output.loss},
    )
    return bytes(message.SerializeToString())


_NO_LOGPROB = -99999.0
"""What the API writes where there is no token, with token 0."""


def sample_message(
    samples: Sequence[Sample],
    prompt_logprobs: Sequence[float | None] | None,
    top: Sequence[Sequence[TokenLogprob]] | None = None,
) -> bytes:
    """Write sampled sequences, and the log-probabilities and likeliest tokens of the prompt where they were asked for."""
    message = pb.SampleResponse(
        sequences=[
            pb.SampledSequence(
                stop_reason=pb.STOP_REASON_STOP if sample.stop_reason == "stop" else pb.STOP_REASON_LENGTH,
                tokens=np.asarray(sample.tokens, dtype=np.int32).tobytes(),
                logprobs=np.asarray(sample.logprobs, dtype=np.float32).tobytes(),
            )
            for sample in samples
        ]
    )
    if prompt_logprobs is not None:
        known = [math.nan if logprob is None else logprob for logprob in prompt_logprobs]
        message.prompt_logprobs = np.asarray(known, dtype=np.float32).tobytes()
    if top is not None:
        message.topk_prompt_logprobs.CopyFrom(_top_message(top))
    return bytes(message.SerializeToString())


def _top_message(top: Sequence[Sequence[TokenLogprob]]) -> pb.TopkLogprobs:
    """Write likeliest tokens as two matrices, filled up where there are fewer."""
    width = max(map(len, top), default=0)
    filled = [[*place, *(TokenLogprob(0, _NO_LOGPROB),) * (width - len(place))] for place in top]
    return pb.TopkLogprobs(
        token_ids=np.asarray([[one.token for one in place] for place in filled], dtype=np.int32).tobytes(),
        logprobs=np.asarray([[one.logprob for one in place] for place in filled], dtype=np.float32).tobytes(),
        k=width,
        length=len(top),
    )


def _proto_chunk(chunk: pb.Chunk) -> Chunk:
    kind = chunk.WhichOneof("chunk")
    if kind == "encoded_text":
        return EncodedTextChunk(tokens=tuple(np.frombuffer(chunk.encoded_text.tokens, dtype=np.int32).tolist()))
    if kind == "image":
        if chunk.image.format not in {"png", "jpeg"}:
            raise ValueError(f"an image cannot be {chunk.image.format!r}")
        form: Literal["png", "jpeg"] = "png" if chunk.image.format == "png" else "jpeg"
        return ImageChunk(data=chunk.image.data, format=form, expected_tokens=chunk.image.expected_tokens or 1)
    raise ValueError(f"this server takes text and images, not {kind}")


def _tensor(message: pb.Tensor) -> TensorData:
    """Read an array, a sparse one as a full one."""
    if message.dtype not in _NUMPY_TYPES:
        raise ValueError(f"an array has the unknown type {message.dtype}")
    dtype, shape = _NUMPY_TYPES[message.dtype], tuple(message.shape)
    if message.HasField("sparse_csr"):
        numbers = _dense(message.sparse_csr, dtype, shape)
    else:
        numbers = np.frombuffer(message.dense, dtype=dtype)
    whole: DType = "float32" if message.dtype == pb.DTYPE_FLOAT32 else "int64"
    return TensorData(data=numbers.tolist(), dtype=whole, shape=shape or (numbers.size,))


def _dense(
    message: pb.SparseCsr, dtype: np.dtype[np.generic], shape: tuple[int, ...]
) -> np.ndarray[tuple[int], np.dtype[np.generic]]:
    full = np.zeros(shape, dtype=dtype)
    starts = np.frombuffer(message.crow_indices, dtype=np.int64)
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    full[rows, np.frombuffer(message.col_indices, dtype=np.int64)] = np.frombuffer(message.values, dtype=dtype)
    return full.reshape(-1)
