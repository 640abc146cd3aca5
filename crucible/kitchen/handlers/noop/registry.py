"""`ModelRegistry` on nothing: entries in memory."""

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.errors import AlreadyExists, KitchenError
from crucible.kitchen.ports import ModelArtifact, ModelRegistry, RegisteredModel
from crucible.train.errors import InvalidRequest, NotFound


def registry() -> Handlers[ModelRegistry]:
    """Handle registration with entries that live as long as these handlers. An id is `name@version`."""
    return ModelRegistry.handled_by(_Registry())


class _Registry(ModelRegistry):
    """A `ModelRegistry` over a dict."""

    def __init__(self) -> None:
        self._models: dict[str, RegisteredModel] = {}

    async def register(self, artifact: ModelArtifact) -> Result[RegisteredModel, KitchenError]:
        model_id = f"{artifact.name}@{artifact.version}"
        there = self._models.get(model_id)
        if there is not None and there.artifact != artifact:
            return Failure(AlreadyExists(kind="model", name=model_id, fix="register it under another version"))
        return Success(self._models.setdefault(model_id, RegisteredModel(id=model_id, artifact=artifact)))

    async def get(self, model_id: str) -> Result[RegisteredModel, KitchenError]:
        found = self._models.get(model_id)
        return Failure(NotFound(kind="model", name=model_id)) if found is None else Success(found)

    async def list_models(
        self, *, name: str | None = None, limit: int | None = None, offset: int = 0
    ) -> Result[tuple[RegisteredModel, ...], KitchenError]:
        if offset < 0 or (limit is not None and limit < 0):
            return Failure(InvalidRequest(message=f"{limit} entries cannot be listed after {offset}"))
        found = [model for model in self._models.values() if name is None or model.artifact.name == name]
        return Success(tuple(found[offset : None if limit is None else offset + limit]))
