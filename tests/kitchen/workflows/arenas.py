"""Environments that a bigram model can learn, as pure values, and reinforcement runs on them that take milliseconds."""

from collections.abc import Callable, Sequence
from typing import Any, Never, TypeAlias

import attrs

from crucible.effects import Call, Do, Eff, Handlers, Proceed, Result, Success, do, fail, from_result, pure
from crucible.kitchen import Context
from crucible.kitchen.environments import RowRules, row_environment
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers.noop import EveryPort, Shelf
from crucible.kitchen.ports import Evaluator
from crucible.kitchen.stages.reinforcement import ReinforcementConfig, ReinforcementState
from crucible.kitchen.workflows.reinforcement import Workflow
from crucible.train.environments import (
    EnvironmentFailed,
    MessageEnv,
    ProblemEnv,
    Reply,
    Tool,
    ToolTask,
    pure_tool,
    tool_env,
)
from crucible.train.errors import TrainError
from crucible.train.renderers import LayoutRenderer, Qwen3, Renderer
from crucible.train.types import (
    AdamParams,
    ByteTokenizer,
    DatasetConfig,
    Message,
    Row,
    Sample,
    SessionConfig,
    ToolSpec,
    text_of,
)
from tests.kitchen.workflows.runs import Ran, on_nothing, ran

Played: TypeAlias = Ran[Context[ReinforcementState], TrainError | KitchenError]
Score: TypeAlias = Callable[[str], Eff[float, EnvironmentFailed, Never]]

TOKENIZER = ByteTokenizer()
BASE = ReinforcementConfig(
    session=SessionConfig(model="noop"),
    dataset=DatasetConfig(name="riddles"),
    learning_rate=1e-3,
    batch_size=2,
    group_size=3,
    max_tokens=4,
)


def riddle(number: int) -> Row:
    """Make a problem."""
    return {"prompt": f"{number}?", "completion": f"{number}!"}


RIDDLES = tuple(map(riddle, range(5)))
LEARNING = attrs.evolve(
    BASE, epochs=8, batch_size=5, group_size=12, max_tokens=1, schedule="constant", adam=AdamParams()
)


def asked(row: Row) -> tuple[Message, ...]:
    """Ask what the row asks."""
    return (Message(role="user", content=str(row["prompt"])),)


def share_of_letters(text: str) -> Eff[float, Never, Never]:
    """Score how much of a text is small letters."""
    return pure(sum(letter.islower() for letter in text) / max(len(text), 1))


def scored_by(score: Score) -> Callable[[Row, Renderer], Eff[ProblemEnv[Never], Never, Never]]:
    """Make the environments whose answers a function scores."""

    def environment_of(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Never], Never, Never]:
        return pure(ProblemEnv(messages=asked(row), renderer=renderer, score=score, format_coef=0.0))

    return environment_of


def silence(text: str) -> Eff[float, Never, Never]:
    """Score whether nothing was said: a bigram model that answers with one token learns it in a few steps."""
    return pure(float(not text))


letters = scored_by(share_of_letters)
silent = scored_by(silence)


def constant(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Never], Never, Never]:
    """Make an environment in which every answer is worth the same: nothing can be learned."""
    return pure(ProblemEnv(messages=asked(row), renderer=renderer, score=lambda text: pure(1.0), format_coef=0.0))


def constant_for(*numbers: int) -> Callable[[Row, Renderer], Eff[ProblemEnv[Never], Never, Never]]:
    """Make environments that teach nothing of these riddles, and letters of all others."""
    dull = {f"{number}?" for number in numbers}
    return lambda row, renderer: (constant if row["prompt"] in dull else letters)(row, renderer)


def broken_for(*numbers: int) -> Callable[[Row, Renderer], Eff[ProblemEnv[Never], Never, Never]]:
    """Make environments of which those of these riddles fail with a value."""
    bad = {f"{number}?" for number in numbers}

    def environment_of(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Never], Never, Never]:
        problem = ProblemEnv(messages=asked(row), renderer=renderer, score=share_of_letters, format_coef=0.0)
        score: Score = lambda text: fail(EnvironmentFailed(message="no grader"))  # noqa: E731  # one line, one use
        return pure(attrs.evolve(problem, score=score) if row["prompt"] in bad else problem)

    return environment_of


def raising(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Never], Never, Never]:
    """Make an environment whose grader has a bug."""

    def score(text: str) -> Eff[float, EnvironmentFailed, Never]:
        raise ZeroDivisionError("a bug in the grader")

    return pure(ProblemEnv(messages=asked(row), renderer=renderer, score=score))


def chatting(row: Row, renderer: Renderer, /) -> Eff[MessageEnv[Never], Never, Never]:
    """Make a conversation of three turns, each scored by its silence."""

    @do
    def respond(conversation: tuple[Message, ...]) -> Do[EnvironmentFailed, Never, Reply]:
        reward = yield from silence(text_of(conversation[-1]))
        turns = sum(message.role == "assistant" for message in conversation)
        more = Message(role="user", content="and?")
        return Reply(messages=(more,), reward=reward, done=turns == 3, metrics={"turn": float(turns)})

    return pure(MessageEnv(messages=asked(row), renderer=renderer, respond=respond, malformed_reward=None))


def judged(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Evaluator], TrainError, Evaluator]:
    """Make the environment whose answers the Evaluator judges."""
    return from_result(row_environment(row, renderer, RowRules(dataset="riddles")))


ADD = ToolSpec(name="add", description="Adds.", parameters={"type": "object", "properties": {}})
ADDER: Tool[Never] = pure_tool(ADD, lambda arguments: Success(str(sum(map(int, _numbers(arguments))))))


def _numbers(arguments: Any) -> Sequence[int]:
    return list(arguments["of"])


def adding(row: Row, renderer: Renderer, /) -> Eff[MessageEnv[Never], Never, Never]:
    """Make a task whose answer a tool knows."""

    def score(conversation: tuple[Message, ...]) -> Eff[float, Never, Never]:
        return pure(float("5" in text_of(conversation[-1])))

    task = ToolTask(messages=asked(row), tools=(ADDER,), score=score)
    return pure(tool_env(task, LayoutRenderer(TOKENIZER, Qwen3(thinking="never"))))


def handlers_of(rows: Sequence[Row] = RIDDLES, *, shelf: Shelf | None = None) -> Handlers[EveryPort]:
    """Handle every port on nothing, with these problems."""
    return on_nothing(rows, RIDDLES[:2], shelf=shelf)


def played(
    workflow: Workflow[Any], config: ReinforcementConfig = BASE, handlers: Handlers[EveryPort] | None = None
) -> Played:
    """Run a workflow."""
    return ran(handlers or handlers_of(), workflow(Context.start(config, run_id="evening")))


async def says_in_turn(call: Call, proceed: Proceed) -> Result[object, object]:
    """Let every sampled answer be a call of the tool, then what it said."""
    prompts, num_samples = call.arguments[1], call.keywords.get("num_samples", 1)
    assert isinstance(prompts, tuple | list)
    assert isinstance(num_samples, int)
    return Success(tuple((_said(prompt.tokens),) * num_samples for prompt in prompts))


def _said(tokens: tuple[int, ...]) -> Sample:
    called = TOKENIZER.decode(tokens).count("<tool_response>") > 0
    text = "It is 5." if called else '<tool_call>\n{"name": "add", "arguments": {"of": [2, 3]}}\n</tool_call>'
    action = TOKENIZER.encode(text + TOKENIZER.END)
    return Sample(tokens=action, logprobs=(-0.5,) * len(action), stop_reason="stop")
