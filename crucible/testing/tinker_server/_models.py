"""The endpoints that make models in training: with fresh adapters, or from what was saved."""

from collections.abc import Mapping

from tinker import types as wire

from crucible.effects import Failure, Result
from crucible.testing.tinker_server._deviations import Averaging
from crucible.testing.tinker_server._promises import Wire
from crucible.testing.tinker_server._state import Model
from crucible.testing.tinker_server._turns import Turns
from crucible.testing.tinker_server._work import Ask, Json, Work, told, whole
from crucible.train.errors import InvalidRequest, NotFound, TrainError
from crucible.train.ports import TrainingClient
from crucible.train.types import LoraConfig, SessionConfig, TrainingSession


def model_id(session_id: str, model_seq_id: int) -> str:
    """Give the name that the SDK expects of a model."""
    return f"{session_id}:train:{model_seq_id}"


async def create_model(work: Work, ask: Ask) -> Json:
    """Start a training session with fresh adapters."""
    request = wire.CreateModelRequest.model_validate_json(ask.body)
    work.state.session(request.session_id)
    lora = request.lora_config or wire.LoraConfig(rank=32)
    config = SessionConfig(
        model=request.base_model,
        lora=LoraConfig(
            rank=lora.rank,
            seed=work.seed if lora.seed is None else lora.seed,
            train_mlp=lora.train_mlp,
            train_attn=lora.train_attn,
            train_unembed=lora.train_unembed,
        ),
    )
    made = model_id(request.session_id, request.model_seq_id)

    async def start() -> Result[Wire, TrainError]:
        if work.models and config.model not in work.models:
            fix = f"this server has {', '.join(work.models)}"
            return Failure(NotFound(kind="model", name=config.model, fix=fix))
        started = await work.call(TrainingClient.start_session, config)
        return started.map(
            lambda training: _opened(work, made, config, training, request.user_metadata) | {"type": "create_model"}
        )

    return told(work.promise(ask, request.session_id, ("model", made), lambda promise: work.begin(promise, start)))


def _opened(
    work: Work, made: str, config: SessionConfig, training: TrainingSession, user_metadata: Mapping[str, str] | None
) -> Json:
    work.state.models[made] = Model(
        id=made,
        session_id=made.partition(":train:")[0],
        config=config,
        training=training,
        user_metadata=dict(user_metadata or {}),
        turns=Turns(),
        averaging=Averaging(work.deviations),
    )
    return {"model_id": made}


async def load_weights(work: Work, ask: Ask) -> Json:
    """Start a training session from what was saved, or (as older SDKs do) put it in the place of a model's."""
    request = wire.LoadWeightsRequest.model_validate_json(ask.body)
    answer: Json = {"path": request.path, "type": "load_weights"}
    if request.session_id is not None and request.model_seq_id is not None:
        work.state.session(request.session_id)
        made = model_id(request.session_id, request.model_seq_id)

        async def start() -> Result[Wire, TrainError]:
            restored = await _restored(work, request)
            return restored.map(lambda found: _opened(work, made, *found, request.user_metadata) | answer)

        return told(work.promise(ask, request.session_id, ("model", made), lambda promise: work.begin(promise, start)))

    model = work.state.model(request.model_id or "")

    async def replace() -> Result[Wire, TrainError]:
        found = await _restored(work, request)
        if isinstance(found, Failure):
            return found
        old = model.training
        model.config, model.training = found.unwrap()
        closed = await work.call(TrainingClient.close_session, old)
        return closed.map(lambda _: {"model_id": model.id, **answer})

    return told(work.in_turn(ask, model, request.seq_id, whole(replace)))


async def _restored(
    work: Work, request: wire.LoadWeightsRequest
) -> Result[tuple[SessionConfig, TrainingSession], TrainError]:
    saved = work.state.saved(request.path, ("weights",))
    if isinstance(saved, NotFound):
        return Failure(saved)
    if request.base_model not in {None, saved.config.model}:
        return Failure(InvalidRequest(message=f"{request.path} is of {saved.config.model}, not {request.base_model}"))
    done = await work.call(TrainingClient.restore_session, saved.config, saved.place, with_optimizer=request.optimizer)
    return done.map(lambda training: (saved.config, training))


async def get_info(work: Work, ask: Ask) -> Json:
    """Say what a model is."""
    request = wire.GetInfoRequest.model_validate_json(ask.body)
    model = work.state.model(request.model_id)
    name = model.config.model
    return {
        "type": "get_info",
        "model_id": model.id,
        "model_data": {"model_name": name, "tokenizer_id": name},
        "is_lora": True,
        "lora_rank": model.config.lora.rank,
        "model_name": name,
    }
