"""Several turns: the state is what was said, and what was sampled stays as it was sampled."""

from itertools import pairwise
from typing import Never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Eff, Failure, Result, Success, fail, pure
from crucible.train.environments import (
    EnvironmentFailed,
    MessageEnv,
    Reply,
    RolloutLimits,
    Tool,
    ToolFailed,
    ToolTask,
    Turn,
    final_text,
    joined,
    next_prompt,
    pure_tool,
    read_arguments,
    tool_env,
)
from crucible.train.renderers import LayoutRenderer, Qwen3, RoleColon
from crucible.train.types import (
    EncodedTextChunk,
    ImageChunk,
    Message,
    ModelInput,
    ToolCall,
    ToolSpec,
    assistant_message,
    text_of,
)
from tests.train.environments.policies import (
    NOTHING,
    RENDERER,
    TOKENIZER,
    Policy,
    always,
    in_turn,
    lost,
    played,
    sample_of,
    shown,
)

WORD = "crucible"


def guess(conversation: tuple[Message, ...]) -> Eff[Reply, Never, Never]:
    """Answer a guess of a word, three times at most."""
    said = text_of(conversation[-1])
    if said == WORD:
        return pure(Reply(reward=1.0, done=True, metrics={"found": 1.0}))
    guesses = sum(message.role == "assistant" for message in conversation)
    hint = Message(role="user", content=f"No. Guess {guesses + 1}?")
    return pure(Reply(messages=(hint,), done=guesses == 3))


def guessing(malformed_reward: float | None = -1.0) -> MessageEnv[Never]:
    begin = (Message(role="user", content="Guess the word."),)
    return MessageEnv(messages=begin, renderer=RENDERER, respond=guess, malformed_reward=malformed_reward)


class TestAConversation:
    def test_goes_on_until_it_is_done(self) -> None:
        trajectory = played(guessing(), in_turn("kiln", "forge", WORD))
        assert [step.reward for step in trajectory.transitions] == [0.0, 0.0, 1.0]
        assert [step.episode_done for step in trajectory.transitions] == [False, False, True]
        assert trajectory.transitions[-1].metrics == {"format": 1.0, "found": 1.0}
        assert "forge<|im_end|>\n<|im_start|>user\nNo. Guess 3?" in shown(trajectory.transitions[-1].observation)

    @given(st.lists(st.text(max_size=6), min_size=3, max_size=3))
    def test_every_prompt_extends_the_one_before_by_what_was_sampled(self, guesses: list[str]) -> None:
        steps = played(guessing(malformed_reward=None), in_turn(*guesses)).transitions
        for earlier, later in pairwise(steps):
            so_far = earlier.observation.tokens + earlier.action.tokens
            assert later.observation.tokens[: len(so_far)] == so_far

    def test_the_same_actions_give_the_same_trajectory_and_states_can_be_stepped_from_twice(self) -> None:
        environment = guessing()
        assert played(environment, in_turn("a", WORD)) == played(environment, in_turn("a", WORD))
        state = NOTHING.run(environment.start()).unwrap()
        action = sample_of("kiln").tokens
        first = NOTHING.run(state.step(action)).unwrap()
        assert first == NOTHING.run(state.step(action)).unwrap()
        assert first.next != state

    def test_a_turn_that_was_cut_ends_it_with_the_malformed_reward(self) -> None:
        trajectory = played(guessing(malformed_reward=-2.0), always(WORD, ended=False))
        assert trajectory.total_reward == -2.0
        assert trajectory.transitions[0].metrics == {"format": 0.0}

    def test_a_turn_that_was_cut_may_be_let_pass(self) -> None:
        trajectory = played(guessing(malformed_reward=None), always("kiln", ended=False))
        assert len(trajectory.transitions) == 3
        assert "kiln<|im_end|>\n<|im_start|>user" in shown(trajectory.transitions[1].observation)

    def test_that_never_ends_is_cut(self) -> None:
        trajectory = played(guessing(), always("kiln"), RolloutLimits(max_turns=2))
        assert [step.metrics.get("truncated") for step in trajectory.transitions] == [None, 1.0]
        assert not trajectory.transitions[-1].episode_done
        assert len(trajectory.final_observation) > 0

    def test_that_grows_too_long_is_cut_and_one_that_begins_too_long_is_lost(self) -> None:
        size = len(played(guessing(), always(WORD)).transitions[0].observation)
        assert len(played(guessing(), always("kiln"), RolloutLimits(max_prompt_tokens=size)).transitions) == 1
        error = lost(guessing(), always("kiln"), RolloutLimits(max_prompt_tokens=size - 1))
        assert isinstance(error, EnvironmentFailed)
        assert str(size) in str(error)

    def test_whose_environment_fails_is_lost(self) -> None:
        broken = EnvironmentFailed(message="no words")
        begin = (Message(role="user", content="?"),)
        environment = MessageEnv(messages=begin, renderer=RENDERER, respond=lambda said: fail(broken))
        assert lost(environment, always("x")) == broken


