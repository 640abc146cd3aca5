"""`MessageEnv`: several turns, each answered with messages."""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import attrs

from crucible.effects import Do, Eff, do, from_result
from crucible.train.environments.continuation import Turn, next_prompt
from crucible.train.environments.interface import (
    EnvironmentFailed,
    Observation,
    State,
    StepResult,
    StopCondition,
    environment_failure,
)
from crucible.train.environments.problems import is_well_formed, observe, unrenderable
from crucible.train.renderers import Renderer
from crucible.train.types import Message, TokenId, ToolSpec

R_co = TypeVar("R_co", covariant=True)


@attrs.frozen(kw_only=True)
class Reply:
    """What an environment says to an assistant's message: more messages, a reward, and whether that was the end."""

    messages: tuple[Message, ...] = ()
    reward: float = 0.0
    done: bool = False
    metrics: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class MessageEnv(Generic[R_co]):
    """A conversation. All its state is what was said, so `respond` is a function of that.

    A turn that cannot be read, or was cut off, ends the episode with `malformed_reward`, unless that is None: then `respond`
    is shown what could be read of it.

    Args:
        messages: how the conversation begins.
        renderer: of the policy's model family.
        respond: what is said to a conversation whose last message is the policy's.
        tools: what the policy may call.
        malformed_reward: of a turn in the wrong form.
    """

    messages: tuple[Message, ...]
    renderer: Renderer
    respond: Callable[[tuple[Message, ...]], Eff[Reply, EnvironmentFailed, R_co]]
    tools: tuple[ToolSpec, ...] = ()
    malformed_reward: float | None = -1.0

    def start(self) -> Eff[State[R_co], EnvironmentFailed, R_co]:
        """Begin the conversation."""
        return from_result(observe(self.renderer, self.messages, tools=self.tools)).map(
            lambda seen: Conversation(environment=self, messages=self.messages, observation=seen)
        )


@attrs.frozen(kw_only=True)
class Conversation(Generic[R_co]):
    """A conversation so far, whose next turn is the policy's."""

    environment: MessageEnv[R_co]
    messages: tuple[Message, ...]
    observation: Observation

    def step(self, action: tuple[TokenId, ...], /) -> Eff[StepResult[R_co], EnvironmentFailed, R_co]:
        """Read the policy's turn and respond to it."""
        return _answered(self, action)


@do
def _answered(state: Conversation[R_co], action: tuple[TokenId, ...]) -> Do[EnvironmentFailed, R_co, StepResult[R_co]]:
    environment = state.environment
    parsed = environment.renderer.parse_response(action)
    well_formed = is_well_formed(parsed)
    if not well_formed and environment.malformed_reward is not None:
        return StepResult(reward=environment.malformed_reward, metrics={"format": 0.0})
    said = (*state.messages, parsed.message)
    reply = yield from environment.respond(said)
    metrics = {"format": float(well_formed), **reply.metrics}
    if reply.done:
        return StepResult(reward=reply.reward, metrics=metrics)
    turn = Turn(before=state.messages, prompt=state.observation.prompt, action=action, message=parsed.message)
    prompt = yield from from_result(
        next_prompt(environment.renderer, turn, reply.messages, tools=environment.tools).alt(
            environment_failure(unrenderable(environment.renderer, environment.tools))
        )
    )
    observation = Observation(prompt=prompt, stop=StopCondition.of(environment.renderer))
    after = Conversation(environment=environment, messages=(*said, *reply.messages), observation=observation)
    return StepResult(reward=reply.reward, next=after, metrics=metrics)
