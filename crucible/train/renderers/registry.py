"""Which renderer a model needs: by the model's name, or by the renderer's own."""

import re
from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches
from types import MappingProxyType

import attrs

from crucible.effects import Failure, Result, Success
from crucible.train.renderers.base import Renderer, RenderError
from crucible.train.renderers.chat_template import ChatTemplateRenderer
from crucible.train.renderers.deepseek_v3 import BEGIN as DEEPSEEK_BEGIN
from crucible.train.renderers.deepseek_v3 import DeepSeekV3
from crucible.train.renderers.gpt_oss import GptOss
from crucible.train.renderers.kimi_k2 import KimiK2
from crucible.train.renderers.layout import Layout, LayoutRenderer
from crucible.train.renderers.llama3 import BEGIN as LLAMA_BEGIN
from crucible.train.renderers.llama3 import Llama3
from crucible.train.renderers.qwen3 import Qwen3
from crucible.train.renderers.role_colon import RoleColon
from crucible.train.types import Tokenizer

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "role_colon": RoleColon(),
        "llama3": Llama3(),
        "llama3_1": Llama3(preamble=True),
        "qwen3": Qwen3(thinking="chosen"),
        "qwen3_disable_thinking": Qwen3(thinking="off"),
        "qwen3_thinking": Qwen3(thinking="always"),
        "qwen3_instruct": Qwen3(thinking="never"),
        "qwen3_vl": Qwen3(thinking="always", images=True),
        "qwen3_vl_instruct": Qwen3(thinking="never", images=True),
        "deepseekv3": DeepSeekV3(thinking=True),
        "deepseekv3_disable_thinking": DeepSeekV3(thinking=False),
        "kimi_k2": KimiK2(thinking=True),
        "kimi_k2_instruct": KimiK2(thinking=False),
        "gpt_oss_no_sysprompt": GptOss(effort=None),
        "gpt_oss_low_reasoning": GptOss(effort="low"),
        "gpt_oss_medium_reasoning": GptOss(effort="medium"),
        "gpt_oss_high_reasoning": GptOss(effort="high"),
    }
)
"""The layouts by name. `chat_template` is one more renderer: it asks the tokenizer's own template."""

GENERIC = "chat_template"
RENDERER_NAMES: tuple[str, ...] = (*LAYOUTS, GENERIC)

_SIZE = r"\d+(\.\d+)?b(-a\d+(\.\d+)?b)?"
# A model's name without its owner, in lower case, and the renderer that it needs; the whole name must fit.
_MODELS: tuple[tuple[str, str, str], ...] = (
    ("meta-llama/Meta-Llama-3-8B-Instruct", r"(meta-)?llama-3-\d+b-instruct", "llama3"),
    ("meta-llama/Llama-3.1-8B-Instruct", r"(meta-)?llama-3\.[123]-\d+b-instruct", "llama3_1"),
    ("meta-llama/Llama-3.1-8B", r"(meta-)?llama-3(\.[123])?-\d+b", "role_colon"),
    ("Qwen/Qwen3-8B", rf"qwen3-{_SIZE}", "qwen3"),
    ("Qwen/Qwen3-8B-Base", rf"qwen3-{_SIZE}-base", "role_colon"),
    ("Qwen/Qwen3-4B-Instruct-2507", rf"qwen3-{_SIZE}-instruct-2507", "qwen3_instruct"),
    ("Qwen/Qwen3-4B-Thinking-2507", rf"qwen3-{_SIZE}-thinking-2507", "qwen3_thinking"),
    ("Qwen/Qwen3-VL-8B-Instruct", rf"qwen3-vl-{_SIZE}-instruct", "qwen3_vl_instruct"),
    ("Qwen/Qwen3-VL-8B-Thinking", rf"qwen3-vl-{_SIZE}-thinking", "qwen3_vl"),
    ("deepseek-ai/DeepSeek-V3.1", r"deepseek-v3\.1(-terminus)?", "deepseekv3_disable_thinking"),
    ("deepseek-ai/DeepSeek-V3.1-Base", r"deepseek-v3\.1-base", "role_colon"),
    ("moonshotai/Kimi-K2-Thinking", r"kimi-k2-thinking", "kimi_k2"),
    ("moonshotai/Kimi-K2-Instruct", r"kimi-k2-instruct(-\d{4})?", "kimi_k2_instruct"),
    ("moonshotai/Kimi-K2-Base", r"kimi-k2-base", "role_colon"),
    ("openai/gpt-oss-20b", r"gpt-oss-(20|120)b", "gpt_oss_medium_reasoning"),
)
KNOWN_MODELS: tuple[str, ...] = tuple(example for example, _, _ in _MODELS)
# What publishers of the same weights in another precision write after the name.
_PRECISION = re.compile(r"(-(fp8|bf16|awq|int[48]|gptq-int[48]|gguf|mlx|bnb-4bit|unsloth-bnb-4bit|unsloth|[468]bit))+$")
_BEGINS = (LLAMA_BEGIN, DEEPSEEK_BEGIN)


