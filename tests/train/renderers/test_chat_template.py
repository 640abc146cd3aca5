"""The renderer writes the tokens that transformers writes, and marks exactly what is trained on."""

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crucible.effects import Failure
from crucible.train.renderers import ChatTemplateRenderer, RenderedExample, TrainOnWhat
from crucible.train.types import ByteTokenizer, Message, Tokenizer, text_of
from tests.train.renderers.chatml import CHATML, END, as_value, trained
from tests.train.renderers.conversations import as_dicts, contents, conversations, plain, quotes_nothing

# Where the choice is a whole answer, or everything: no run ends inside of what transformers encodes as one.
WHOLE = (TrainOnWhat.LAST_ASSISTANT_MESSAGE, TrainOnWhat.ALL_ASSISTANT_MESSAGES, TrainOnWhat.ALL_TOKENS)
QUESTION = Message(role="user", content="2+2?")
ANSWER = Message(role="assistant", content="4")


class Subject:
    """A renderer beside the tokenizer of transformers that it is compared with. Shown short: both are megabytes of text."""

    def __init__(self, reference: Any) -> None:  # Any: transformers tokenizers have no useful static type
        self.reference = reference
        self.renderer = ChatTemplateRenderer(as_value(reference))

    def __repr__(self) -> str:
        return f"<{len(self.reference)} tokens>"


@pytest.fixture(scope="session")
def subject(reference: Any) -> Subject:
    return Subject(reference)


def prompt_tokens(renderer: ChatTemplateRenderer, messages: Sequence[Message]) -> list[int]:
    return list(renderer.generation_prompt(messages).unwrap().tokens)


def example_of(renderer: ChatTemplateRenderer, messages: Sequence[Message], train_on: TrainOnWhat) -> RenderedExample:
    if train_on is TrainOnWhat.CUSTOMIZED:
        messages = [attrs.evolve(one, trainable=index % 2 == 0) for index, one in enumerate(messages)]
    return renderer.supervised_example(messages, train_on).unwrap()


def legible(tokenizer: Tokenizer, messages: Sequence[Message]) -> bool:
    """Tell whether a tokenizer can write these contents: the vocabulary of SmolLM2 lacks the bytes of some planes."""
    return all(tokenizer.decode(tokenizer.encode(text_of(one))) == text_of(one) for one in messages)


def trained_text(tokenizer: Tokenizer, example: RenderedExample) -> str:
    return tokenizer.decode([t for t, w in zip(example.tokens, example.weights, strict=True) if w])


def chosen(messages: Sequence[Message], train_on: TrainOnWhat) -> list[Message]:
    """Name what is trained on, said once more in other words than the code's."""
    last = len(messages) - 1
    roles = {
        TrainOnWhat.ALL_ASSISTANT_MESSAGES: {"assistant"},
        TrainOnWhat.ALL_USER_AND_SYSTEM_MESSAGES: {"user", "system"},
        TrainOnWhat.ALL_MESSAGES: {"user", "system", "assistant", "tool"},
    }
    if train_on is TrainOnWhat.LAST_ASSISTANT_MESSAGE:
        return [one for one in messages[last:] if one.role == "assistant"]
    if train_on is TrainOnWhat.CUSTOMIZED:
        return list(messages[::2])
    return [one for one in messages if one.role in roles[train_on]]


class TestAgainstTransformers:
    @given(messages=conversations(answers=plain))
    def test_a_generation_prompt_is_what_transformers_writes(self, subject: Subject, messages: list[Message]) -> None:
        theirs = subject.reference.apply_chat_template(
            as_dicts(messages), add_generation_prompt=True, return_dict=False
        )
        ours = prompt_tokens(subject.renderer, messages)
        assert ours == theirs or not quotes_nothing(messages)
        assert subject.reference.decode(ours) == subject.reference.decode(theirs)

    @given(messages=conversations(answers=plain), train_on=st.sampled_from(WHOLE))
    def test_an_example_is_what_transformers_writes(
        self, subject: Subject, messages: list[Message], train_on: TrainOnWhat
    ) -> None:
        theirs = subject.reference.apply_chat_template(
            as_dicts(messages), add_generation_prompt=False, return_dict=False
        )
        ours = list(example_of(subject.renderer, messages, train_on).tokens)
        assert ours == theirs or not quotes_nothing(messages)
        assert subject.reference.decode(ours) == subject.reference.decode(theirs)

    @given(messages=conversations(), train_on=st.sampled_from(TrainOnWhat))
    def test_blanks_before_what_is_trained_on_may_split_tokens_and_never_change_the_text(
        self, subject: Subject, messages: list[Message], train_on: TrainOnWhat
    ) -> None:
        assume(legible(subject.renderer.tokenizer, messages))
        text = subject.reference.apply_chat_template(as_dicts(messages), add_generation_prompt=False, tokenize=False)
        example = example_of(subject.renderer, messages, train_on)
        assert subject.renderer.tokenizer.decode(example.tokens) == text
        if quotes_nothing(messages) and not any(text_of(message)[:1].isspace() for message in messages):
            assert list(example.tokens) == subject.reference.encode(text, add_special_tokens=False)


