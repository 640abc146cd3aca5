"""The endpoints that save: checkpoints, weights for sampling, and weights to take away."""

from pathlib import Path

from tinker import types as wire

from crucible.effects import Failure, Result
from crucible.testing.tinker_server._promises import Wire
from crucible.testing.tinker_server._samplers import open_sampler, sampler_id
from crucible.testing.tinker_server._state import Kind, Model, Saved, expiry
from crucible.testing.tinker_server._work import Ask, Json, Work, told, whole
from crucible.train.errors import InvalidRequest, TrainError, Unsupported
from crucible.train.ports import TrainingClient
from crucible.train.types import SamplerWeights, SamplingConfig


async def save_weights(work: Work, ask: Ask) -> Json:
    """Save a checkpoint: weights, optimizer and random state."""
    request = wire.SaveWeightsRequest.model_validate_json(ask.body)
    model, expires_at = work.state.model(request.model_id), expiry(request.ttl_seconds)
    name = request.path or f"{request.seq_id or 0:06d}"

    async def save() -> Result[Wire, TrainError]:
        if not request.overwrite and work.state.shelf.find(f"tinker://{model.id}/weights/{name}") is not None:
            return Failure(InvalidRequest(message=f"{name!r} was saved before", fix="say overwrite=True"))
        done = await work.call(TrainingClient.save_checkpoint, model.training, work.place(model.id, name))

        def shelved(place: str) -> Json:
            saved = _saved(model, "weights", name, place)
            notes = None if "metadata" in work.deviations.lacks else request.user_metadata
            path = work.state.shelf.put(saved.with_notes(notes, expires_at))
            return {"path": path, "type": "save_weights"}

        return done.map(lambda checkpoint: shelved(checkpoint.path))

    return told(work.in_turn(ask, model, request.seq_id, whole(save)))


async def save_weights_for_sampler(work: Work, ask: Ask) -> Json:
    """Save the present weights for sampling: under a name, or for one sampler and nothing else."""
    request = wire.SaveWeightsForSamplerRequest.model_validate_json(ask.body)
    model, expires_at = work.state.model(request.model_id), expiry(request.ttl_seconds)
    is_named = request.path is not None or request.sampling_session_seq_id is None
    name = request.path or f"{request.seq_id or 0:06d}"

    def shelved(place: str) -> Json:
        saved = _saved(model, "sampler_weights", name, place)
        path = work.state.shelf.put(saved.with_notes(request.user_metadata, expires_at))
        return {"path": path, "type": "save_weights_for_sampler"}

    async def save() -> Result[Wire, TrainError]:
        done = await _save_for_sampler(work, model, name)
        if is_named or isinstance(done, Failure):
            return done.map(lambda weights: shelved(weights.path))
        made = sampler_id(model.session_id, request.sampling_session_seq_id or 0)
        config = SamplingConfig(model=model.config.model, weights_path=done.unwrap().path)
        opened = await open_sampler(work, made, config, model_path=None)
        return opened.map(lambda _: {"sampling_session_id": made, "type": "save_weights_for_sampler"})

    return told(work.in_turn(ask, model, request.seq_id, whole(save)))


async def save_weights_external(work: Work, ask: Ask) -> Json:
    """Save the present weights as files that can be fetched."""
    request = wire.SaveWeightsExternalRequest.model_validate_json(ask.body)
    model, expires_at = work.state.model(request.model_id), expiry(request.ttl_seconds)

    async def save() -> Result[Wire, TrainError]:
        if request.age_encryption_recipients:
            return Failure(Unsupported(feature="encrypting weights", backend="this server"))
        done = await _save_for_sampler(work, model, request.path)
        if isinstance(done, Failure):
            return done
        folder = done.unwrap().path
        size = _size(Path(folder))
        if size is None:
            return Failure(Unsupported(feature="weights as files", backend="the handler behind this server"))
        saved = _saved(model, "external_weights", request.path, folder, size_bytes=size)
        path = work.state.shelf.put(saved.with_notes(None, expires_at))
        return done.map(lambda _: {"path": path, "size_bytes": size, "type": "save_weights_external"})

    return told(work.in_turn(ask, model, request.seq_id, whole(save)))


async def _save_for_sampler(work: Work, model: Model, name: str) -> Result[SamplerWeights, TrainError]:
    return await work.call(TrainingClient.save_sampler_weights, model.training, work.place(model.id, name))


def _saved(model: Model, kind: Kind, name: str, place: str, *, size_bytes: int | None = None) -> Saved:
    return Saved(run_id=model.id, kind=kind, name=name, place=place, config=model.config, size_bytes=size_bytes)


def _size(folder: Path) -> int | None:
    """Give the bytes that a folder's files have; None for what is no folder."""
    return sum(file.stat().st_size for file in folder.iterdir()) if folder.is_dir() else None
