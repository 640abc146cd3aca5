"""`LLMClient`: the port of chat models that are used, not trained (judges, teachers, users)."""

from abc import abstractmethod
from collections.abc import Sequence

from crucible.effects import Port, Result
from crucible.train.errors import TrainError, Unavailable
from crucible.train.types import ChatOptions, ChatResponse, Message


class LLMClient(Port, unanswered=Unavailable.because):
    """Asks a chat model."""

    @abstractmethod
    async def chat(
        self, messages: Sequence[Message], options: ChatOptions = ChatOptions()
    ) -> Result[ChatResponse, TrainError]:
        """Give the next message of a conversation. No message at all is an InvalidRequest.

        With `output_schema`, the answer is a JSON text that fits it, or the failure is a BackendFailed.
        """