class TestAnExample:
    @given(messages=conversations(answered=True), train_on=st.sampled_from(WHOLE))
    def test_begins_with_the_tokens_of_its_generation_prompt(
        self, subject: Subject, messages: list[Message], train_on: TrainOnWhat
    ) -> None:
        prompt = prompt_tokens(subject.renderer, messages[:-1])
        assert list(example_of(subject.renderer, messages, train_on).tokens[: len(prompt)]) == prompt

    @given(messages=conversations(answered=True))
    def test_is_what_sampling_the_answer_would_have_made(self, subject: Subject, messages: list[Message]) -> None:
        tokenizer = subject.renderer.tokenizer
        answer = (*tokenizer.encode_text(text_of(messages[-1])), tokenizer.eos_token)
        tokens = example_of(subject.renderer, messages, TrainOnWhat.LAST_ASSISTANT_MESSAGE).tokens
        sampled = [*prompt_tokens(subject.renderer, messages[:-1]), *answer]
        assert list(tokens[: len(sampled)]) == sampled

    @given(messages=conversations(), train_on=st.sampled_from(TrainOnWhat))
    def test_weighs_exactly_the_chosen_contents_with_their_end_of_turn(
        self, subject: Subject, messages: list[Message], train_on: TrainOnWhat
    ) -> None:
        assume(legible(subject.renderer.tokenizer, messages))
        example = example_of(subject.renderer, messages, train_on)
        assert len(example.tokens) == len(example.weights)
        assert set(example.weights) <= {0.0, 1.0}
        if train_on is TrainOnWhat.ALL_TOKENS:
            assert all(example.weights)
        else:
            expected = "".join(text_of(message) + END for message in chosen(messages, train_on))
            assert trained_text(subject.renderer.tokenizer, example) == expected

    @given(messages=conversations(answered=True))
    def test_is_parsed_back_into_its_answer(self, subject: Subject, messages: list[Message]) -> None:
        assume(legible(subject.renderer.tokenizer, messages))
        example = example_of(subject.renderer, messages, TrainOnWhat.LAST_ASSISTANT_MESSAGE)
        answer = [t for t, w in zip(example.tokens, example.weights, strict=True) if w]
        parsed = subject.renderer.parse_response(answer)
        assert parsed.message == Message(role="assistant", content=text_of(messages[-1]))
        assert parsed.ended

    def test_begins_with_its_prompt_though_an_answer_stands_first(self, subject: Subject) -> None:
        messages = [Message(role="assistant", content=" \n  x"), QUESTION, ANSWER]
        prompt = prompt_tokens(subject.renderer, messages[:-1])
        for train_on in WHOLE:
            assert list(example_of(subject.renderer, messages, train_on).tokens[: len(prompt)]) == prompt

    @pytest.mark.parametrize("content", ["i", "end", ">", "im_end", "|", "user", ""])
    def test_is_not_confused_by_contents_that_stand_in_the_markup(self, subject: Subject, content: str) -> None:
        messages = [Message(role="user", content=content), ANSWER]
        example = example_of(subject.renderer, messages, TrainOnWhat.ALL_USER_AND_SYSTEM_MESSAGES)
        assert trained_text(subject.renderer.tokenizer, example) == content + END
        assert example.tokens.count(subject.renderer.tokenizer.eos_token) == 3


class TestOnBytes:
    renderer = ChatTemplateRenderer(ByteTokenizer())

    @given(messages=conversations(), train_on=st.sampled_from(TrainOnWhat))
    def test_text_and_weights_are_those_of_the_template(self, messages: list[Message], train_on: TrainOnWhat) -> None:
        tokenizer = ByteTokenizer()
        example = example_of(self.renderer, messages, train_on)
        written = tokenizer.render_chat(messages, add_generation_prompt=False)
        assert tokenizer.decode(example.tokens) == written
        assert example.tokens == tokenizer.encode(written) or not quotes_nothing(messages)
        if train_on is not TrainOnWhat.ALL_TOKENS:
            expected = "".join(text_of(message) + END for message in chosen(messages, train_on))
            assert trained_text(tokenizer, example) == expected

    @given(messages=conversations(answered=True), train_on=st.sampled_from(TrainOnWhat))
    def test_an_example_begins_with_its_generation_prompt(self, messages: list[Message], train_on: TrainOnWhat) -> None:
        prompt = prompt_tokens(self.renderer, messages[:-1])
        assert list(example_of(self.renderer, messages, train_on).tokens[: len(prompt)]) == prompt

    @given(content=contents)
    def test_an_answer_cut_at_the_token_limit_is_parsed_too(self, content: str) -> None:
        tokens = ByteTokenizer().encode(content)
        assert text_of(self.renderer.parse_response(tokens).message) == content.partition(END)[0]


LLAMA_3 = (
    "{{ bos_token }}{% for message in messages %}{{ '[' + message['role'] + ']\n\n' + message['content'] | trim"
    " + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '[assistant]\n\n' }}{% endif %}"
)
LLAMA_2 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'] +"
    " ' [/INST]' }}{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
