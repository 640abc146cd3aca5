"""How the answers of several models become one: who counts for how much, which answers are the same, which one is chosen."""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Generic, Literal, TypeAlias, TypeVar

import attrs

from crucible.effects import Failure, Result, Success
from crucible.train.errors import BackendFailed

A = TypeVar("A")

Strategy: TypeAlias = Literal["majority", "weighted", "unanimous"]
Mode: TypeAlias = Literal["parallel", "sequential", "cascade"]
STRATEGIES: tuple[Strategy, ...] = ("majority", "weighted", "unanimous")
MODES: tuple[Mode, ...] = ("parallel", "sequential", "cascade")

_SHOWN = 40


def normalized(text: str) -> str:
    r"""Give a text without the differences that are none: case, and how much white space stands where.

    >>> normalized("  The\n answer is  Yes ") == normalized("the answer is yes")
    True
    """
    return " ".join(text.split()).casefold()


def _share(instance: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} is a share from 0 to 1, not {value}")


@attrs.frozen(kw_only=True)
class Voting:
    """How an ensemble decides.

    Args:
        strategy: `majority` takes the answer that most members give, `weighted` the one whose members weigh most, `unanimous`
            the one that all give. Of answers with as many votes the one of the member declared first is taken.
        mode: `parallel` asks all members at once, `sequential` one after another, `cascade` one after another until the others
            cannot change the outcome any more.
        weights: how much each member counts, by name; for `weighted`.
        min_agreement: the least share of the votes cast that the answer must have.
        quorum: the fewest members that must answer; more than half of them when None.
        same: answers that it makes equal are the same. Tool calls are the same when names and arguments are.
    """

    strategy: Strategy = attrs.field(default="majority", validator=attrs.validators.in_(STRATEGIES))
    mode: Mode = attrs.field(default="parallel", validator=attrs.validators.in_(MODES))
    weights: Mapping[str, float] = attrs.field(factory=dict)
    min_agreement: float = attrs.field(default=0.0, validator=_share)
    quorum: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))
    same: Callable[[str], str] = normalized

    def weights_of(self, members: Sequence[str]) -> dict[str, Fraction]:
        """Give the weight of each member, exactly as it was written: 0.1 and 0.2 are 0.3.

        >>> Voting(strategy="weighted", weights={"large": 0.75, "small": 0.25}).weights_of(["small", "large"])
        {'small': Fraction(1, 4), 'large': Fraction(3, 4)}

        Raises: ValueError for weights that are not those of the members, or not at least 0 and one of them above it.
        """
        if self.strategy != "weighted":
            if self.weights:
                raise ValueError(f"weights are for the strategy 'weighted', not for {self.strategy!r}")
            return dict.fromkeys(members, Fraction(1))
        if self.weights.keys() != set(members):
            raise ValueError(
                f"the weights are of {', '.join(self.weights) or 'nobody'}, the members are {', '.join(members)}"
            )
        if not all(weight >= 0 and math.isfinite(weight) for weight in self.weights.values()):
            raise ValueError(f"weights are finite and at least 0, these are {self._written_weights}")
        if not any(self.weights.values()):
            raise ValueError(f"one weight at least is above 0, these are {self._written_weights}")
        return {name: Fraction(str(float(self.weights[name]))) for name in members}

    @property
    def _written_weights(self) -> str:
        return ", ".join(f"{name} {weight:g}" for name, weight in self.weights.items())


def quorum_of(quorum: int | None, members: Sequence[str]) -> int:
    """Give the fewest members that must answer.

    Raises: ValueError when there are no members, or fewer than the quorum.
    """
    if not members:
        raise ValueError("an ensemble has at least one member")
    if quorum is not None and quorum > len(members):
        raise ValueError(f"a quorum of {quorum} is more than the {len(members)} members")
    return len(members) // 2 + 1 if quorum is None else quorum


@attrs.frozen(kw_only=True)
class _Group:
    """Members that gave the same answer, in declared order, and what they weigh together."""

    members: tuple[str, ...]
    weight: Fraction


@attrs.frozen(kw_only=True)
class Vote(Generic[A]):
    """The rule by which votes are counted; `ballot` writes an answer so that equal texts are the same answer."""

    weights: Mapping[str, Fraction]
    min_agreement: Fraction
    ballot: Callable[[A], str]

    @classmethod
    def of(cls, voting: Voting, members: Sequence[str], ballot: Callable[[A], str]) -> "Vote[A]":
        """Make the rule of `voting` among `members`.

        Raises: ValueError for weights that do not fit.
        """
        agreement = 1.0 if voting.strategy == "unanimous" else voting.min_agreement
        return cls(weights=voting.weights_of(members), min_agreement=Fraction(str(agreement)), ballot=ballot)

    def is_decided(self, answers: Mapping[str, A], waiting: Sequence[str]) -> bool:
        """Tell whether the outcome is the same whatever those who wait, all declared later, answer or fail to."""
        lead, *others = self._groups(answers)
        left = sum((self.weights[name] for name in waiting), Fraction(0))
        cast = sum((self.weights[name] for name in answers), Fraction(0))
        if lead.weight + left < self.min_agreement * (cast + left):
            return True  # it can only fail
        if lead.weight < self.min_agreement * (cast + left) or lead.weight < left:
            return False
        return all(self._beats(lead, attrs.evolve(other, weight=other.weight + left)) for other in others)

    def choose(self, answers: Mapping[str, A]) -> Result[str, BackendFailed]:
        """Name the first member of those whose answer is chosen."""
        groups = self._groups(answers)
        lead, cast = groups[0], sum(group.weight for group in groups)
        if lead.weight >= self.min_agreement * cast:
            return Success(lead.members[0])
        votes = "; ".join(
            f"{_shortened(self.ballot(answers[group.members[0]]))} from {', '.join(group.members)}" for group in groups
        )
        share, least = float(lead.weight / cast), float(self.min_agreement)
        message = f"the members do not agree: {votes}; the first has {share:.2f} of the votes, and {least:g} is needed"
        return Failure(BackendFailed(message=message))

    def _groups(self, answers: Mapping[str, A]) -> list[_Group]:
        """Group the answers, the one that wins first."""
        named: dict[str, list[str]] = {}
        for name in self.weights:
            if name in answers:
                named.setdefault(self.ballot(answers[name]), []).append(name)
        groups = [
            _Group(members=tuple(names), weight=sum((self.weights[name] for name in names), Fraction(0)))
            for names in named.values()
        ]
        return sorted(groups, key=lambda group: -group.weight)  # it is stable: the first declared wins a tie

    def _beats(self, one: _Group, other: _Group) -> bool:
        order = list(self.weights)
        one_first = order.index(one.members[0]) < order.index(other.members[0])
        return one.weight > other.weight or (one.weight == other.weight and one_first)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
