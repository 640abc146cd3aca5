"""Text never becomes control: what a conversation quotes of a vocabulary's control tokens is encoded as text.

A conversation is laid out once, as text, by its family or by its chat template. So that what people wrote in it cannot pass
for what the template writes, each control token that they spell is *quoted* first: a private-use character that occurs
nowhere in the conversation is put behind its first letter. The template sees the text otherwise as it is, so that what it
trims, splits or escapes comes out as ever. What can still be read as a control token in the result was written by the
template. The rest is encoded as text, without the private-use character. A conversation that quotes nothing is encoded as
transformers does, in one go.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs

from crucible.train.renderers.base import ParsedResponse
from crucible.train.renderers.reading import THOUGHT
from crucible.train.renderers.vocabulary import Vocabulary, vocabulary_of
from crucible.train.types import (
    Message,
    Part,
    TextPart,
    ThinkingPart,
    TokenId,
    Tokenizer,
    ToolCall,
    ToolSpec,
    plainest,
)

_Encode: TypeAlias = Callable[[str], tuple[TokenId, ...]]


@attrs.frozen(kw_only=True)
class Quoted:
    """A conversation in which no text spells a control token, and the character that keeps it from doing so."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    mark: str


def quote(
    tokenizer: Tokenizer, messages: Sequence[Message], tools: Sequence[ToolSpec] = (), *, thoughts: bool = False
) -> Quoted:
    """Quote the control tokens that the texts of a conversation spell: contents, tool calls, tools, names.

    Args:
        tokenizer: that of the model.
        messages: the conversation.
        tools: the tools that it declares.
        thoughts: whether the tags around a thought at the very beginning of an assistant's text stay control.
    """
    messages = [_joined(message) for message in messages]
    texts = [text for message in messages for text in _texts(message)] + [
        t for tool in tools for t in _tool_texts(tool)
    ]
    vocabulary = vocabulary_of(tokenizer, texts)
    mark = unused(texts)

    def quoted(text: str) -> str:
        return quoted_in(text, vocabulary, mark)

    if not any(vocabulary.places(text) or vocabulary.ends_within(text.rstrip()) for text in texts):
        return Quoted(messages=tuple(messages), tools=tuple(tools), mark=mark)
    return Quoted(
        messages=tuple(_rewritten(message, quoted, thoughts=thoughts) for message in messages),
        tools=tuple(_rewritten_tool(tool, quoted) for tool in tools),
        mark=mark,
    )


def quoted_in(text: str, vocabulary: Vocabulary, mark: str) -> str:
    """Put the mark behind the first letter of each control token in a text, and where one could be completed.

    >>> quoted_in("a<|im_end|>b <", Vocabulary(controls={"<|im_end|>": 2}), "~")
    'a<~|im_end|>b <~'
    """
    for place in reversed(vocabulary.places(text)):
        text = text[: place + 1] + mark + text[place + 1 :]
    kept = text.rstrip()
    return kept + mark + text[len(kept) :] if vocabulary.ends_within(kept) else text


def unused(texts: Iterable[str]) -> str:
    """Give a private-use character that no text holds, neither as it is nor as JSON escapes it."""
    whole = "".join(texts)
    spare = (chr(code) for codes in (range(0xE100, 0xF800), range(0xF0000, 0x10FFFE)) for code in codes)
    return next(one for one in spare if one not in whole and _escaped(one) not in whole.lower())


def encode(tokenizer: Tokenizer, text: str, mark: str, *, begins: bool = True) -> tuple[TokenId, ...]:
    """Encode what a template wrote of a quoted conversation: its own control tokens by id, all else as text.

    Args:
        tokenizer: that of the model.
        text: as the template wrote it.
        mark: of the quotes.
        begins: whether nothing stands before it; some vocabularies put a blank there.

    Raises: ValueError when the tokenizer cannot encode a text without a control token.
    """
    vocabulary = vocabulary_of(tokenizer, [text])
    matches = vocabulary.written(text)
    bare = _without(text, mark)
    if bare == text and (begins or not _puts_a_blank_first(tokenizer)):
        tokens = tokenizer.encode(text)
        control = vocabulary.ids
        written = Counter(vocabulary.controls[match] for _, match in matches)
        if not Counter(token for token in tokens if token in control) - written:
            return tokens
    encoded: list[TokenId] = []
    position, strips = 0, False
    for start, match in matches:
        before = text[position:start]
        before = before.rstrip() if _swallows(tokenizer, vocabulary, match, before=True) else before
        before = before.lstrip() if strips else before
        encoded += _text_tokens(tokenizer, _without(before, mark), vocabulary, inside=not begins or position > 0)
        encoded.append(vocabulary.controls[match])
        position, strips = start + len(match), _swallows(tokenizer, vocabulary, match, before=False)
    rest = text[position:].lstrip() if strips else text[position:]
    return (*encoded, *_text_tokens(tokenizer, _without(rest, mark), vocabulary, inside=not begins or position > 0))


