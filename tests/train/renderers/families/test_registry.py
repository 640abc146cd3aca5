"""Which renderer a model gets, and what is said of one that is not known."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Failure
from crucible.train.renderers import (
    KNOWN_MODELS,
    RENDERER_NAMES,
    GptOss,
    LayoutRenderer,
    Llama3,
    RoleColon,
    TrainOnWhat,
    renderer_for,
    renderer_name_for,
    renderer_named,
)
from crucible.train.types import ByteTokenizer, Message
from tests.train.renderers.families.oracles import cookbook_example
from tests.train.renderers.families.tokenizers import gpt_oss, llama3, qwen3

MODELS = {
    "meta-llama/Meta-Llama-3-8B-Instruct": "llama3",
    "meta-llama/Llama-3.1-8B-Instruct": "llama3_1",
    "unsloth/Llama-3.2-1B-Instruct-bnb-4bit": "llama3_1",
    "meta-llama/Llama-3.3-70B-Instruct": "llama3_1",
    "meta-llama/Llama-3.1-8B": "role_colon",
    "Qwen/Qwen3-8B": "qwen3",
    "Qwen/Qwen3-0.6B": "qwen3",
    "Qwen/Qwen3-30B-A3B-FP8": "qwen3",
    "Qwen/Qwen3-8B-Base": "role_colon",
    "Qwen/Qwen3-235B-A22B-Instruct-2507": "qwen3_instruct",
    "Qwen/Qwen3-4B-Thinking-2507": "qwen3_thinking",
    "Qwen/Qwen3-VL-30B-A3B-Instruct": "qwen3_vl_instruct",
    "Qwen/Qwen3-VL-8B-Thinking": "qwen3_vl",
    "deepseek-ai/DeepSeek-V3.1": "deepseekv3_disable_thinking",
    "deepseek-ai/DeepSeek-V3.1-Terminus": "deepseekv3_disable_thinking",
    "deepseek-ai/DeepSeek-V3.1-Base": "role_colon",
    "moonshotai/Kimi-K2-Thinking": "kimi_k2",
    "moonshotai/Kimi-K2-Instruct-0905": "kimi_k2_instruct",
    "openai/gpt-oss-20b": "gpt_oss_medium_reasoning",
    "gpt-oss-120b": "gpt_oss_medium_reasoning",
}
UNKNOWN = (
    *("Qwen/Qwen3.5-4B", "Qwen/Qwen3-Coder-30B-A3B-Instruct", "Qwen/Qwen3-Embedding-8B", "Qwen/Qwen2.5-7B-Instruct"),
    *("deepseek-ai/DeepSeek-V3", "deepseek-ai/DeepSeek-R1", "moonshotai/Kimi-K2.5", "meta-llama/Llama-4-Scout-17B-16E"),
    *("meta-llama/Llama-3.2-11B-Vision-Instruct", "mistralai/Mistral-7B-Instruct-v0.3", "", "qwen3"),
)


@pytest.mark.parametrize(("model", "name"), MODELS.items())
def test_a_known_model_gets_the_renderer_of_its_own_template(model: str, name: str) -> None:
    assert renderer_name_for(model).unwrap() == name
    assert renderer_name_for(model.upper()).unwrap() == name


@pytest.mark.parametrize("model", KNOWN_MODELS)
def test_every_model_that_is_named_as_known_is(model: str) -> None:
    assert renderer_name_for(model).unwrap() in RENDERER_NAMES


@pytest.mark.parametrize("model", UNKNOWN)
def test_an_unknown_model_is_an_error_that_lists_the_known_ones(model: str) -> None:
    problem = str(renderer_for(model, ByteTokenizer()).failure())
    assert f"no renderer is known for the model {model!r}" in problem
    assert all(known in problem for known in (*KNOWN_MODELS, *RENDERER_NAMES))


@given(st.text(max_size=20))
def test_any_text_may_be_asked_for(model: str) -> None:
    named = renderer_name_for(model)
    assert isinstance(named, Failure) or named.unwrap() in RENDERER_NAMES


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("Qwen/Qwen3-8B-Instruct-2507x", "Qwen/Qwen3-4B-Instruct-2507"), ("openai/gpt-os-20b", "openai/gpt-oss-20b")],
)
def test_the_nearest_model_is_named(asked: str, meant: str) -> None:
    assert meant in str(renderer_name_for(asked).failure()).partition("Known models")[0]


def test_an_unknown_renderer_is_an_error_with_the_nearest_name() -> None:
    problem = str(renderer_named("qwen3_instuct", qwen3()).failure())
    assert problem.startswith("no renderer is named 'qwen3_instuct'; did you mean qwen3_instruct")
    assert all(name in problem for name in RENDERER_NAMES)


def test_a_tokenizer_of_another_family_is_an_error() -> None:
    problem = str(renderer_named("llama3", qwen3()).failure())
    assert problem.startswith("llama3 needs <|begin_of_text|>, <|start_header_id|>")
    assert "is it the model's own?" in problem


def test_the_date_is_handed_on() -> None:
    today = date(2026, 5, 4)
    for name, tokenizer in (("llama3_1", llama3()), ("gpt_oss_high_reasoning", gpt_oss())):
        made = renderer_named(name, tokenizer, today=today).unwrap()
        assert isinstance(made, LayoutRenderer)
        assert isinstance(made.layout, Llama3 | GptOss)
        assert made.layout.today == today


class TestRoleColon:
    messages = (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Hi, you."),
        Message(role="assistant", content="Hello!"),
        Message(role="user", content="Bye"),
        Message(role="assistant", content="Bye."),
    )

    @pytest.mark.parametrize("tokenizer", [llama3(), qwen3()], ids=["with a begin", "without one"])
    def test_examples_are_those_of_tinker_cookbook(self, tokenizer: object) -> None:
        made = renderer_named("role_colon", tokenizer).unwrap()  # type: ignore[arg-type]  # one of two tokenizers
        example = made.supervised_example(self.messages, TrainOnWhat.LAST_ASSISTANT_MESSAGE).unwrap()
        tokens, weights = cookbook_example("role_colon.RoleColonRenderer", tokenizer, self.messages)
        assert (list(example.tokens), list(example.weights)) == (tokens, weights)

    def test_begins_with_the_token_of_the_tokenizer(self) -> None:
        for tokenizer, begin in ((llama3(), "<|begin_of_text|>"), (qwen3(), "")):
            made = renderer_named("role_colon", tokenizer).unwrap()
            assert isinstance(made, LayoutRenderer)
            assert made.layout == RoleColon(begin=begin)

    def test_an_answer_ends_at_the_next_speaker(self) -> None:
        made = renderer_named("role_colon", llama3()).unwrap()
        parsed = made.parse_response(llama3().encode(" Hi.\n\nUser: And you?\n\nUser:"))
        assert (parsed.message.content, parsed.ended, parsed.problem) == ("Hi.", True, None)
        ended = made.parse_response(llama3().encode(" Hi.<|eot_id|>"))
        assert (ended.message.content, ended.ended) == ("Hi.", True)
        assert not made.parse_response(llama3().encode(" Hi")).ended
