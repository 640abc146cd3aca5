"""The backends that an experiment can name: nothing, this machine, a Tinker server."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Never

import attrs

from crucible.effects import Handlers, deadline
from crucible.ir import BackendRef, DistillationSpec, Experiment, FeedbackLoopSpec, ModelRef, Problem
from crucible.kitchen.compiling.options import made_with, option_problems
from crucible.kitchen.compiling.reliability import voting_of
from crucible.kitchen.compiling.supplies import Found, Places, Supply, missing_extra
from crucible.kitchen.handlers import chat, ensemble, noop, tinkex
from crucible.kitchen.handlers import torch as torch_handlers
from crucible.train.ports import CustomLossClient, LLMClient, SamplingClient, TopLogprobsClient, TrainingClient
from crucible.train.types import SamplingConfig


@attrs.frozen(kw_only=True)
class Backend:
    """The backend that is taken: the one that is named, or the fallback that can be used."""

    ref: BackendRef
    path: str


def chosen(experiment: Experiment) -> Backend | Problem:
    """Take the first of a backend and its fallbacks whose packages are installed."""
    ref: BackendRef | None = experiment.backend
    path, first = "backend", None
    while ref is not None:
        missing = _missing(ref, path)
        if missing is None:
            return Backend(ref=ref, path=path)
        first = first or missing
        ref, path = ref.fallback, f"{path}.fallback"
    assert first is not None
    return first


def backend_found(experiment: Experiment) -> Iterator[Found]:
    """Give the handlers of the backend, and what is wrong with its options and the models that it is asked for."""
    backend = chosen(experiment)
    if isinstance(backend, Problem):
        yield backend
        return
    ref = backend.ref
    problems = [
        *_option_problems(experiment.backend),
        *(problem for path, model in experiment.models.items() for problem in _model_problems(model, path)),
        *(_saved_problems(experiment) if ref.id == "torch" else ()),
    ]
    yield from problems
    if problems:
        return
    try:
        made = _MAKERS[ref.id](ref.options, experiment)
    except ValueError as error:
        yield Problem(path=f"{backend.path}.options", message=str(error), fix="correct it")
        return
    instead = "" if backend.path == "backend" else f", as {experiment.backend.id} cannot be used here"
    yield attrs.evolve(made, said=made.said + instead)


def _missing(ref: BackendRef, path: str) -> Problem | None:
    if ref.id == "torch":
        return missing_extra("torch", "torch", "transformers", "safetensors", path=path)
    return missing_extra("tinkex", "tinker", path=path) if ref.id == "tinker" else None


def _option_problems(backend: BackendRef) -> Iterator[Problem]:
    """Name what is wrong with the options of a backend and of its fallbacks, which may be taken on another machine."""
    ref: BackendRef | None = backend
    path = "backend"
    while ref is not None:
        taker, hidden = _TAKERS[ref.id]
        yield from option_problems(f"the backend {ref.id}", taker, ref.options, f"{path}.options", hidden=hidden)
        yield from _too_small(ref.options, f"{path}.options")
        ref, path = ref.fallback, f"{path}.fallback"


def _too_small(options: Mapping[str, object], path: str) -> Iterator[Problem]:
    """Name numbers with which a backend could do nothing."""
    for name in ("max_length", "num_threads"):
        number = options.get(name)
        if isinstance(number, int) and number < 1:
            yield Problem(path=f"{path}.{name}", message=f"must be at least 1, not {number}", fix="raise it")


def _model_problems(model: ModelRef, path: str) -> Iterator[Problem]:
    if model.revision is not None:
        fix = "download that revision, and give its folder as a local model"
        yield Problem(path=f"{path}.revision", message="no backend takes a revision of a model", fix=fix)
    for name in model.options:
        yield Problem(path=f"{path}.options.{name}", message="no backend takes it", fix="leave it out")
    looks_like_a_file = model.provider == "local" or model.id.endswith(".gguf")
    if looks_like_a_file and not Path(model.id).exists():
        yield Problem(path=f"{path}.id", message=f"there is no file or folder {model.id}", fix="correct the path")


def _saved_problems(experiment: Experiment) -> Iterator[Problem]:
    """Name checkpoints and weights that are not on this machine's disk."""
    training = experiment.training
    named = training.retraining if isinstance(training, FeedbackLoopSpec) else training
    below = "training.retraining" if isinstance(training, FeedbackLoopSpec) else "training"
    paths = {f"{below}.{name}": getattr(named, name, None) for name in ("resume_from", "start_from", "reference_path")}
    if isinstance(training, DistillationSpec):
        paths |= {
            f"training.teachers[{place}].weights_path": it.weights_path for place, it in enumerate(training.teachers)
        }
    for path, saved in paths.items():
        if saved is not None and not Path(saved).exists():
            yield Problem(path=path, message=f"there is nothing saved at {saved}", fix="correct the path")