NO_END_OF_TURN = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
THINKING = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' and "
    "loop.last %}{{ '<think></think>' }}{% endif %}{{ message['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ALTERNATING = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ message['content'] }}{% endfor %}"
)


def with_template(template: str | None) -> ChatTemplateRenderer:
    return ChatTemplateRenderer(attrs.evolve(as_value(trained()), chat_template=template))


class TestOtherTemplates:
    @pytest.mark.parametrize(
        ("template", "expected"),
        [
            (LLAMA_3, "4" + END),  # the template trims, so blanks are no part of what is trained on
            (LLAMA_2, "  4  " + END),  # the prompt ends before the blank: the model has to write it
            (NO_END_OF_TURN, " 4 \n"),
            (THINKING, "<think></think> 4 " + END),  # what the prompt does not hold, the model has to write
        ],
        ids=["trimmed", "no header", "no end of turn", "opened by a thought"],
    )
    def test_what_a_model_would_write_is_trained_on(self, template: str, expected: str) -> None:
        renderer = with_template(template)
        messages = [QUESTION, attrs.evolve(ANSWER, content=" 4 ")]
        example = renderer.supervised_example(messages, TrainOnWhat.LAST_ASSISTANT_MESSAGE).unwrap()
        assert trained_text(renderer.tokenizer, example) == expected
        prompt = prompt_tokens(renderer, messages[:-1])
        assert list(example.tokens[: len(prompt)]) == prompt

    @pytest.mark.parametrize("template", [LLAMA_3, LLAMA_2, NO_END_OF_TURN])
    @given(messages=conversations(answers=plain))
    def test_a_prompt_is_the_text_of_the_template(self, template: str, messages: list[Message]) -> None:
        renderer = with_template(template)
        text = renderer.tokenizer.render_chat(messages, add_generation_prompt=True)
        assert renderer.tokenizer.decode(prompt_tokens(renderer, messages)) == text


def refusal(renderer: ChatTemplateRenderer, messages: Sequence[Message], train_on: TrainOnWhat) -> str:
    result = renderer.supervised_example(messages, train_on)
    assert isinstance(result, Failure)
    return str(result.failure())


class TestErrorsAreValues:
    def test_an_empty_conversation(self) -> None:
        renderer = with_template(CHATML)
        assert "at least one message" in refusal(renderer, [], TrainOnWhat.ALL_TOKENS)
        assert "at least one message" in str(renderer.generation_prompt([]).failure())

    def test_a_template_that_rewrites_earlier_turns(self) -> None:
        problem = refusal(
            with_template(THINKING), [QUESTION, ANSWER, QUESTION, ANSWER], TrainOnWhat.ALL_ASSISTANT_MESSAGES
        )
        assert "rewrites earlier turns at message 2" in problem
        assert "train on one turn at a time" in problem

    def test_a_template_that_refuses_the_conversation(self) -> None:
        problem = refusal(with_template(ALTERNATING), [QUESTION, QUESTION], TrainOnWhat.ALL_TOKENS)
        assert problem == "the chat template refuses this conversation: roles must alternate"

    def test_a_template_that_is_no_jinja(self) -> None:
        assert "refuses" in refusal(with_template("{% for %}"), [QUESTION], TrainOnWhat.ALL_TOKENS)

    def test_a_model_without_a_template(self) -> None:
        problem = refusal(with_template(None), [QUESTION], TrainOnWhat.ALL_TOKENS)
        assert "carries no chat template: use an instruct model" in problem

    def test_half_a_surrogate_pair_names_its_message(self) -> None:
        broken = Message(role="user", content="\ud83e")
        for renderer in (with_template(CHATML), ChatTemplateRenderer(ByteTokenizer())):
            assert "content of message 1 is no text" in refusal(renderer, [QUESTION, broken], TrainOnWhat.ALL_TOKENS)
            assert isinstance(renderer.generation_prompt([broken]), Failure)

    def test_customized_needs_a_choice_for_each_message(self) -> None:
        problem = refusal(
            with_template(CHATML), [attrs.evolve(QUESTION, trainable=False), ANSWER], TrainOnWhat.CUSTOMIZED
        )
        assert problem == "training on `customized` needs `trainable` on message 1"

    @pytest.mark.parametrize("train_on", [one for one in TrainOnWhat if one is not TrainOnWhat.CUSTOMIZED])
    def test_a_choice_counts_only_when_customized(self, train_on: TrainOnWhat) -> None:
        messages = [QUESTION, attrs.evolve(ANSWER, trainable=False)]
        assert "message 1 sets `trainable`" in refusal(with_template(CHATML), messages, train_on)

    def test_tool_calls_are_not_left_out_silently(self, tool_message: Message) -> None:
        assert "tool calls" in refusal(with_template(CHATML), [QUESTION, tool_message], TrainOnWhat.ALL_TOKENS)


@pytest.fixture
def tool_message() -> Message:
    from crucible.train.types import ToolCall

    return Message(role="assistant", content="", tool_calls=(ToolCall(name="add", arguments="{}"),))
