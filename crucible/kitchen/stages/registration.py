"""Registration: the trained weights get a name and a version that others can find."""

from typing import TypeVar

from crucible.effects import Do, Failure, Result, Success, from_result, perform, tell
from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.context import Context
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.ports import ModelArtifact, ModelRegistry
from crucible.kitchen.stage import generic_stage
from crucible.kitchen.states import TrainingState
from crucible.telemetry.events import ModelRegistered
from crucible.train.errors import InvalidRequest

S = TypeVar("S", bound=TrainingState[TrainingConfig])


@generic_stage
def register_model(context: Context[S]) -> Do[KitchenError, ModelRegistry, Context[S]]:
    """Enter the final weights in the registry, with what they scored and what they were made from."""
    artifact = yield from from_result(_artifact(context.state, context.run_id))
    model = yield from perform(ModelRegistry.register, artifact)
    yield from tell(ModelRegistered(model_id=model.id, version=artifact.version, step=context.state.step))
    return context


def _artifact(state: TrainingState[TrainingConfig], run_id: str) -> Result[ModelArtifact, KitchenError]:
    if state.final_weights is None:
        fix = "put save_final_weights before register_model"
        return Failure(InvalidRequest(message="no final weights were saved", fix=fix))
    config = state.config
    lineage = {
        "base_model": config.session.model,
        "dataset": f"{config.dataset.name}/{config.dataset.split}",
        "run": run_id,
        "steps": str(state.step),
    }
    return Success(
        ModelArtifact(
            name=config.register_as or config.session.model,
            version=run_id,
            uri=state.final_weights.path,
            metrics=state.metrics,
            lineage=lineage,
        )
    )