def _noop(options: Mapping[str, object], experiment: Experiment) -> Supply:
    seed = options.get("seed", experiment.seed)
    length = options.get("max_length", 32_768)
    assert isinstance(seed, int)
    assert isinstance(length, int)

    def make(places: Places) -> Handlers[Never]:
        shelf = noop.Shelf()
        training = noop.training(seed=seed, max_length=length, shelf=shelf)
        speakers = _speakers(experiment, lambda _, number: noop.llm(seed=seed + number))
        return training | noop.sampling(seed=seed, shelf=shelf) | speakers | noop.completer(seed=seed)

    return Supply(said="noop: computes nothing real, and is there for rehearsals", make=make, is_service=True)


def _torch(options: Mapping[str, object], experiment: Experiment) -> Supply:
    def make(places: Places) -> Handlers[Never]:
        return _with_chat(made_with(torch_handlers.local, options, places.run), experiment)

    return Supply(said="torch on this machine", make=make, is_service=True)


def _tinker(options: Mapping[str, object], experiment: Experiment) -> Supply:
    config = made_with(tinkex.TinkerConfig, options)

    def make(places: Places) -> Handlers[Never]:
        return _with_chat(tinkex.remote(config), experiment)

    said = f"a Tinker server at {config.url}; {tinkex.expected(config, experiment.model.id)}"
    return Supply(said=said, make=make, is_service=True)


def _with_chat(
    backend: Handlers[TrainingClient | CustomLossClient | SamplingClient | TopLogprobsClient], experiment: Experiment
) -> Handlers[Never]:
    """Let the model of the experiment, or its ensemble, be talked to as well, for stages that ask a chat model."""

    def speaking(model: ModelRef, number: int) -> Handlers[LLMClient]:
        return chat.on_sampling(backend, SamplingConfig(model=model.id), seed=experiment.seed + number)

    return backend | _speakers(experiment, speaking)


def _speakers(experiment: Experiment, speaking: Callable[[ModelRef, int], Handlers[LLMClient]]) -> Handlers[LLMClient]:
    spec = experiment.reliability.ensemble
    if spec is None or spec.strategy == "best_confidence" or spec.execution_mode == "hedged":
        return speaking(experiment.model, 0)
    members = {f"{model.id} ({number})": speaking(model, number) for number, model in enumerate(spec.models, 1)}
    if spec.timeout_seconds is not None:
        members = {name: deadline(member, seconds=spec.timeout_seconds) for name, member in members.items()}
    return ensemble.of(members, voting_of(spec, list(members)))


_TAKERS: Mapping[str, tuple[Callable[..., object], tuple[str, ...]]] = {
    "noop": (noop.training, ("shelf",)),
    "torch": (torch_handlers.local, ()),
    "tinker": (tinkex.TinkerConfig, ("api_key", "tokenizer", "capabilities")),
}
"""Who takes the options of a backend, and which of them do not belong in files."""

_MAKERS: Mapping[str, Callable[[Mapping[str, object], Experiment], Supply]] = {
    "noop": _noop,
    "torch": _torch,
    "tinker": _tinker,
}
