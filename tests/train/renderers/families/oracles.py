"""What ours is compared with: chat templates, the packages `renderers`, `tinker-cookbook` and `openai-harmony`."""

import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

from crucible.train.types import Message, ToolCall, ToolSpec, images_of, message_json, text_of, thinking_of, tool_json
from tests.train.renderers.families.tokenizers import Tiktoken, o200k, package


def template_text(
    name: str,
    messages: Sequence[Message],
    tools: Sequence[ToolSpec] = (),
    *,
    prompt: bool = False,
    thinking: str = "reasoning_content",
    **options: object,
) -> str:
    """Write a conversation with one of the chat templates that trl ships, as transformers does."""
    dicts = [message_json(message) for message in messages]
    renamed = [{thinking if key == "reasoning_content" else key: it for key, it in each.items()} for each in dicts]
    source = (package("trl") / "chat_templates" / f"{name}.jinja").read_text()
    transformers: Any = import_module("transformers.utils.chat_template_utils")
    written, _ = transformers.render_jinja_template(
        conversations=[renamed],
        tools=[tool_json(tool) for tool in tools] or None,
        chat_template=source,
        add_generation_prompt=prompt,
        **options,
    )
    return str(written[0])


class AsTransformers:
    """A tokenizer of ours under the names of transformers."""

    unk_token_id = None
    name_or_path = "none"

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = tokenizer.eos_token
        self.bos_token = getattr(tokenizer, "bos_token", None)

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        return list(self._tokenizer.encode(text))

    def decode(self, tokens: Sequence[int] | int, **_: object) -> str:
        return str(self._tokenizer.decode([tokens] if isinstance(tokens, int) else list(tokens)))

    def convert_tokens_to_ids(self, token: str) -> int:
        return int(self._tokenizer.encode(token)[0])


def prime_tokens(
    module: str, cls: str, tokenizer: Any, messages: Sequence[Message], tools: Sequence[ToolSpec] = (), *, prompt: bool,
    **config: object,
) -> list[int]:  # fmt: skip
    """Render with the package `renderers`."""
    found: Any = import_module(f"renderers.{module}")
    made = getattr(found, cls)
    settings = getattr(import_module("renderers.configs"), f"{cls}Config")(**config)
    dicts = [message_json(message) for message in messages]
    given = [tool_json(tool) for tool in tools] or None
    renderer = made(AsTransformers(tokenizer), config=settings)
    return list(renderer.render_ids(dicts, tools=given, add_generation_prompt=prompt))


@lru_cache(maxsize=16)
def _cookbook(name: str, tokenizer: Any, **options: object) -> Any:
    module, cls = name.rsplit(".", 1)
    return getattr(import_module(f"tinker_cookbook.renderers.{module}"), cls)(AsTransformers(tokenizer), **options)


def cookbook_message(message: Message) -> dict[str, object]:
    """Write a message as tinker-cookbook has it."""
    base: Any = import_module("tinker_cookbook.renderers.base")
    thinking = thinking_of(message)
    assert not images_of(message)
    parts = [{"type": "thinking", "thinking": thinking}, {"type": "text", "text": text_of(message)}]
    written: dict[str, object] = {"role": message.role, "content": parts if thinking else text_of(message)}
    if message.tool_calls:
        written["tool_calls"] = [_cookbook_call(base, call) for call in message.tool_calls]
    return written | {k: v for k, v in (("name", message.name), ("tool_call_id", message.tool_call_id)) if v}


def _cookbook_call(base: Any, call: ToolCall) -> Any:
    body = base.ToolCall.FunctionBody(name=call.name, arguments=call.arguments)
    return base.ToolCall(function=body, id=call.id)


def cookbook_example(
    name: str, tokenizer: Any, messages: Sequence[Message], **options: object
) -> tuple[list[int], list[float]]:
    """Render with tinker-cookbook what trains on the last answer: tokens and weights."""
    renderer = _cookbook(name, tokenizer, **options)
    base: Any = import_module("tinker_cookbook.renderers.base")
    made, weights = renderer.build_supervised_example(
        [cookbook_message(message) for message in messages], base.TrainOnWhat.LAST_ASSISTANT_MESSAGE
    )
    return list(made.to_ints()), [float(weight) for weight in weights]


