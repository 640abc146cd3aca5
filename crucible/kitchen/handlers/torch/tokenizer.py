"""`HfTokenizer`: a Hugging Face tokenizer as a value."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

import attrs

from crucible.train.types import Message, TokenId, text_of

if TYPE_CHECKING:
    import tokenizers
    from jinja2 import Template
    from transformers import PreTrainedTokenizerBase


_BEFORE = "\U0010fffebefore\U0010ffff"  # a control token that nobody spells


@attrs.frozen(kw_only=True)
class HfTokenizer:
    """A `tokenizers` tokenizer with its chat template, held as text: comparable, and storable in a recording.

    `json` is the content of a `tokenizer.json`; `chat_template` is Jinja source, None where the model has none.
    """

    json: str = attrs.field(repr=lambda text: f"<{len(text)} characters>")
    chat_template: str | None = attrs.field(repr=False)
    eos_token: TokenId
    special_tokens: dict[str, str] = attrs.field(factory=dict, hash=False)

    @property
    def vocab_size(self) -> int:
        """One more than the largest token id."""
        return _vocab_size(self.json)

    @property
    def control_tokens(self) -> Mapping[str, TokenId]:
        """The special tokens, and those added tokens that are markup, as Qwen's `<think>`: no blanks and no words."""
        return _controls(self.json, tuple(self.special_tokens.values()))

    def encode(self, text: str) -> tuple[TokenId, ...]:
        """Give the tokens of `text`, control tokens written in it included, none added: for what a template wrote."""
        return tuple(_load(self.json).encode(text, add_special_tokens=False).ids)

    def encode_text(self, text: str) -> tuple[TokenId, ...]:
        """Give the tokens of `text` as text: whatever it spells, no control token. Else as `encode`.

        Raises: ValueError when this vocabulary cannot write the text without a control token.
        """
        return _as_text(self.json, self.control_tokens, text, inside=False)

    def encode_inside(self, text: str) -> tuple[TokenId, ...]:
        """Give the tokens of `text` as `encode_text` does, for one that follows others: some vocabularies begin with a blank.

        Raises: ValueError, as `encode_text`.
        """
        return _as_text(self.json, self.control_tokens, text, inside=True)

    def decode(self, tokens: Sequence[TokenId]) -> str:
        """Give the text of `tokens`, special tokens included; a number that stands for no token gives no text."""
        return _load(self.json).decode([token for token in tokens if token >= 0], skip_special_tokens=False)

    def render_chat(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        """Write a conversation as the model's own chat template does.

        Raises: ValueError when the model has no template, when its template refuses the conversation, and for tool calls.
        """
        if self.chat_template is None:
            raise ValueError("this model's tokenizer carries no chat template: use an instruct model")
        if any(message.tool_calls for message in messages):
            raise ValueError("this handler does not write tool calls yet")
        turns = [{"role": message.role, "content": text_of(message)} for message in messages]
        try:
            return _compile(self.chat_template).render(
                messages=turns,
                add_generation_prompt=add_generation_prompt,
                tools=None,  # as transformers does: templates ask whether they are None
                documents=None,
                **self.special_tokens,
            )
        except Exception as error:  # a template is the model's own program, and fails as any program does
            raise ValueError(str(error)) from error


def tokenizer_from(pretrained: "PreTrainedTokenizerBase", *, ends: Sequence[TokenId] = ()) -> HfTokenizer:
    """Give a tokenizer of transformers as a value; where it names no end of sequence, the first of the model's `ends` is it.

    Raises: ValueError when nobody names one, as an answer would never end; and for a tokenizer that is a Python program.
    """
    if getattr(pretrained, "backend_tokenizer", None) is None:
        kind, name = type(pretrained).__name__, pretrained.name_or_path
        raise ValueError(
            f"the tokenizer of {name} ({kind}) has no form as data: only one with a tokenizer.json is read"
        )
    eos_token = pretrained.eos_token_id if pretrained.eos_token_id is not None else next(iter(ends), None)
    if eos_token is None:
        name = pretrained.name_or_path
        raise ValueError(
            f"the tokenizer of {name} names no end-of-sequence token: set eos_token in its tokenizer_config.json"
        )
    template = pretrained.chat_template
    named: Mapping[str, object] = pretrained.special_tokens_map  # some models name lists of tokens too
    specials = {name: token for name, token in named.items() if isinstance(token, str)}
    return HfTokenizer(
        json=pretrained.backend_tokenizer.to_str(),
        chat_template=template.get("default") if isinstance(template, dict) else template,
        eos_token=eos_token,
        special_tokens=specials,
    )


def load_tokenizer(path: str) -> HfTokenizer:
    """Read a model's tokenizer from its folder, or from its `.gguf` file.

    Raises: OSError or ValueError when there is none.
    """
    from transformers import AutoTokenizer

    where = Path(path)
    if where.is_file():
        return tokenizer_from(AutoTokenizer.from_pretrained(where.parent, gguf_file=where.name))
    return tokenizer_from(AutoTokenizer.from_pretrained(path))


@lru_cache(maxsize=8)
def _load(json: str) -> "tokenizers.Tokenizer":
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_str(json)
    tokenizer.no_truncation()  # files saved after a training often carry its limit, and would cut texts silently
    tokenizer.no_padding()
    return tokenizer


@lru_cache(maxsize=8)
def _controls(json: str, named: tuple[str, ...]) -> Mapping[str, TokenId]:
    added = _load(json).get_added_tokens_decoder().items()
    found = {token.content: number for number, token in added if token.special or _is_markup(token.content)}
    numbers = {name: _load(json).token_to_id(name) for name in named}
    return MappingProxyType({**found, **{name: number for name, number in numbers.items() if number is not None}})


def _is_markup(content: str) -> bool:
    """Tell whether an added token is markup: no run of blanks, and no word that a user added to the vocabulary."""
    ends = content[0] + content[-1]
    return len(content) > 1 and not any(end.isalnum() or end.isspace() or end == "\u2581" for end in ends)


@lru_cache(maxsize=8)
def _plain(json: str, controls: tuple[str, ...]) -> "tokenizers.Tokenizer":
    """Give the tokenizer without its control tokens: all that it reads is text.

    Those that the model's own vocabulary lacks leave a name that nobody spells: the ids of added tokens are their places.
    """
    from json import dumps, loads

    stored = loads(json)
    words = stored["model"]["vocab"]  # a dict of ids, or for Unigram a list of words with their scores
    own = words if isinstance(words, dict) else {word for word, _ in words}
    kept = []
    for token in stored["added_tokens"]:
        if token["content"] not in controls:
            kept.append(token)
        elif token["content"] not in own:
            kept.append({**token, "content": f"\U0010fffe{token['id']}\U0010ffff"})
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    kept.append({"id": _vocab_size(json), "content": _BEFORE, "special": True, **flags})
    return _load(dumps({**stored, "added_tokens": kept}, ensure_ascii=False))


def _encoded(plain: "tokenizers.Tokenizer", text: str, *, inside: bool) -> tuple[list[TokenId], list[tuple[int, int]]]:
    """Give tokens and where in the text each is; `inside` behind a control token, as the library encodes what follows one."""
    if not inside:
        whole = plain.encode(text, add_special_tokens=False)
        return whole.ids, whole.offsets
    whole = plain.encode(_BEFORE + text, add_special_tokens=False)
    return whole.ids[1:], [(start - len(_BEFORE), end - len(_BEFORE)) for start, end in whole.offsets[1:]]


def _as_text(json: str, controls: Mapping[str, TokenId], text: str, *, inside: bool) -> tuple[TokenId, ...]:
    """Encode as text; a control token that is a word of the vocabulary itself is cut in two.

    Raises: ValueError when that does not help, or where the pieces are no tokens.
    """
    plain, unknown = _plain(json, tuple(controls)), _unknown(json)
    control = set(controls.values()) - {unknown}
    ids, offsets = _encoded(plain, text, inside=inside)
    whole, tokens, rest = ids, list[TokenId](), text
    while (place := next((place for place, token in enumerate(ids) if token in control), None)) is not None:
        start, end = offsets[place]
        begins = not tokens and not inside
        halves = ((cut, _encoded(plain, rest[:cut], inside=not begins)[0]) for cut in range(start + 1, end))
        cut, before = next(((cut, ids) for cut, ids in halves if control.isdisjoint(ids)), (0, []))
        if not cut:
            raise _no_way(rest[start:end])
        tokens, rest = [*tokens, *before], rest[cut:]
        ids, offsets = _encoded(plain, rest, inside=True)
    tokens += ids
    for name in (name for name in controls if unknown in tokens and name in text):
        if unknown in plain.encode(name, add_special_tokens=False).ids or tokens.count(unknown) > whole.count(unknown):
            raise _no_way(name)
    return tuple(tokens)


def _no_way(text: str) -> ValueError:
    return ValueError(
        f"this model's vocabulary has no way to write {text!r} as text: its letters are no tokens of their own. "
        "Leave the row out, or change this text"
    )


@lru_cache(maxsize=8)
def _unknown(json: str) -> TokenId:
    """Give the token of what the vocabulary does not know, which may come out of any text; -1 where there is none."""
    from json import loads

    model = loads(json)["model"]
    name, number = model.get("unk_token"), model.get("unk_id")
    found = _load(json).token_to_id(name) if isinstance(name, str) else number
    return found if isinstance(found, int) else -1


@lru_cache(maxsize=8)
def _vocab_size(json: str) -> int:
    return max(_load(json).get_vocab().values()) + 1  # ids may have gaps


@lru_cache(maxsize=8)
def _compile(source: str) -> "Template":
    """Compile a chat template in a sandbox, with the helpers that Hugging Face templates expect."""
    import json

    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> NoReturn:
        from jinja2 import TemplateError

        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)  # noqa: DTZ005  # as templates expect
    return environment.from_string(source)
