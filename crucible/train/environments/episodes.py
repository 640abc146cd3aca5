"""`Episode`: what happened so far in one environment, as a value that grows by a turn at a time."""

from typing import Generic, TypeVar

import attrs

from crucible.effects import Failure, Result, Success
from crucible.fields import AT_LEAST_1, checked
from crucible.train.environments.interface import EnvironmentFailed, State, StepResult
from crucible.train.finite import not_finite
from crucible.train.types import ModelInput, Sample
from crucible.train.types.trajectories import TokensWithLogprobs, Trajectory, Transition

R_co = TypeVar("R_co", covariant=True)


@attrs.frozen(kw_only=True, field_transformer=checked)
class RolloutLimits:
    """Where an episode is cut: after so many turns, or before a prompt of more tokens."""

    max_turns: int = attrs.field(default=32, metadata=AT_LEAST_1)
    max_prompt_tokens: int | None = attrs.field(default=None, metadata=AT_LEAST_1)

    def allow(self, state: State[object], turns: int) -> bool:
        """Tell whether another turn may be taken."""
        most = self.max_prompt_tokens
        return turns < self.max_turns and (most is None or len(state.observation.prompt) <= most)


@attrs.frozen(kw_only=True)
class Episode(Generic[R_co]):
    """An episode: its transitions so far, and the state it is in; None when it is over."""

    state: State[R_co] | None
    transitions: tuple[Transition, ...] = ()
    final: ModelInput = ModelInput(chunks=())

    @property
    def trajectory(self) -> Trajectory:
        """What happened so far."""
        return Trajectory(transitions=self.transitions, final_observation=self.final)

    def within(self, limits: RolloutLimits) -> "Result[Episode[R_co], EnvironmentFailed]":
        """Give the episode as it is, or cut where a limit is reached: its last transition gets the metric `truncated`.

        Fails: EnvironmentFailed when the first prompt is too long already.
        """
        if self.state is None or limits.allow(self.state, len(self.transitions)):
            return Success(self)
        prompt = self.state.observation.prompt
        if not self.transitions:
            message = f"the first prompt has {len(prompt)} tokens, at most {limits.max_prompt_tokens} are allowed"
            return Failure(EnvironmentFailed(message=message))
        *earlier, last = self.transitions
        cut = attrs.evolve(last, metrics={**last.metrics, "truncated": 1.0})
        return Success(Episode(state=None, transitions=(*earlier, cut), final=prompt))

    def after(
        self, prompt: ModelInput, drawn: Sample, result: StepResult[R_co]
    ) -> "Result[Episode[R_co], EnvironmentFailed]":
        """Give the episode after one more turn: what was seen, what was done, and what came of it.

        Fails: EnvironmentFailed when the reward, or what was measured, is NaN or infinite: nothing can be learned from it.
        """
        wrong = not_finite({"reward": result.reward, **result.metrics})
        if wrong is not None:
            return Failure(EnvironmentFailed(message=f"turn {len(self.transitions) + 1}: {wrong}"))
        transition = Transition(
            observation=prompt,
            action=TokensWithLogprobs(tokens=drawn.tokens, maybe_logprobs=drawn.logprobs),
            reward=result.reward,
            episode_done=result.next is None,
            metrics=result.metrics,
        )
        return Success(
            Episode(state=result.next, transitions=(*self.transitions, transition), final=result.final_observation)
        )
