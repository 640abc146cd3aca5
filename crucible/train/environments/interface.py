"""`Environment`: what a policy acts in, as a value.

An environment has no hidden state. `start` gives its first `State`, a frozen value; a step of that gives the next one and
changes nothing. So the same actions lead to the same observations and rewards, a state can be stepped from twice, and one
value serves all trajectories of a group.
"""

from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

import attrs

from crucible.effects import Eff
from crucible.train.renderers import Renderer
from crucible.train.types import ModelInput, TokenId

E = TypeVar("E")
R_co = TypeVar("R_co", covariant=True)


@attrs.frozen(kw_only=True)
class EnvironmentFailed:
    """An environment, or what it asks (a grader, a tool, a judge), did not work. It says nothing about the policy.

    `cause` is the error of whatever was asked, where something was.
    """

    message: str
    cause: object = None

    def __str__(self) -> str:
        return self.message if self.cause is None else f"{self.message}: {self.cause}"


def environment_failure(message: str) -> Callable[[object], EnvironmentFailed]:
    """Make the function that turns an error into the failure of an environment: `grade(...).alt(environment_failure("..."))`.

    >>> str(environment_failure("the grader failed")("no memory"))
    'the grader failed: no memory'
    """
    return lambda cause: EnvironmentFailed(message=message, cause=cause)


@attrs.frozen(kw_only=True)
class StopCondition:
    """What ends an action: tokens that do, and texts that do."""

    tokens: tuple[TokenId, ...] = ()
    texts: tuple[str, ...] = ()

    @classmethod
    def of(cls, renderer: Renderer) -> "StopCondition":
        """Give what ends a turn of this renderer's model family."""
        return cls(tokens=renderer.stop_tokens, texts=renderer.stop_strings)


@attrs.frozen(kw_only=True)
class Observation:
    """What the policy sees, and where its answer ends."""

    prompt: ModelInput
    stop: StopCondition = StopCondition()


class State(Protocol[R_co]):
    """An environment at one moment, as a frozen value."""

    @property
    def observation(self) -> Observation:
        """What the policy sees now."""

    def step(self, action: tuple[TokenId, ...], /) -> "Eff[StepResult[R_co], EnvironmentFailed, R_co]":
        """Act with the tokens that were sampled, a stop token included. This state stays as it is."""


@attrs.frozen(kw_only=True)
class StepResult(Generic[R_co]):
    """What an action led to: a reward, what was measured, and the next state, None when the episode is over."""

    reward: float
    next: State[R_co] | None = None
    metrics: Mapping[str, float] = attrs.field(factory=dict)
    final_observation: ModelInput = ModelInput(chunks=())


class Environment(Protocol[R_co]):
    """A problem to act in, as a frozen value: it may be started any number of times."""

    def start(self) -> Eff[State[R_co], EnvironmentFailed, R_co]:
        """Give the first state."""
