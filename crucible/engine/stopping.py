"""When a sample is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from crucible.engine.values import Sampling


@attrs.frozen(kw_only=True, eq=False)
class StopRule:
    """Ends a sample at a token id or at a text.

    Args:
        ids: token ids that end it.
        strings: texts that end it, looked for in the decoded tail.
        tokenizer: decodes the tail. Any: transformers tokenizers have no useful static type.
        tail_tokens: how many last tokens can hold the end of a text.
    """

    ids: frozenset[int]
    strings: tuple[str, ...]
    tokenizer: Any
    tail_tokens: int

    def stops(self, tokens: Sequence[int]) -> bool:
        """Whether the last of the generated `tokens` ends the sample."""
        if tokens[-1] in self.ids:
            return True
        if not self.strings:
            return False
        tail = self.tokenizer.decode(list(tokens[-self.tail_tokens :]), skip_special_tokens=False)
        return any(string in tail for string in self.strings)


def stop_rule(sampling: Sampling, tokenizer: Any, eos_ids: tuple[int, ...]) -> StopRule:
    """Make the rule of one call of `Sampler.sample`."""
    ids = frozenset(sampling.stop) | (frozenset(eos_ids) if sampling.stop_on_eos else frozenset())
    longest = max((len(string.encode()) for string in sampling.stop_strings), default=0)
    # A token that carries text carries at least one byte; some slack for tokens that decode to nothing.
    return StopRule(ids=ids, strings=sampling.stop_strings, tokenizer=tokenizer, tail_tokens=longest + 8)
