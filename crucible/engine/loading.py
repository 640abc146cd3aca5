"""Models and tokenizers from a hub id, a directory or a GGUF file, frozen and ready to share."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import attrs
import torch
from torch import nn

from crucible.engine.errors import EngineError, ModelLoadError, ModelNotFoundError
from crucible.engine.trial import require_forward

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
UNLIMITED = 1_048_576
"""Context of a model that names no limit, in tokens: recurrent ones carry a state of one size, whatever they read."""


@attrs.frozen(kw_only=True, eq=False)
class LoadedModel:
    """A frozen model with its tokenizer. Trainers and samplers share its weights and never change them.

    Args:
        model: a transformers causal language model, in eval mode, no parameter requiring gradients.
        tokenizer: the transformers tokenizer.
        name: the source it was loaded from.
        max_length: the model's context limit in tokens.
        vocab_size: number of token ids the model knows; ids are in [0, vocab_size).
        eos_ids: token ids that end a generation.
        fingerprint: digest of parameter names, shapes and sampled values; the same wherever the model is stored
            and in whichever of the two types it was loaded.
    """

    model: Any  # Any: transformers models have no useful static type
    tokenizer: Any  # Any: likewise
    name: str
    max_length: int
    vocab_size: int
    eos_ids: tuple[int, ...]
    fingerprint: str


def load_model(
    source: str | Path,
    *,
    dtype: Literal["float32", "bfloat16"] = "float32",
    trust_remote_code: bool = False,
    revision: str | None = None,
) -> LoadedModel:
    """Load a model and its tokenizer onto the CPU.

    Args:
        source: a hub id, a local directory, or the path of a .gguf file.
        dtype: type of the weights. bfloat16 halves memory; on a CPU without bfloat16 instructions it is several
            times slower than float32.
        trust_remote_code: run the Python code that some hub models carry.
        revision: branch, tag or commit of a hub id.

    A hub id that is in the local cache still asks the hub whether it is current; set HF_HUB_OFFLINE=1 where there is no
    network, or each file waits 23 seconds for it.

    Raises:
        ModelNotFoundError: no such path or id, or the network is out of reach.
        ModelLoadError: it is there and cannot be loaded.
    """
    path = Path(source).expanduser()
    with _quiet():
        if path.suffix == ".gguf":
            return _load_gguf(path, DTYPES[dtype])
        if _looks_like_path(str(source)) and not path.is_dir():
            raise ModelNotFoundError(f"no directory at {path} (from {str(source)!r}): check the path")
        found = str(path) if path.is_dir() else str(source)
        return _load_pretrained(found, DTYPES[dtype], trust_remote_code=trust_remote_code, revision=revision)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing progress bars over the caller's terminal."""
    from transformers.utils import logging

    if not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def wrap_model(model: nn.Module, tokenizer: Any, *, name: str) -> LoadedModel:
    """Freeze `model` in place and describe it. For models made in memory; `load_model` ends here too.

    Raises:
        ModelLoadError: it cannot be run; names its type and the reason.
    """
    model.requires_grad_(False).eval()
    require_forward(model)
    described: Any = model  # Any: configuration fields are read dynamically
    text = described.config.get_text_config()
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=name,
        max_length=_max_length(text, tokenizer),
        vocab_size=int(described.get_input_embeddings().weight.shape[0]),
        eos_ids=_eos_ids(described, tokenizer),
        fingerprint=_fingerprint(model),
    )


def _max_length(config: Any, tokenizer: Any) -> int:
    """Return the context limit: the model's, its tokenizer's where it has none, or `UNLIMITED`. Any: as in `LoadedModel`."""
    for name in ("max_position_embeddings", "max_seq_len"):
        if isinstance(limit := getattr(config, name, None), int) and limit > 0:
            return limit
    return min(int(getattr(tokenizer, "model_max_length", UNLIMITED)), UNLIMITED)


