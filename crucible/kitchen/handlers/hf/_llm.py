"""`LLMClient` on `huggingface_hub`'s `InferenceClient`."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from crucible.effects import Failure, Result
from crucible.kitchen.handlers.hf._chat import Piece, fitting, joined, parameters, piece_of, written
from crucible.kitchen.handlers.hf._config import InferenceConfig
from crucible.kitchen.handlers.hf._errors import attempted
from crucible.kitchen.handlers.hf._inference import AtOnce, client_of, served_at
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.ports import LLMClient
from crucible.train.types import ChatOptions, ChatResponse, Message

if TYPE_CHECKING:
    from huggingface_hub import InferenceClient


class HfLLM(LLMClient):
    """Asks a served model, a limited number of times at once."""

    def __init__(self, config: InferenceConfig, on_text: Callable[[str], object] | None = None) -> None:
        self._config = config
        self._on_text = on_text
        self._at_once = AtOnce(config.limit)

    async def chat(
        self, messages: Sequence[Message], options: ChatOptions = ChatOptions()
    ) -> Result[ChatResponse, TrainError]:
        if not messages:
            return Failure(InvalidRequest(message="the conversation is empty", fix="give at least one message"))
        model = options.model or self._config.model
        if model is None and self._config.url is None:
            return Failure(InvalidRequest(message="no model is named", fix="give InferenceConfig a model, or a url"))

        def asked() -> ChatResponse:
            with client_of(self._config) as client:
                said = self._answer(client, messages, options, model)
                return fitting(joined(said, default_model=model or "unnamed"), options.output_schema)

        about = served_at(self._config, model)
        return await attempted(asked, about=about, token=self._config.token, limiter=self._at_once.limiter)

    def _answer(
        self, client: "InferenceClient", messages: Sequence[Message], options: ChatOptions, model: str | None
    ) -> Iterator[Piece]:
        """Ask, and give the answer: all at once, or in pieces when somebody reads along."""
        sent = [written(message) for message in messages]
        chosen = parameters(options)
        if self._on_text is None:
            yield piece_of(client.chat_completion(sent, model=model, extra_body=chosen))
            return
        chosen["stream_options"] = {"include_usage": True}
        stream = client.chat_completion(sent, model=model, stream=True, extra_body=chosen)
        for said in stream:
            piece = piece_of(said)
            if piece.text:
                self._on_text(piece.text)
            yield piece
