"""`LLMClient` on any `SamplingClient`: a renderer writes the conversation, and reads the answer."""

from collections.abc import Sequence
from typing import Never, TypeVar

import attrs

from crucible.effects import Do, Eff, Failure, Handlers, Result, do, from_result, perform
from crucible.kitchen.stages.samplers import with_sampler
from crucible.train.errors import InvalidRequest, TrainError, Unsupported
from crucible.train.ports import LLMClient, SamplingClient
from crucible.train.renderers import ParsedResponse, Renderer, RenderError, renderer_for, renderer_named
from crucible.train.types import (
    ChatOptions,
    ChatResponse,
    FinishReason,
    Message,
    Sample,
    SamplingConfig,
    SamplingParams,
    SamplingSession,
    Tokenizer,
    TokenUsage,
    text_of,
)

A = TypeVar("A")


def on_sampling(
    sampling: Handlers[SamplingClient],
    config: SamplingConfig,
    *,
    renderer: str | None = None,
    max_tokens: int = 1024,
    seed: int = 0,
) -> Handlers[LLMClient]:
    """Chat with the model, trained or not, that `sampling` reads: on noop, on this machine or on a service.

    Such a model can be offered tools, but not be made to call one, nor to keep to a schema: that is Unsupported.

    >>> from crucible.kitchen.handlers import noop
    >>> on_sampling(noop.sampling(), SamplingConfig(model="any"), renderer="chat_template")
    <Handlers of LLMClient>

    Args:
        sampling: what samples.
        config: the model, with the weights that it was trained to, if any. `ChatOptions.model` asks another, without weights.
        renderer: the name of the model's renderer; None for the one that the model's name says.
        max_tokens: the most tokens of an answer, where the options do not say.
        seed: `ChatOptions.seed` is added to it; the same one gives the same answers.
    """
    return LLMClient.handled_by(SamplingChat(sampling, config, renderer=renderer, max_tokens=max_tokens, seed=seed))


class SamplingChat(LLMClient):
    """Opens a sampler for each answer, and closes it."""

    def __init__(
        self,
        sampling: Handlers[SamplingClient],
        config: SamplingConfig,
        *,
        renderer: str | None,
        max_tokens: int,
        seed: int,
    ) -> None:
        self._sampling = sampling
        self._config = config
        self._renderer = renderer
        self._max_tokens = max_tokens
        self._seed = seed

    async def chat(
        self, messages: Sequence[Message], options: ChatOptions = ChatOptions()
    ) -> Result[ChatResponse, TrainError]:
        """Render, sample, and read."""
        problem = _problem(messages, options)
        if problem is not None:
            return Failure(problem)
        config = self._config if options.model is None else SamplingConfig(model=options.model)
        return await self._sampling.arun(with_sampler(config, lambda session: self._answer(session, messages, options)))

    @do
    def _answer(
        self, session: SamplingSession, messages: Sequence[Message], options: ChatOptions
    ) -> Do[TrainError, SamplingClient, ChatResponse]:
        tokenizer = yield from perform(SamplingClient.get_tokenizer, session)
        renderer = yield from _rendered(self._renderer_of(session.model, tokenizer))
        tools = () if options.tool_choice == "none" else options.tools
        prompt = yield from _rendered(renderer.generation_prompt(messages, tools=tools))
        limit = min(options.max_tokens or self._max_tokens, session.max_length)
        params = attrs.evolve(_params(options, renderer, limit), seed=self._seed + (options.seed or 0))
        ((sample,),) = yield from perform(SamplingClient.sample, session, [prompt], params)
        parsed = renderer.parse_response(sample.tokens)
        return ChatResponse(
            message=_without_stop(parsed.message, options),
            finish_reason=_reason(parsed, sample),
            usage=TokenUsage(prompt_tokens=len(prompt), completion_tokens=len(sample.tokens)),
            model=session.model,
        )

    def _renderer_of(self, model: str, tokenizer: Tokenizer) -> Result[Renderer, RenderError]:
        if self._renderer is None:
            return renderer_for(model, tokenizer)
        return renderer_named(self._renderer, tokenizer)


def _problem(messages: Sequence[Message], options: ChatOptions) -> TrainError | None:
    if not messages:
        return InvalidRequest(message="the conversation is empty", fix="give at least one message")
    fix = "ask for it in a message, and read the answer"
    if options.output_schema is not None:
        return Unsupported(feature="answers that must fit a schema", backend="chat on a sampler", fix=fix)
    if options.tool_choice not in {"auto", "none"}:
        return Unsupported(feature="tools that must be called", backend="chat on a sampler", fix=fix)
    return None


def _rendered(result: Result[A, RenderError]) -> Eff[A, TrainError, Never]:
    return from_result(result.alt(lambda error: InvalidRequest(message=str(error))))


def _params(options: ChatOptions, renderer: Renderer, max_tokens: int) -> SamplingParams:
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=1.0 if options.temperature is None else options.temperature,
        top_p=1.0 if options.top_p is None else options.top_p,
        stop=(*renderer.stop_strings, *options.stop),
        stop_tokens=renderer.stop_tokens,
    )


def _without_stop(message: Message, options: ChatOptions) -> Message:
    """Cut the text off where a stop text of the caller's begins: it is no part of the answer."""
    text = text_of(message)
    ends = [text.find(end) for end in options.stop if end in text]
    return attrs.evolve(message, content=text[: min(ends)]) if ends else message


def _reason(parsed: ParsedResponse, sample: Sample) -> FinishReason:
    if parsed.message.tool_calls:
        return "tool_calls"
    return "stop" if parsed.ended or sample.stop_reason == "stop" else "length"
