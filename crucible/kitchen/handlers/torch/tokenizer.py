"""`HfTokenizer`: a Hugging Face tokenizer as a value."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import attrs

from crucible.train.types import Message, TokenId, text_of

if TYPE_CHECKING:
    import tokenizers
    from jinja2 import Template
    from transformers import PreTrainedTokenizerBase


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

    def encode(self, text: str) -> tuple[TokenId, ...]:
        """Give the tokens of `text`, special tokens written in it included, none added."""
        return tuple(_load(self.json).encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[TokenId]) -> str:
        """Give the text of `tokens`, special tokens included; a number that stands for no token gives no text."""
        return _load(self.json).decode([token for token in tokens if token >= 0], skip_special_tokens=False)

    def render_chat(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        """Write a conversation as the model's own chat template does.

        Raises: ValueError when the model has no template, when its template refuses the conversation, and for tool calls.
        """
        if self.chat_template is None:
            raise ValueError("this model's tokenizer carries no chat template: use an instruct model")
        from jinja2 import TemplateError

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
        except TemplateError as error:
            raise ValueError(str(error)) from error


def tokenizer_from(pretrained: "PreTrainedTokenizerBase", *, ends: Sequence[TokenId] = ()) -> HfTokenizer:
    """Give a tokenizer of transformers as a value; where it names no end of sequence, the first of the model's `ends` is it.

    Raises: ValueError when nobody names one: an answer would never end.
    """
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
