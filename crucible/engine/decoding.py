"""Batched decoding: prompts padded on the left, one prefill for equal prompts, finished rows leave the batch.

Models with recurrent layers read prompts of one length at a time instead, without padding (see `recurrent`).
Letters: R rows still running, U distinct prompts, L length of the longest prompt.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, TypeVar

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crucible.engine.choosing import choose, uniforms
from crucible.engine.errors import NonFiniteLogitsError
from crucible.engine.kv_cache import make_cache
from crucible.engine.recurrent import OwnStates, attends, can_join, is_recurrent, joined
from crucible.engine.stopping import StopRule
from crucible.engine.values import Sampled, Sampling

T = TypeVar("T")


@attrs.define(kw_only=True, eq=False)
class Row:
    """One sample in progress.

    Args:
        prompt: ids.
        prompt_index: its place in what was asked for.
        uniform: one draw for each token it may generate; its length is the most tokens it may have.
    """

    prompt: tuple[int, ...]
    prompt_index: int
    uniform: NDArray[np.float64]
    tokens: list[int] = attrs.field(factory=list)
    logprobs: list[float] = attrs.field(factory=list)
    stopped: bool = False

    @property
    def finished(self) -> bool:
        """Whether no token is to follow."""
        return self.stopped or len(self.tokens) == len(self.uniform)

    @property
    def result(self) -> Sampled:
        """The sample so far."""
        return Sampled(
            tokens=tuple(self.tokens),
            logprobs=tuple(self.logprobs),
            stop_reason="stop" if self.stopped else "length",
        )


@attrs.define(kw_only=True, eq=False)
class _Running:
    """The rows in flight with the model's state for them.

    `mask_RL` is None where no row has padding and the model needs none. The cache is an argument of the model's forward,
    whose name is `cache_name`.
    """

    rows: list[Row]
    cache: Any  # Any: a transformers cache
    cache_name: str
    own: OwnStates
    mask_RL: Tensor | None
    positions_R: Tensor

    def keep_unfinished(self) -> None:
        kept = [index for index, row in enumerate(self.rows) if not row.finished]
        if len(kept) == len(self.rows):
            return
        self.rows = [self.rows[index] for index in kept]
        if kept:
            self.select(torch.tensor(kept, device=self.positions_R.device))

    def select(self, indices: Tensor) -> None:
        self.cache.reorder_cache(indices)
        self.own.select(indices)
        self.positions_R = self.positions_R[indices]
        if self.mask_RL is not None:
            self.mask_RL = self.mask_RL[indices]


def new_row(prompt: tuple[int, ...], sampling: Sampling, *, prompt_index: int, sample_index: int, limit: int) -> Row:
    """Start a sample; `limit` is the context limit, which generation does not pass."""
    count = min(sampling.max_tokens, limit - len(prompt))
    return Row(
        prompt=prompt, prompt_index=prompt_index, uniform=uniforms(sampling.seed, prompt_index, sample_index, count)
    )


@torch.inference_mode()
def decode(model: Any, rows: Sequence[Row], sampling: Sampling, stop: StopRule, *, plain: bool) -> None:
    """Fill `rows` in place until each is finished.

    Args:
        model: a transformers causal language model. Any: it has no useful static type.
        plain: every layer is full attention.

    Raises: NonFiniteLogitsError, which names the prompt and the step.
    """
    for together in _batches(model, rows, plain=plain):
        running, logits_RV = _prefill(model, together, plain=plain)
        while True:
            _extend(running, logits_RV, sampling, stop)
            running.keep_unfinished()
            if not running.rows:
                running.own.forget()
                break
            logits_RV = _advance(model, running)


def _batches(model: Any, rows: Sequence[Row], *, plain: bool) -> list[list[Row]]:
    """Split rows by the length of their prompts where their states cannot be put into one batch."""
    cache = make_cache(model.config, plain=plain)
    if not is_recurrent(cache) or (can_join(cache) and not OwnStates.of(model).places):
        return [list(rows)]
    return [part for _, part in _by_length(rows, lambda row: len(row.prompt))]


def _by_length(values: Sequence[T], length: Callable[[T], int]) -> list[tuple[int, list[T]]]:
    return [(key, list(part)) for key, part in groupby(sorted(values, key=length), length)]


def _prefill(model: Any, rows: Sequence[Row], *, plain: bool) -> tuple[_Running, Tensor]:
    prompts = list(dict.fromkeys(row.prompt for row in rows))
    padded = not is_recurrent(make_cache(model.config, plain=plain))
    parts = [prompts] if padded else [part for _, part in _by_length(prompts, len)]
    read = [_read(model, part, make_cache(model.config, plain=plain)) for part in parts]
    order = [prompt for part in parts for prompt in part]
    running = attrs.evolve(read[0][0], rows=list(rows))
    if len(parts) > 1:
        running.cache = joined([one.cache for one, _ in read])
        running.positions_R = torch.cat([one.positions_R for one, _ in read])
        running.mask_RL = _left_mask(order, model.device) if attends(running.cache) else None
    chosen = torch.tensor([order.index(row.prompt) for row in rows], device=model.device)
    running.select(chosen)
    return running, torch.cat([logits for _, logits in read])[chosen]


def _read(model: Any, prompts: Sequence[tuple[int, ...]], cache: Any) -> tuple[_Running, Tensor]:
    """Run the model over some prompts, padded on the left to the longest."""
    mask_UL = _left_mask(prompts, model.device)
    longest = mask_UL.shape[1]
    ids_UL = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    positions_UL = (mask_UL.cumsum(dim=1) - 1).clamp_(min=0)
    running = _Running(
        rows=[],
        cache=cache,
        cache_name=_cache_name(model),
        own=OwnStates.of(model) if is_recurrent(cache) else OwnStates([]),
        mask_RL=None if is_recurrent(cache) else mask_UL,
        positions_R=positions_UL[:, -1],
    )
    running.own.forget()
    return running, _last_logits(model, running, ids_UL, positions_UL)


def _left_mask(prompts: Sequence[tuple[int, ...]], device: torch.device) -> Tensor:
    longest = max(map(len, prompts))
    rows = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(rows, device=device)


def _cache_name(model: Any) -> str:
    """Return what the model calls its cache; the Mamba family has a name of its own for it."""
    return "cache_params" if "cache_params" in inspect.signature(model.forward).parameters else "past_key_values"


def _advance(model: Any, running: _Running) -> Tensor:
    ids_R1 = torch.tensor([[row.tokens[-1]] for row in running.rows], device=running.positions_R.device)
    running.positions_R = running.positions_R + 1
    if running.mask_RL is not None:
        running.mask_RL = torch.cat([running.mask_RL, running.mask_RL.new_ones(len(running.rows), 1)], dim=1)
    return _last_logits(model, running, ids_R1, running.positions_R[:, None])


def _last_logits(model: Any, running: _Running, ids: Tensor, positions: Tensor) -> Tensor:
    output = model(
        input_ids=ids,
        attention_mask=running.mask_RL,
        position_ids=positions,
        use_cache=True,
        logits_to_keep=1,
        **{running.cache_name: running.cache},
    )
    logits: Tensor = output.logits[:, -1]
    return logits


def _extend(running: _Running, logits_RV: Tensor, sampling: Sampling, stop: StopRule) -> None:
    uniform_R = torch.tensor([row.uniform[len(row.tokens)] for row in running.rows], dtype=torch.float64)
    tokens_R, logprobs_R = choose(logits_RV, sampling, uniform_R)
    for row, token, logprob in zip(running.rows, tokens_R.tolist(), logprobs_R.tolist(), strict=True):
        if math.isnan(logprob):
            raise NonFiniteLogitsError(row.prompt_index, len(row.tokens))
        row.tokens.append(token)
        row.logprobs.append(logprob)
        row.stopped = stop.stops(row.tokens)