def _looks_like_path(source: str) -> bool:
    return source.startswith(("/", ".", "~")) or source.count("/") > 1


def _load_pretrained(source: str, dtype: torch.dtype, *, trust_remote_code: bool, revision: str | None) -> LoadedModel:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.hub import cached_file

    options = {"trust_remote_code": trust_remote_code, "revision": revision}
    try:
        # An unreachable hub is asked six times over 23 seconds for each file; this file alone settles it.
        cached_file(source, "config.json", revision=revision)
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        # Any: the library's types leave out the pair that `output_loading_info` gives
        both: Any = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, output_loading_info=True, **options)
        model, read = both
        _require_whole(source, read["missing_keys"])
        return wrap_model(model, tokenizer, name=source)
    except EngineError:
        raise
    except OSError as error:
        raise _not_found_or_broken(source, revision, error) from error
    except Exception as error:  # transformers reports a bad model with any of a dozen exception types
        raise ModelLoadError(f"{source!r} cannot be loaded: {error}") from error


def _require_whole(source: str, missing: Collection[str]) -> None:
    """Refuse weights that transformers would make up, at random, with no more than a warning."""
    if missing:
        some = ", ".join(sorted(missing)[:3])
        raise ModelLoadError(
            f"{source!r} lacks {len(missing)} of the weights that its config.json speaks of, such as {some}: "
            "they would be random. Fetch all of its weight files, or mend config.json"
        )


def _not_found_or_broken(source: str, revision: str | None, error: OSError) -> ModelNotFoundError | ModelLoadError:
    if Path(source).is_dir():
        return ModelLoadError(f"the directory {source} is no complete model with tokenizer: {error}")
    at = f" at revision {revision!r}" if revision else ""
    return ModelNotFoundError(
        f"no model {source!r}{at}: tried a local directory of that name, the local hub cache and the hub. "
        f"Check the id, log in if it is private, or give the path of a local copy when offline. Cause: {error}"
    )


def _load_gguf(path: Path, dtype: torch.dtype) -> LoadedModel:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    if not path.is_file():
        raise ModelNotFoundError(f"no GGUF file at {path}: check the path")
    where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where)
        packed = AutoModelForCausalLM.from_pretrained(
            dtype=dtype, quantization_config=GgufConfig(dequantize=True), **where
        )
    except Exception as error:  # the GGUF readers raise anything on a damaged file
        raise ModelLoadError(f"the GGUF file {path} cannot be loaded: {error}") from error
    return wrap_model(_plain_copy(packed, dtype), tokenizer, name=str(path))


def _plain_copy(packed: Any, dtype: torch.dtype) -> nn.Module:
    """Return the same weights in a model of the plain class: as loaded from GGUF it neither trains nor saves."""
    from transformers import AutoModelForCausalLM

    config = type(packed.config)(**{k: v for k, v in packed.config.to_dict().items() if k != "quantization_config"})
    with torch.device("meta"):
        plain: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    plain.to_empty(device="cpu")
    plain.tie_weights()
    plain.load_state_dict({name: tensor.to(dtype) for name, tensor in packed.state_dict().items()})
    for empty, filled in zip(plain.buffers(), packed.buffers(), strict=True):
        empty.copy_(filled)  # what is computed at construction and never saved, such as rotary frequencies
    plain.generation_config = packed.generation_config
    model: nn.Module = plain
    return model


def _eos_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    generation = getattr(model, "generation_config", None)
    declared = [getattr(generation, "eos_token_id", None), getattr(tokenizer, "eos_token_id", None)]
    flat = [one for ids in declared for one in (ids if isinstance(ids, list | tuple) else [ids])]
    return tuple(sorted({int(one) for one in flat if one is not None}))


def _fingerprint(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        head = parameter.detach().flatten()[:16].to(torch.bfloat16).float().cpu()
        digest.update(f"{name}{tuple(parameter.shape)}".encode() + head.numpy().tobytes())
    return digest.hexdigest()
