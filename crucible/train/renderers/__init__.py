"""Renderers: between messages and tokens."""

from crucible.train.renderers.base import (
    ParsedResponse,
    PlacedImage,
    RenderedExample,
    Renderer,
    RenderError,
    TokenSpan,
    TrainOnWhat,
)
from crucible.train.renderers.chat_template import ChatTemplateRenderer
from crucible.train.renderers.deepseek_v3 import DeepSeekV3
from crucible.train.renderers.gpt_oss import GptOss
from crucible.train.renderers.images import image_size, qwen3_vl_chunk
from crucible.train.renderers.kimi_k2 import KimiK2
from crucible.train.renderers.layout import Layout, LayoutRenderer, Span
from crucible.train.renderers.llama3 import Llama3
from crucible.train.renderers.qwen3 import Qwen3
from crucible.train.renderers.registry import (
    KNOWN_MODELS,
    RENDERER_NAMES,
    renderer_for,
    renderer_name_for,
    renderer_named,
)
from crucible.train.renderers.role_colon import RoleColon

__all__ = [
    "KNOWN_MODELS",
    "RENDERER_NAMES",
    "ChatTemplateRenderer",
    "DeepSeekV3",
    "GptOss",
    "KimiK2",
    "Layout",
    "LayoutRenderer",
    "Llama3",
    "ParsedResponse",
    "PlacedImage",
    "Qwen3",
    "RenderError",
    "RenderedExample",
    "Renderer",
    "RoleColon",
    "Span",
    "TokenSpan",
    "TrainOnWhat",
    "image_size",
    "qwen3_vl_chunk",
    "renderer_for",
    "renderer_name_for",
    "renderer_named",
]
