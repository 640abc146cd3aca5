"""Models from fresh adapters and from checkpoints."""

import warnings
from typing import TYPE_CHECKING, TypedDict

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.tinkex.backend import TinkerBackend
from crucible.kitchen.handlers.tinkex.errors import About
from crucible.kitchen.handlers.tinkex.waiting import in_thread
from crucible.train.errors import InvalidRequest, TrainError, Unsupported
from crucible.train.types import LoraConfig, SessionConfig

if TYPE_CHECKING:
    import tinker

ALPHA = 32.0
"""The alpha of every adapter on the Tinker service: it cannot be chosen."""


class LoraArguments(TypedDict):
    """The adapters of a model, as the SDK takes them."""

    rank: int
    seed: int
    train_mlp: bool
    train_attn: bool
    train_unembed: bool


def lora_arguments(lora: LoraConfig) -> Result[LoraArguments, TrainError]:
    """Give adapters as the SDK's arguments.

    Fails: Unsupported for another alpha than 32, InvalidRequest for adapters on no layer.
    """
    if lora.alpha != ALPHA:
        fix = f"leave LoraConfig(alpha={ALPHA:g})"
        return Failure(Unsupported(feature=f"a LoRA alpha of {lora.alpha:g}", backend="the Tinker API", fix=fix))
    if not (lora.train_mlp or lora.train_attn or lora.train_unembed):
        fix = "set train_mlp, train_attn or train_unembed"
        return Failure(InvalidRequest(message="no layer is trained", fix=fix))
    return Success(
        LoraArguments(
            rank=lora.rank,
            seed=lora.seed,
            train_mlp=lora.train_mlp,
            train_attn=lora.train_attn,
            train_unembed=lora.train_unembed,
        )
    )


async def fresh_client(
    backend: TinkerBackend, service: "tinker.ServiceClient", config: SessionConfig
) -> "Result[tinker.TrainingClient, TrainError]":
    """Make a model with fresh adapters."""
    arguments = lora_arguments(config.lora)
    if isinstance(arguments, Failure):
        return arguments
    metadata = dict(config.metadata) or None
    return await backend.ask(
        lambda: service.create_lora_training_client(
            config.model, user_metadata=metadata, **arguments.unwrap()
        ).future(),
        About(kind="model", name=config.model),
    )


async def restored_client(
    backend: TinkerBackend, service: "tinker.ServiceClient", config: SessionConfig, path: str, *, with_optimizer: bool
) -> "Result[tinker.TrainingClient, TrainError]":
    """Make a model from a checkpoint.

    Servers older than the SDK refuse that. They load a checkpoint into a fresh model, as its first request.
    """
    about = About(kind="checkpoint", name=path)
    create = (
        service.create_training_client_from_state_with_optimizer
        if with_optimizer
        else service.create_training_client_from_state
    )
    made = await backend.ask(lambda: create(path, user_metadata=dict(config.metadata) or None).future(), about)
    if not (isinstance(made, Failure) and _is_too_new(made.failure())):
        return made
    fresh = await fresh_client(backend, service, config)
    if isinstance(fresh, Failure):
        return fresh
    client = fresh.unwrap()
    loaded = await backend.ask(lambda: in_thread(lambda: _load(client, path, with_optimizer=with_optimizer)), about)
    return loaded.map(lambda _: client)


def _is_too_new(error: TrainError) -> bool:
    """Tell whether the server did not understand the request: it asks for the id of a model, as old ones do."""
    return isinstance(error, Unsupported) or (isinstance(error, InvalidRequest) and "model_id" in error.message)


def _load(client: "tinker.TrainingClient", path: str, *, with_optimizer: bool) -> object:
    """Load a checkpoint the old way; blocks."""
    load = client.load_state_with_optimizer if with_optimizer else client.load_state
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, and all that old servers know
        return load(path).future().result()


async def metadata_of(backend: TinkerBackend, path: str) -> Result[dict[str, str], TrainError]:
    """Give what was saved with a checkpoint, the number of its optimizer steps too; nothing where the server keeps none."""
    rest = await backend.rest()
    if isinstance(rest, Failure):
        return rest
    run = path.removeprefix("tinker://").partition("/")[0]
    listed = await backend.ask(
        lambda: rest.unwrap().list_checkpoints(run).future(),
        About(kind="checkpoint", name=path),
        seconds=backend.config.connect_seconds,
    )
    return listed.map(
        lambda found: next((dict(one.user_metadata or {}) for one in found.checkpoints if one.tinker_path == path), {})
    )
