"""Renderers: between messages and tokens."""

from crucible.train.renderers.base import RenderedExample, Renderer, RenderError, TrainOnWhat
from crucible.train.renderers.chat_template import ChatTemplateRenderer

__all__ = ["ChatTemplateRenderer", "RenderError", "RenderedExample", "Renderer", "TrainOnWhat"]
