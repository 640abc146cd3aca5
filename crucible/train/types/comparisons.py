"""Two answers to one prompt, and which is the better one."""

from typing import Literal, TypeAlias

import attrs

from crucible.train.types.messages import Message

ComparisonLabel: TypeAlias = Literal["A", "B", "Tie"]

_OTHER: dict[ComparisonLabel, ComparisonLabel] = {"A": "B", "B": "A", "Tie": "Tie"}


@attrs.frozen(kw_only=True)
class Comparison:
    """A prompt and two completions of it, each one or more messages."""

    prompt: tuple[Message, ...] = attrs.field(validator=attrs.validators.min_len(1))
    completion_a: tuple[Message, ...] = attrs.field(validator=attrs.validators.min_len(1))
    completion_b: tuple[Message, ...] = attrs.field(validator=attrs.validators.min_len(1))

    def swapped(self) -> "Comparison":
        """Give the same comparison with A and B in each other's place."""
        return attrs.evolve(self, completion_a=self.completion_b, completion_b=self.completion_a)


@attrs.frozen(kw_only=True)
class LabeledComparison:
    """A comparison that was judged: the better completion, or that neither is."""

    comparison: Comparison
    label: ComparisonLabel = attrs.field(validator=attrs.validators.in_(tuple(_OTHER)))

    @property
    def is_tie(self) -> bool:
        """Whether neither completion is the better one."""
        return self.label == "Tie"

    @property
    def chosen(self) -> tuple[Message, ...] | None:
        """The better completion; None for a tie."""
        if self.is_tie:
            return None
        return self.comparison.completion_a if self.label == "A" else self.comparison.completion_b

    @property
    def rejected(self) -> tuple[Message, ...] | None:
        """The worse completion; None for a tie."""
        if self.is_tie:
            return None
        return self.comparison.completion_b if self.label == "A" else self.comparison.completion_a

    def swapped(self) -> "LabeledComparison":
        """Give the same judgement of the swapped comparison."""
        return LabeledComparison(comparison=self.comparison.swapped(), label=_OTHER[self.label])
