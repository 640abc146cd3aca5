"""`SamplingClient`: the port of everything that reads from a model."""

from abc import abstractmethod
from collections.abc import Sequence

from crucible.effects import Port, Result
from crucible.train.errors import TrainError, Unavailable
from crucible.train.types import ModelInput, Sample, SamplingConfig, SamplingParams, SamplingSession, Tokenizer


class SamplingClient(Port, unanswered=Unavailable.because):
    """Samples from one immutable version of a policy, a batch of prompts at a time."""

    @abstractmethod
    async def start_session(self, config: SamplingConfig) -> Result[SamplingSession, TrainError]:
        """Load a model, with trained weights where `config` names some."""

    @abstractmethod
    async def get_tokenizer(self, session: SamplingSession) -> Result[Tokenizer, TrainError]:
        """Give the model's tokenizer."""

    @abstractmethod
    async def sample(
        self, session: SamplingSession, prompts: Sequence[ModelInput], params: SamplingParams, *, num_samples: int = 1
    ) -> Result[tuple[tuple[Sample, ...], ...], TrainError]:
        """Give `num_samples` continuations for each prompt.

        A sample depends on the seed, on its prompt and the prompt's place in the call, and on its own place among the samples
        of that prompt: the same call gives the same samples, and equal prompts in one call get samples of their own.
        """

    @abstractmethod
    async def compute_logprobs(
        self, session: SamplingSession, inputs: Sequence[ModelInput]
    ) -> Result[tuple[tuple[float | None, ...], ...], TrainError]:
        """Give one log-probability for each token of each input; the first of each is None."""

    @abstractmethod
    async def close_session(self, session: SamplingSession) -> Result[None, TrainError]:
        """Let go of the session. Closing it again is no error."""