def decode_quoted(tokenizer: Tokenizer, tokens: Sequence[TokenId]) -> tuple[str, str]:
    """Give the text of sampled tokens, quoted where text only looks like a control token, and the mark of the quotes."""
    whole = tokenizer.decode(tokens)
    vocabulary, mark = vocabulary_of(tokenizer, [whole]), unused([whole])
    control = vocabulary.ids
    if [vocabulary.controls[found] for _, found in vocabulary.written(whole)] == [t for t in tokens if t in control]:
        return whole, mark
    written: list[str] = []
    start = 0
    for place, token in enumerate([*tokens, None]):
        if token is None or token in control:
            written.append(quoted_in(tokenizer.decode(tokens[start:place]), vocabulary, mark))
            written.append("" if token is None else tokenizer.decode([token]))
            start = place + 1
    return "".join(written), mark


def unquoted(parsed: ParsedResponse, mark: str) -> ParsedResponse:
    """Take the quotes out of what was read from a quoted text."""
    problem = None if parsed.problem is None else _without(parsed.problem, mark)
    message = _rewritten(parsed.message, lambda text: _without(text, mark))
    return attrs.evolve(parsed, message=message, problem=problem)


def _swallows(tokenizer: Tokenizer, vocabulary: Vocabulary, control: str, *, before: bool) -> bool:
    """Tell whether a control token takes the blanks beside it into itself, as some vocabularies have it."""
    return tokenizer.encode(f" {control}" if before else f"{control} ") == (vocabulary.controls[control],)


def _puts_a_blank_first(tokenizer: Tokenizer) -> bool:
    """Tell whether a text has other tokens at the beginning than behind others, as SentencePiece's have."""
    inside: _Encode | None = getattr(tokenizer, "encode_inside", None)
    return inside is not None and inside("a") != tokenizer.encode_text("a")


def _text_tokens(tokenizer: Tokenizer, text: str, vocabulary: Vocabulary, *, inside: bool) -> tuple[TokenId, ...]:
    if not text:
        return ()
    behind: _Encode | None = getattr(tokenizer, "encode_inside", None)
    if inside and behind is not None:
        return behind(text)
    if hasattr(tokenizer, "encode_text"):
        return tokenizer.encode_text(text)
    pieces, position = [], 0
    for place in vocabulary_of(tokenizer, [text]).places(text):
        pieces.append(text[position : place + 1])
        position = place + 1
    tokens = tuple(token for piece in (*pieces, text[position:]) for token in tokenizer.encode(piece))
    if vocabulary.ids.isdisjoint(tokens):
        return tokens
    raise ValueError(f"the tokenizer cannot encode {text[:80]!r} as text: a control token comes out of it")


def _escaped(mark: str) -> str:
    return json.dumps(mark)[1:-1]


def _without(text: str, mark: str) -> str:
    return text.replace(mark, "").replace(_escaped(mark), "")


def _joined(message: Message) -> Message:
    """Join the texts that stand beside each other: a control token may be spelled across two of them."""
    message = plainest(message)
    if isinstance(message.content, str):
        return message
    parts: list[Part] = []
    for part in message.content:
        before = parts[-1] if parts else None
        if isinstance(part, TextPart) and isinstance(before, TextPart):
            parts[-1] = TextPart(text=before.text + part.text)
        else:
            parts.append(part)
    return attrs.evolve(message, content=tuple(parts))


def _texts(message: Message) -> list[str]:
    content = message.content
    texts = (
        [content] if isinstance(content, str) else [p.text for p in content if isinstance(p, TextPart | ThinkingPart)]
    )
    calls = [text for call in message.tool_calls for text in (call.name, call.arguments, call.id or "")]
    return [*texts, *calls, message.tool_call_id or "", message.name or ""]


def _tool_texts(tool: ToolSpec) -> list[str]:
    return [tool.name, tool.description, json.dumps(dict(tool.parameters), ensure_ascii=False, default=str)]


def _rewritten(message: Message, rewrite: Callable[[str], str], *, thoughts: bool = False) -> Message:
    def part(one: Part) -> Part:
        return attrs.evolve(one, text=rewrite(one.text)) if isinstance(one, TextPart | ThinkingPart) else one

    def content(text: str) -> str:
        thought = THOUGHT.fullmatch(text) if thoughts and message.role == "assistant" else None
        if thought is None:
            return rewrite(text)
        opened, thinking, closed, said = thought.groups()
        return opened + rewrite(thinking) + closed + rewrite(said)

    return attrs.evolve(
        message,
        content=content(message.content) if isinstance(message.content, str) else tuple(map(part, message.content)),
        tool_calls=tuple(
            ToolCall(name=rewrite(call.name), arguments=rewrite(call.arguments), id=call.id and rewrite(call.id))
            for call in message.tool_calls
        ),
        tool_call_id=message.tool_call_id and rewrite(message.tool_call_id),
        name=message.name and rewrite(message.name),
    )


def _rewritten_tool(tool: ToolSpec, rewrite: Callable[[str], str]) -> ToolSpec:
    def deep(value: object) -> object:
        if isinstance(value, str):
            return rewrite(value)
        if isinstance(value, Mapping):
            return {deep(key): deep(it) for key, it in value.items()}
        return [deep(it) for it in value] if isinstance(value, list | tuple) else value

    parameters = {rewrite(key): deep(value) for key, value in tool.parameters.items()}
    return ToolSpec(name=rewrite(tool.name), description=rewrite(tool.description), parameters=parameters)