def renderer_name_for(model_name: str) -> Result[str, RenderError]:
    """Name the renderer that a model needs: that of its own chat template, and `role_colon` for a base model.

    >>> renderer_name_for("Qwen/Qwen3-30B-A3B-Instruct-2507").unwrap()
    'qwen3_instruct'
    >>> str(renderer_name_for("Qwen/Qwen3.5-4B").failure())
    "no renderer is known for the model 'Qwen/Qwen3.5-4B'; did you mean ...? Known models are like ..."

    Fails: RenderError for an unknown model, with the nearest names and all that are known.
    """
    bare = _PRECISION.sub("", model_name.partition(":")[0].rpartition("/")[2].lower())
    for _, pattern, renderer in _MODELS:
        if re.fullmatch(pattern, bare):
            return Success(renderer)
    nearest = _nearest(bare, {example.rpartition("/")[2].lower(): example for example in KNOWN_MODELS})
    known = f"Known models are like {', '.join(KNOWN_MODELS)}"
    fix = f"name a renderer: {', '.join(RENDERER_NAMES)}"
    return Failure(
        RenderError(message=f"no renderer is known for the model {model_name!r}{nearest} {known}. For another, {fix}")
    )


def renderer_for(model_name: str, tokenizer: Tokenizer, *, today: date | None = None) -> Result[Renderer, RenderError]:
    """Give the renderer that a model needs, with the model's tokenizer.

    Fails: RenderError for an unknown model, or when the tokenizer lacks one of the family's special tokens.
    """
    return renderer_name_for(model_name).bind(lambda name: renderer_named(name, tokenizer, today=today))


def renderer_named(name: str, tokenizer: Tokenizer, *, today: date | None = None) -> Result[Renderer, RenderError]:
    """Give a renderer by its own name.

    Args:
        name: one of RENDERER_NAMES.
        tokenizer: that of the model.
        today: what the families that write a date write (llama3_1, gpt_oss); None as their docstrings say.

    Fails: RenderError for an unknown name, or when the tokenizer lacks one of the family's special tokens.
    """
    if name == GENERIC:
        generic: Renderer = ChatTemplateRenderer(tokenizer)
        return Success(generic)
    if name not in LAYOUTS:
        nearest = _nearest(name, {known: known for known in RENDERER_NAMES})
        known = f"Known: {', '.join(RENDERER_NAMES)}"
        return Failure(RenderError(message=f"no renderer is named {name!r}{nearest} {known}"))
    layout = LAYOUTS[name]
    if isinstance(layout, RoleColon):
        begins = [begin for begin in _BEGINS if len(tokenizer.encode(begin)) == 1]
        layout = attrs.evolve(layout, begin=next(iter(begins), ""))
    elif isinstance(layout, Llama3 | GptOss):
        layout = attrs.evolve(layout, today=today)
    missing = [mark for mark in layout.marks if len(tokenizer.encode(mark)) != 1]
    if missing:
        message = f"{name} needs {', '.join(missing)} to be one token each, and the tokenizer has no such tokens"
        return Failure(RenderError(message=f"{message}: is it the model's own?"))
    renderer: Renderer = LayoutRenderer(tokenizer, layout)
    return Success(renderer)


def _nearest(name: str, known: Mapping[str, str]) -> str:
    found = [known[match] for match in get_close_matches(name, known, n=3, cutoff=0.5)]
    return f"; did you mean {' or '.join(found)}?" if found else "."
