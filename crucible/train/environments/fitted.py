"""Environments whose first prompt is no longer than a limit."""

from typing import Generic, TypeVar

import attrs

from crucible.effects import Eff, Failure, fail, pure
from crucible.train.environments.interface import Environment, EnvironmentFailed, Observation, State, StepResult
from crucible.train.errors import InvalidRequest
from crucible.train.questions import PromptRules, fitted
from crucible.train.types import TokenId

R_co = TypeVar("R_co", covariant=True)


@attrs.frozen(kw_only=True)
class PromptTooLong(EnvironmentFailed):
    """The first prompt of a row is longer than allowed and may not be cut: the row is wrong, not the environment."""

    error: InvalidRequest


@attrs.frozen(kw_only=True)
class FittedState(Generic[R_co]):
    """A state whose prompt was cut; what follows it is as it would have been."""

    state: State[R_co]
    observation: Observation

    def step(self, action: tuple[TokenId, ...], /) -> Eff[StepResult[R_co], EnvironmentFailed, R_co]:
        """Act in the state as it is."""
        return self.state.step(action)


@attrs.frozen(kw_only=True)
class FittedEnvironment(Generic[R_co]):
    """The environment of a row, whose first prompt is an error or is cut where it is longer than the rules allow.

    Later prompts are left to `RolloutLimits`: a conversation that grows too long is an episode that ends there.
    """

    environment: Environment[R_co]
    rules: PromptRules
    index: int

    def start(self) -> Eff[State[R_co], EnvironmentFailed, R_co]:
        """Give the first state.

        Fails: as the environment does; PromptTooLong with the error that names the row.
        """
        return self.environment.start().bind(self._fitted)

    def _fitted(self, state: State[R_co]) -> Eff[State[R_co], EnvironmentFailed, R_co]:
        seen = state.observation
        prompt = fitted(seen.prompt, self.rules, index=self.index)
        if isinstance(prompt, Failure):
            error = prompt.failure()
            return fail(PromptTooLong(message=error.message, error=error))
        if prompt.unwrap() is seen.prompt:
            return pure(state)
        return pure(FittedState(state=state, observation=attrs.evolve(seen, prompt=prompt.unwrap())))