class TestTheNextPrompt:
    BEFORE = (Message(role="user", content="2+2?"),)
    REPLIES = (Message(role="user", content="Sure?"),)

    def turn(self, text: str, read_as: str, *, ended: bool = True) -> Turn:
        prompt = RENDERER.generation_prompt(self.BEFORE).unwrap()
        tokens = sample_of(text, ended=ended).tokens
        return Turn(before=self.BEFORE, prompt=prompt, action=tokens, message=assistant_message(read_as))

    @pytest.mark.parametrize(("sampled", "read_as"), [("4", "4"), (" 4 \n", "4"), ("\N{SNOWMAN}", "?"), ("", "")])
    @pytest.mark.parametrize("ended", [True, False])
    def test_keeps_the_sampled_tokens_whatever_they_were_read_as(self, sampled: str, read_as: str, ended: bool) -> None:
        prompt = next_prompt(RENDERER, self.turn(sampled, read_as, ended=ended), self.REPLIES).unwrap()
        begun = shown(RENDERER.generation_prompt(self.BEFORE).unwrap())
        rest = "\n<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n"
        assert shown(prompt) == f"{begun}{sampled}<|im_end|>{rest}"

    def test_is_rendered_anew_where_history_is_rewritten(self) -> None:
        renderer = LayoutRenderer(TOKENIZER, Qwen3())
        assert not renderer.extends
        turn = self.turn("<think>\nhm\n</think>\n\n4", "4")
        assert "hm" not in shown(next_prompt(renderer, turn, self.REPLIES).unwrap())

    def test_is_rendered_anew_where_no_token_ends_a_turn(self) -> None:
        renderer = LayoutRenderer(TOKENIZER, RoleColon())
        prompt = next_prompt(renderer, self.turn(" x", "y"), self.REPLIES).unwrap()
        assert prompt == renderer.generation_prompt([*self.BEFORE, assistant_message("y"), *self.REPLIES]).unwrap()

    def test_keeps_images_where_they_are(self) -> None:
        image = ImageChunk(data=b"png", format="png", expected_tokens=3)
        first, second = ModelInput(chunks=(EncodedTextChunk(tokens=(1,)), image)), ModelInput.from_tokens([2, 3])
        assert joined(first, second, ModelInput.from_tokens([4])).chunks == (
            EncodedTextChunk(tokens=(1,)),
            image,
            EncodedTextChunk(tokens=(2, 3, 4)),
        )


def add(arguments: "dict[str, object]") -> Result[str, ToolFailed]:
    a, b = arguments.get("a"), arguments.get("b")
    if not isinstance(a, int) or not isinstance(b, int):
        return Failure(ToolFailed(message="a and b must be whole numbers"))
    return Success(str(a + b))


ADD: Tool[Never] = pure_tool(ToolSpec(name="add", description="Adds."), lambda arguments: add(dict(arguments)))


def call(arguments: str, name: str = "add") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def task(max_turns: int = 4) -> ToolTask[Never]:
    return ToolTask(
        messages=(Message(role="user", content="What is 20 + 22?"),),
        tools=(ADD,),
        score=lambda conversation: pure(float(final_text(conversation) == "42")),
        max_turns=max_turns,
    )


def with_tools(*texts: str, max_turns: int = 4) -> "list[tuple[float, dict[str, float], str]]":
    """Play the task; give the reward, the metrics and the prompt of each turn."""
    policy: Policy = in_turn(*texts)
    steps = played(tool_env(task(max_turns), RENDERER), policy).transitions
    return [(step.reward, dict(step.metrics), shown(step.observation)) for step in steps]


class TestTools:
    def test_are_shown_called_and_answered_until_there_is_an_answer(self) -> None:
        first, last = with_tools(call('{"a": 20, "b": 22}'), "42")
        assert first[:2] == (0.0, {"format": 1.0, "tool_calls": 1.0, "tool_errors": 0.0})
        assert '"name": "add"' in first[2]
        assert "<tool_response>\n42\n</tool_response>" in last[2]
        assert last[:2] == (1.0, {"format": 1.0, "correct": 1.0})

    def test_may_be_called_several_at_once(self) -> None:
        both = call('{"a": 1, "b": 2}') + "\n" + call('{"a": 3, "b": 4}')
        first, last = with_tools(both, "no idea")
        assert first[1]["tool_calls"] == 2.0
        assert last[2].index("<tool_response>\n3\n") < last[2].index("<tool_response>\n7\n")
        assert last[0] == 0.0

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            (call('{"a": "x"}'), "error: a and b must be whole numbers"),
            (call("{}", name="multiply"), "error: there is no tool 'multiply'; there are: add"),
        ],
    )
    def test_that_fail_tell_the_policy(self, said: str, told: str) -> None:
        first, last = with_tools(said, "42")
        assert first[1]["tool_errors"] == 1.0
        assert told in last[2]
        assert last[0] == 1.0

    def test_called_without_end_end_the_episode_without_a_reward(self) -> None:
        steps = with_tools(call('{"a": 1, "b": 1}'), call('{"a": 1, "b": 1}'), max_turns=2)
        assert [step[0] for step in steps] == [0.0, 0.0]
        assert steps[-1][1]["out_of_turns"] == 1.0

    def test_called_in_a_broken_form_end_the_episode_with_the_malformed_reward(self) -> None:
        ((reward, metrics, _),) = with_tools("<tool_call>\n{broken\n</tool_call>")
        assert (reward, metrics) == (-1.0, {"format": 0.0})

    def test_of_the_same_name_are_refused(self) -> None:
        with pytest.raises(ValueError, match="same name"):
            ToolTask(messages=(), tools=(ADD, ADD), score=lambda conversation: pure(0.0))

    @pytest.mark.parametrize("arguments", ["[1]", "1", "{broken", "nothing", "[" * 100_000])
    def test_are_told_of_arguments_that_are_no_object(self, arguments: str) -> None:
        error = read_arguments(ToolCall(name="add", arguments=arguments)).failure()
        assert str(error) == "the arguments of 'add' are no JSON object"

    def test_without_arguments_get_an_empty_object(self) -> None:
        assert read_arguments(ToolCall(name="add", arguments=" ")).unwrap() == {}
