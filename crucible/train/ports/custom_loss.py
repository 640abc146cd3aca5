"""`CustomLossClient`: the port of training backends that take any loss."""

from abc import abstractmethod
from collections.abc import Sequence

from crucible.effects import Port, Result, not_repeatable
from crucible.train.custom_loss import CustomLoss
from crucible.train.errors import TrainError, Unavailable
from crucible.train.types import Datum, ForwardBackwardOutput, Future, TrainingSession


class CustomLossClient(Port, unanswered=Unavailable.because):
    """Trains on a loss that the backend does not know. Sessions and futures are those of `TrainingClient`."""

    @abstractmethod
    @not_repeatable
    async def forward_backward_custom(
        self, session: TrainingSession, data: Sequence[Datum], loss: CustomLoss
    ) -> Result[Future[ForwardBackwardOutput], TrainError]:
        """Compute log-probabilities, evaluate `loss` at them, and add its derivatives to the gradients.

        Of the data, `target_tokens` and (optional) `weights` count. Where a weight is 0 nothing is scored: the loss is
        given 0.0 there, and its derivative is not used; of what size other weights are does not matter here. Loss and
        metrics of the output are those of the custom loss. A batch without a scored position is an InvalidRequest.
        """
