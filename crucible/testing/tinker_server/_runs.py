"""The endpoints that list and change what was trained and saved."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs

from crucible.effects import Failure
from crucible.testing.tinker_server._state import Kind, Model, RefusedError, Saved, expiry
from crucible.testing.tinker_server._work import Ask, Json, Work
from crucible.train.ports import TrainingClient
from crucible.train.types import SamplerWeights


async def list_runs(work: Work, ask: Ask) -> Json:
    """List the models in training, the one last used first."""
    models = sorted(work.state.models.values(), key=lambda model: model.last_request_time, reverse=True)
    shown = [_run(work, model) for model in models[ask.offset : ask.offset + ask.limit]]
    return {"training_runs": shown, "cursor": _cursor(ask, len(models))}


async def get_run(work: Work, ask: Ask) -> Json:
    """Say what is known of a model in training."""
    return _run(work, _model(work, ask))


async def list_run_checkpoints(work: Work, ask: Ask) -> Json:
    """List what was saved of a model."""
    model = _model(work, ask)
    return {"checkpoints": [saved.as_json() for saved in work.state.shelf if saved.run_id == model.id]}


async def list_checkpoints(work: Work, ask: Ask) -> Json:
    """List what was saved of all models, the newest first."""
    saved = list(reversed(list(work.state.shelf)))
    shown = [one.as_json() for one in saved[ask.offset : ask.offset + ask.limit]]
    return {"checkpoints": shown, "cursor": _cursor(ask, len(saved))}


async def weights_info(work: Work, ask: Ask) -> Json:
    """Say what training from a checkpoint needs to know."""
    path = str(ask.json("tinker_path"))
    saved = work.state.shelf.find(path)
    if saved is None:
        raise RefusedError(404, f"{path} was not found")
    lora = saved.config.lora
    return {
        "base_model": saved.config.model,
        "is_lora": True,
        "lora_rank": lora.rank,
        "train_unembed": lora.train_unembed,
        "train_mlp": lora.train_mlp,
        "train_attn": lora.train_attn,
    }


async def delete_checkpoint(work: Work, ask: Ask) -> Json:
    """Forget what was saved. Weights for sampling are deleted on the handlers too; other files are the handlers', and stay."""
    saved = _saved(work, ask)
    work.state.shelf.drop(saved.path)
    if saved.kind == "sampler_weights":
        weights = SamplerWeights(path=saved.place, model=saved.config.model, step=0)
        deleted = await work.call(TrainingClient.delete_sampler_weights, weights)
        if isinstance(deleted, Failure):
            raise RefusedError.of(deleted.failure())
    return {}


async def publish(work: Work, ask: Ask) -> Json:
    """Let everybody read a checkpoint."""
    work.state.shelf.put(attrs.evolve(_saved(work, ask), public=True))
    return {}


async def unpublish(work: Work, ask: Ask) -> Json:
    """Let only its owner read a checkpoint."""
    work.state.shelf.put(attrs.evolve(_saved(work, ask), public=False))
    return {}


async def set_ttl(work: Work, ask: Ask) -> Json:
    """Give a checkpoint a time to live, from now; null is for ever."""
    seconds = ask.json("ttl_seconds")
    end = expiry(int(str(seconds)) if seconds is not None else None)
    work.state.shelf.put(attrs.evolve(_saved(work, ask), expires_at=end))
    return {}


async def external_weights_urls(work: Work, ask: Ask) -> Json:
    """Give a URL for each file of saved weights; whoever has it needs no key, for an hour."""
    saved = _saved(work, ask)
    if saved.kind != "external_weights":
        raise RefusedError(400, f"{saved.path} has no files to fetch")
    expires = datetime.now(UTC) + timedelta(hours=1)
    urls = {file.name: work.sign(file, expires) for file in _files(Path(saved.place))}
    return {"urls": urls, "expires": expires.isoformat()}


def _model(work: Work, ask: Ask) -> Model:
    model = work.state.models.get(ask.words["run"])
    if model is None:
        raise RefusedError(404, f"training run {ask.words['run']} was not found")
    return model


def _saved(work: Work, ask: Ask) -> Saved:
    path = f"tinker://{ask.words['run']}/{ask.words['kind']}/{ask.words['name']}"
    saved = work.state.shelf.find(path)
    if saved is None:
        raise RefusedError(404, f"{path} was not found")
    return saved


def _cursor(ask: Ask, total: int) -> Json:
    return {"offset": ask.offset, "limit": ask.limit, "total_count": total}


def _run(work: Work, model: Model) -> Json:
    def last(kind: Kind) -> Json | None:
        found = [saved for saved in work.state.shelf if saved.run_id == model.id and saved.kind == kind]
        return found[-1].as_json() if found else None

    return {
        "training_run_id": model.id,
        "base_model": model.config.model,
        "model_owner": "tester",
        "is_lora": True,
        "lora_rank": model.config.lora.rank,
        "last_request_time": model.last_request_time.isoformat(),
        "last_checkpoint": last("weights"),
        "last_sampler_checkpoint": last("sampler_weights"),
        "user_metadata": model.user_metadata,
    }


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file())
