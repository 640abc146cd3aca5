"""`ModelRegistry`: the port that remembers which trained models there are, and where they came from."""

from abc import abstractmethod
from collections.abc import Mapping
from datetime import datetime

import attrs

from crucible.effects import Json, Port, Result
from crucible.kitchen.errors import KitchenError
from crucible.train.errors import Unavailable


@attrs.frozen(kw_only=True)
class ModelArtifact:
    """A trained model to register.

    Args:
        name: of the line of models.
        version: of this one, unique in its line.
        uri: where the weights are.
        metrics: what it scored, by name.
        lineage: what it was made from and by: base model, dataset, recipe, run.
        metadata: anything else.
    """

    name: str = attrs.field(validator=attrs.validators.min_len(1))
    version: str = attrs.field(validator=attrs.validators.min_len(1))
    uri: str = attrs.field(validator=attrs.validators.min_len(1))
    metrics: Mapping[str, float] = attrs.field(factory=dict)
    lineage: Mapping[str, str] = attrs.field(factory=dict)
    metadata: Mapping[str, Json] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class RegisteredModel:
    """A registered model; `created_at` is None where the registry keeps no time."""

    id: str
    artifact: ModelArtifact
    created_at: datetime | None = None


class ModelRegistry(Port, unanswered=Unavailable.because):
    """Registers model versions. A version is never changed."""

    @abstractmethod
    async def register(self, artifact: ModelArtifact) -> Result[RegisteredModel, KitchenError]:
        """Enter a version. The same artifact again gives the entry there is; another under its name is AlreadyExists."""

    @abstractmethod
    async def get(self, model_id: str) -> Result[RegisteredModel, KitchenError]:
        """Find a version by the id that `register` gave."""

    @abstractmethod
    async def list_models(
        self, *, name: str | None = None, limit: int | None = None, offset: int = 0
    ) -> Result[tuple[RegisteredModel, ...], KitchenError]:
        """Give the versions of one line, or of all, in the order they were registered, `offset` of them left out."""
