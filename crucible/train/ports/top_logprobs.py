"""`TopLogprobsClient`: the port of sampling backends that tell what a model would rather have said."""

from abc import abstractmethod
from collections.abc import Sequence

from crucible.effects import Port, Result
from crucible.train.errors import TrainError, Unavailable
from crucible.train.types import ModelInput, SamplingSession, TokenLogprob


class TopLogprobsClient(Port, unanswered=Unavailable.because):
    """Gives the likeliest tokens at each place of given texts. Sessions are those of `SamplingClient`."""

    @abstractmethod
    async def compute_top_logprobs(
        self, session: SamplingSession, inputs: Sequence[ModelInput], *, num_top: int
    ) -> Result[tuple[tuple[tuple[TokenLogprob, ...], ...], ...], TrainError]:
        """Give, for each token of each input, the likeliest tokens in its place, likeliest first; none for the first.

        There are `num_top` for each token, or the whole vocabulary where it has no more. Their log-probabilities are those
        of `SamplingClient.compute_logprobs`. An input may be as long as the model takes. Asking for none is an InvalidRequest.
        """
