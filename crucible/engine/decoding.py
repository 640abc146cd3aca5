"""Batched decoding: prompts padded on the left, one prefill for equal prompts, finished rows leave the batch.

Letters: R rows still running, U distinct prompts, L length of the longest prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crucible.engine.choosing import choose, uniforms
from crucible.engine.kv_cache import make_cache
from crucible.engine.stopping import StopRule
from crucible.engine.values import Sampled, Sampling


@attrs.define(kw_only=True, eq=False)
class Row:
    """One sample in progress.

    Args:
        prompt: ids.
        uniform: one draw for each token it may generate; its length is the most tokens it may have.
    """

    prompt: tuple[int, ...]
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
    """The rows in flight with the model's state for them."""

    rows: list[Row]
    cache: Any  # Any: a transformers cache
    mask_RL: Tensor
    positions_R: Tensor

    def keep_unfinished(self) -> None:
        kept = [index for index, row in enumerate(self.rows) if not row.finished]
        if len(kept) == len(self.rows):
            return
        self.rows = [self.rows[index] for index in kept]
        if kept:
            self.select(torch.tensor(kept, device=self.mask_RL.device))

    def select(self, indices: Tensor) -> None:
        self.cache.batch_select_indices(indices)
        self.mask_RL, self.positions_R = self.mask_RL[indices], self.positions_R[indices]


def new_row(prompt: tuple[int, ...], sampling: Sampling, *, prompt_index: int, sample_index: int, limit: int) -> Row:
    """Start a sample; `limit` is the context limit, which generation does not pass."""
    count = min(sampling.max_tokens, limit - len(prompt))
    return Row(prompt=prompt, uniform=uniforms(sampling.seed, prompt_index, sample_index, count))


@torch.inference_mode()
def decode(model: Any, rows: Sequence[Row], sampling: Sampling, stop: StopRule, *, plain: bool) -> None:
    """Fill `rows` in place until each is finished.

    Args:
        model: a transformers causal language model. Any: it has no useful static type.
        plain: every layer is full attention.
    """
    running, logits_RV = _prefill(model, rows, plain=plain)
    while True:
        _extend(running, logits_RV, sampling, stop)
        running.keep_unfinished()
        if not running.rows:
            return
        logits_RV = _advance(model, running)


def _prefill(model: Any, rows: Sequence[Row], *, plain: bool) -> tuple[_Running, Tensor]:
    prompts = list(dict.fromkeys(row.prompt for row in rows))
    longest = max(map(len, prompts))
    ids_UL = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask_UL = torch.zeros(len(prompts), longest, dtype=torch.long)
    for index, prompt in enumerate(prompts):
        ids_UL[index, longest - len(prompt) :] = torch.tensor(prompt)
        mask_UL[index, longest - len(prompt) :] = 1
    ids_UL, mask_UL = ids_UL.to(model.device), mask_UL.to(model.device)
    positions_UL = (mask_UL.cumsum(dim=1) - 1).clamp_(min=0)
    running = _Running(
        rows=list(rows),
        cache=make_cache(model.config, plain=plain),
        mask_RL=mask_UL,
        positions_R=positions_UL[:, -1],
    )
    logits_UV = _last_logits(model, running, ids_UL, positions_UL)
    chosen = torch.tensor([prompts.index(row.prompt) for row in rows], device=model.device)
    running.select(chosen)
    return running, logits_UV[chosen]


def _advance(model: Any, running: _Running) -> Tensor:
    ids_R1 = torch.tensor([[row.tokens[-1]] for row in running.rows], device=running.mask_RL.device)
    running.positions_R = running.positions_R + 1
    running.mask_RL = torch.cat([running.mask_RL, running.mask_RL.new_ones(len(running.rows), 1)], dim=1)
    return _last_logits(model, running, ids_R1, running.positions_R[:, None])


def _last_logits(model: Any, running: _Running, ids: Tensor, positions: Tensor) -> Tensor:
    output = model(
        input_ids=ids,
        attention_mask=running.mask_RL,
        position_ids=positions,
        past_key_values=running.cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: Tensor = output.logits[:, -1]
    return logits


def _extend(running: _Running, logits_RV: Tensor, sampling: Sampling, stop: StopRule) -> None:
    uniform_R = torch.tensor([row.uniform[len(row.tokens)] for row in running.rows], dtype=torch.float64)
    tokens_R, logprobs_R = choose(logits_RV, sampling, uniform_R)
    for row, token, logprob in zip(running.rows, tokens_R.tolist(), logprobs_R.tolist(), strict=True):
        row.tokens.append(token)
        row.logprobs.append(logprob)
        row.stopped = stop.stops(row.tokens)
