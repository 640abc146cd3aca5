"""`ProblemEnv`: one question, one answer."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import attrs

from crucible.effects import Do, Eff, Result, do, from_result
from crucible.train.environments.interface import EnvironmentFailed, Observation, State, StepResult, StopCondition
from crucible.train.renderers import ParsedResponse, Renderer
from crucible.train.types import Message, TokenId, ToolSpec, text_of

R_co = TypeVar("R_co", covariant=True)


def any_text(text: str) -> bool:
    """Accept every form."""
    return True


@attrs.frozen(kw_only=True)
class ProblemEnv(Generic[R_co]):
    """A question whose answer is scored. The reward is `format_coef * (format_ok - 1) + score`.

    So a right answer in the right form earns 1, and a wrong form costs `format_coef` whether the answer is right or not. The
    form is right when the model ended its turn, the renderer could read it, and `check_format` accepts its text.

    Args:
        messages: the conversation up to the question.
        renderer: of the policy's model family.
        score: how right a text is, from 0.0 to 1.0.
        check_format: whether a text has the form that was asked for.
        format_coef: what a wrong form costs.
    """

    messages: tuple[Message, ...]
    renderer: Renderer
    score: Callable[[str], Eff[float, EnvironmentFailed, R_co]]
    check_format: Callable[[str], bool] = any_text
    format_coef: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))

    def start(self) -> Eff[State[R_co], EnvironmentFailed, R_co]:
        """Ask the question."""
        return from_result(observe(self.renderer, self.messages)).map(
            lambda seen: _Asked(problem=self, observation=seen)
        )


@attrs.frozen(kw_only=True)
class _Asked(Generic[R_co]):
    """The question was asked."""

    problem: ProblemEnv[R_co]
    observation: Observation

    def step(self, action: tuple[TokenId, ...], /) -> Eff[StepResult[R_co], EnvironmentFailed, R_co]:
        return _judged(self.problem, action)


@do
def _judged(problem: ProblemEnv[R_co], action: tuple[TokenId, ...]) -> Do[EnvironmentFailed, R_co, StepResult[R_co]]:
    parsed = problem.renderer.parse_response(action)
    text = text_of(parsed.message)
    format_ok = float(is_well_formed(parsed) and problem.check_format(text))
    correct = yield from problem.score(text)
    reward = problem.format_coef * (format_ok - 1.0) + correct
    return StepResult(reward=reward, metrics={"format": format_ok, "correct": correct})


def is_well_formed(parsed: ParsedResponse) -> bool:
    """Tell whether a model ended its turn, and kept to the form of its family."""
    return parsed.ended and parsed.problem is None


def observe(
    renderer: Renderer, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()
) -> Result[Observation, EnvironmentFailed]:
    """Give what the policy sees of a conversation whose next turn is its own."""
    return (
        renderer.generation_prompt(messages, tools=tools)
        .map(lambda prompt: Observation(prompt=prompt, stop=StopCondition.of(renderer)))
        .alt(lambda error: EnvironmentFailed(message=unrenderable(renderer, tools), cause=error))
    )


def unrenderable(renderer: Renderer, tools: Sequence[ToolSpec]) -> str:
    """Say which renderer cannot write a conversation, and what to do where it is for the tools."""
    name = type(renderer).__name__
    if not tools:
        return f"{name} cannot render the conversation"
    names = ", ".join(tool.name for tool in tools)
    fix = "make the environment with the renderer of the model's family, as in renderer_for(model, tokenizer)"
    return f"{name} cannot render a conversation with tools ({names}); {fix}"
