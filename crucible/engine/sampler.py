"""The sampler: a frozen policy that generates and scores. One sampler belongs to one thread at a time.

Each sample is a function of (seed, prompt index, sample index): its random draws do not depend on which rows share its
batch. The logits may differ in their last bits with the batch, as matrix products do, so a draw that falls exactly
between two tokens can still go either way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from crucible.engine.attention import use_packed_attention
from crucible.engine.batch import Limits, check_examples, split
from crucible.engine.errors import (
    EmptyBatchError,
    InvalidExampleError,
    NonFiniteLogitsError,
    SamplingError,
    SequenceTooLongError,
)
from crucible.engine.loading import LoadedModel
from crucible.engine.lora import AdapterWeights, adapted, share_tree
from crucible.engine.losses import CROSS_ENTROPY
from crucible.engine.passes import Setting, no_loss, run_pass
from crucible.engine.scoring import row_top_logprobs
from crucible.engine.stopping import stop_rule
from crucible.engine.trial import can_pack, require_decoding
from crucible.engine.values import Example, Sampled, Sampling


class Sampler:
    """Samples from the base model, or from it with an adapter.

    An adapter of a float32 model is merged into a copy of the weights that it changes, which makes decoding 2.4 times faster
    than running it beside them; a bfloat16 model runs it beside them, because merging would round it away (see
    `one_product`). The trainer's model is not touched.

    Args:
        loaded: the frozen base.
        weights: an adapter (`Trainer.snapshot`, `read_adapter`); None is the base model.
        max_rows: samples decoded at once, which bounds the memory of the key-value cache.
        micro_batch_tokens: tokens in one forward pass of `logprobs` and `top_logprobs`.

    Raises:
        CheckpointMismatchError: the adapter does not fit the base.
        UnsupportedModelError: the model can be trained and not sampled; see `trial`.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        weights: AdapterWeights | None = None,
        *,
        max_rows: int = 64,
        micro_batch_tokens: int = 1024,
    ) -> None:
        model: Any = loaded.model  # Any: transformers models have no useful static type
        self._loaded, self._max_rows = loaded, max_rows
        self._model: Any = adapted(model, weights, base=loaded.fingerprint) if weights else share_tree(model)
        self._plain = can_pack(self._model)
        require_decoding(self._model, plain=self._plain)
        scoring: nn.Module = share_tree(self._model)
        if self._plain:
            use_packed_attention(scoring)
        limits = Limits(
            max_length=loaded.max_length,
            vocab_size=loaded.vocab_size,
            micro_batch_tokens=micro_batch_tokens,
            packable=self._plain,
        )
        self._setting = Setting(model=scoring, limits=limits, device=self._model.device, autocast=False)

    def sample(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, *, num_samples: int = 1
    ) -> list[list[Sampled]]:
        """Generate `num_samples` continuations of each prompt; the outer list is in prompt order.

        Equal prompts share one prefill. A prompt must leave room for at least one token in the context.

        Raises:
            EmptyBatchError, InvalidExampleError, SequenceTooLongError: the prompts. SamplingError: num_samples.
            NonFiniteLogitsError: what the model gives is no distribution; names the prompt and the step.
        """
        from crucible.engine.decoding import decode, new_row

        if num_samples < 1:
            raise SamplingError(f"num_samples must be at least 1, got {num_samples}")
        limit = self._loaded.max_length
        checked = self._checked(prompts, limit - 1)
        rows = [
            [new_row(prompt, sampling, prompt_index=p, sample_index=s, limit=limit) for s in range(num_samples)]
            for p, prompt in enumerate(checked)
        ]
        stop = stop_rule(sampling, self._loaded.tokenizer, self._loaded.eos_ids)
        queue = sorted((row for group in rows for row in group), key=lambda row: (len(row.prompt), row.prompt))
        for start in range(0, len(queue), self._max_rows):
            decode(self._model, queue[start : start + self._max_rows], sampling, stop, plain=self._plain)
        return [[row.result for row in group] for group in rows]

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[list[float | None]]:
        """Return the natural log-probability of each token given those before it; the first of each is None.

        A token that cannot be has minus infinity; none ever has NaN.

        Raises:
            EmptyBatchError, InvalidExampleError, SequenceTooLongError; NonFiniteLogitsError, which names the sequence.
        """
        tokens = self._checked(sequences, self._loaded.max_length)
        longer = [one for one in tokens if len(one) > 1]
        scored: list[tuple[float, ...]] = []
        if longer:
            examples = [_as_example(one) for one in longer]
            checked = check_examples(examples, CROSS_ENTROPY, self._setting.limits, "all")
            with torch.inference_mode():
                scored = list(run_pass(self._setting, checked, no_loss, backward=False).logprobs)
        found = iter(scored)
        for index, row in zip((i for i, one in enumerate(tokens) if len(one) > 1), scored, strict=True):
            if any(map(math.isnan, row)):
                raise NonFiniteLogitsError(index)
        return [[None, *(next(found) if len(one) > 1 else ())] for one in tokens]

    def top_logprobs(self, sequences: Sequence[Sequence[int]], num_top: int) -> list[list[list[tuple[int, float]]]]:
        """Return the likeliest tokens in the place of each token given those before it, likeliest first; none for the first.

        There are `num_top` of them with their log-probabilities, or all that the model knows. The logits of one micro-batch
        are held at a time.

        Raises:
            EmptyBatchError, InvalidExampleError, SequenceTooLongError: the sequences. SamplingError: num_top.
            NonFiniteLogitsError: names the sequence.
        """
        if num_top < 1:
            raise SamplingError(f"num_top must be at least 1, got {num_top}")
        tokens = self._checked(sequences, self._loaded.max_length)
        found: list[list[list[tuple[int, float]]]] = [[[] for _ in one] for one in tokens]
        longer = [index for index, one in enumerate(tokens) if len(one) > 1]
        if not longer:
            return found
        examples = [_as_example(tokens[index]) for index in longer]
        limits, device = self._setting.limits, self._setting.device
        with torch.inference_mode():
            for batch in split(check_examples(examples, CROSS_ENTROPY, limits, "all"), limits, device):
                ids_TK, logprobs_TK = row_top_logprobs(self._setting.model, batch.row, batch.places_T, num_top)
                rows = zip(ids_TK.tolist(), logprobs_TK.tolist(), strict=True)
                if bool(logprobs_TK.isnan().any()):
                    bad = int(batch.owner_T[logprobs_TK.isnan().any(dim=1)][0])
                    raise NonFiniteLogitsError(longer[batch.members[bad]])
                for member in batch.members:
                    index = longer[member]
                    for place in range(1, len(tokens[index])):
                        found[index][place] = list(zip(*next(rows), strict=True))
        return found

    def _checked(self, sequences: Sequence[Sequence[int]], limit: int) -> list[tuple[int, ...]]:
        if not sequences:
            raise EmptyBatchError("no sequence was given")
        checked = [tuple(map(int, sequence)) for sequence in sequences]
        for index, sequence in enumerate(checked):
            if not sequence:
                raise InvalidExampleError(index, "has no tokens")
            if len(sequence) > limit:
                raise SequenceTooLongError(index, len(sequence), limit)
            if min(sequence) < 0 or max(sequence) >= self._loaded.vocab_size:
                raise InvalidExampleError(index, f"has an id outside the vocabulary of {self._loaded.vocab_size}")
        return checked


def _as_example(sequence: tuple[int, ...]) -> Example:
    ones = [1.0] * (len(sequence) - 1)
    return Example(tokens=sequence[:-1], loss_inputs={"target_tokens": sequence[1:], "weights": ones})