def cookbook_prompt(
    name: str, tokenizer: Any, messages: Sequence[Message], tools: Sequence[ToolSpec] = (), **options: object
) -> list[int]:
    """Render a generation prompt with tinker-cookbook."""
    renderer = _cookbook(name, tokenizer, **options)
    written = [cookbook_message(message) for message in messages]
    if tools:
        specs = [{"name": t.name, "description": t.description, "parameters": dict(t.parameters)} for t in tools]
        system = text_of(messages[0]) if messages[0].role == "system" else ""
        rest = written[1:] if messages[0].role == "system" else written
        written = [*renderer.create_conversation_prefix_with_tools(specs, system_prompt=system), *rest]
    return list(renderer.build_generation_prompt(written).to_ints())


@lru_cache(maxsize=1)
def _harmony() -> tuple[Any, Any]:
    os.environ["TIKTOKEN_ENCODINGS_BASE"] = str(o200k())
    module: Any = import_module("openai_harmony")
    return module, module.load_harmony_encoding(module.HarmonyEncodingName.HARMONY_GPT_OSS)


def harmony_tokens(
    messages: Sequence[Message], tools: Sequence[ToolSpec], *, effort: str, today: str | None, prompt: bool
) -> list[int]:
    """Render with openai-harmony a conversation whose thinking is all kept."""
    module, encoding = _harmony()
    system = module.SystemContent.new().with_reasoning_effort(module.ReasoningEffort(effort.capitalize()))
    system = system.with_conversation_start_date(today) if today else system
    written = [module.Message.from_role_and_content(module.Role.SYSTEM, system)]
    has_system = messages[0].role == "system"
    if has_system or tools:
        developer = module.DeveloperContent.new()
        developer = developer.with_instructions(text_of(messages[0])) if has_system else developer
        developer = developer.with_function_tools([_harmony_tool(module, t) for t in tools]) if tools else developer
        written.append(module.Message.from_role_and_content(module.Role.DEVELOPER, developer))
    for message in messages[int(has_system) :]:
        written += _harmony_messages(module, message)
    conversation = module.Conversation.from_messages(written)
    config = import_module("openai_harmony").__dict__["RenderConversationConfig"](auto_drop_analysis=False)
    if prompt:
        return list(encoding.render_conversation_for_completion(conversation, module.Role.ASSISTANT, config=config))
    return list(encoding.render_conversation_for_training(conversation, config=config))


def _harmony_tool(module: Any, tool: ToolSpec) -> Any:
    given: Mapping[str, object] | None = tool.parameters or None
    return (
        import_module("openai_harmony").__dict__["ToolDescription"].new(tool.name, tool.description, parameters=given)
    )


def _harmony_messages(module: Any, message: Message) -> list[Any]:
    def assistant(text: str, channel: str) -> Any:
        return module.Message.from_role_and_content(module.Role.ASSISTANT, text).with_channel(channel)

    if message.role == "user":
        return [module.Message.from_role_and_content(module.Role.USER, text_of(message))]
    if message.role == "tool":
        author = module.Author.new(module.Role.TOOL, f"functions.{message.name}")
        result = module.Message.from_author_and_content(author, text_of(message))
        return [result.with_channel("commentary").with_recipient("assistant")]
    written = [assistant(thinking_of(message), "analysis")] if thinking_of(message) else []
    if not message.tool_calls:
        return [*written, assistant(text_of(message), "final")]
    written += [assistant(text_of(message), "commentary")] if text_of(message) else []
    call = message.tool_calls[0]
    made = assistant(call.arguments, "commentary").with_recipient(f"functions.{call.name}")
    return [*written, made.with_content_type("<|constrain|>json")]


def analysis_blocks(text: str) -> list[str]:
    """Give what stands in the analysis channel of a text in harmony's form."""
    return re.findall(r"<\|channel\|>analysis<\|message\|>(.*?)<\|end\|>", text, re.DOTALL)


def encoded(tokenizer: Tiktoken, text: str) -> list[int]:
    """Encode a whole text at once, as transformers does."""
    return list(tokenizer.encode(text))
