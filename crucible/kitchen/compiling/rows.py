"""The rows that an experiment reads, and who judges answers to them: by the provider of each dataset."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Never

from crucible.effects import Handlers, Port
from crucible.ir import DatasetRef, EvaluatorRef, Experiment, FeedbackLoopSpec, Problem, ReinforcementSpec
from crucible.kitchen.compiling.configs import FEEDBACK, dataset_config
from crucible.kitchen.compiling.options import made_with, nearest, option_problems
from crucible.kitchen.compiling.routing import routed
from crucible.kitchen.compiling.supplies import Found, Places, Supply, missing_extra
from crucible.kitchen.handlers import hf, math, noop, reasoning_gym, scorers
from crucible.kitchen.ports import Evaluator
from crucible.train.errors import InvalidRequest, NotFound
from crucible.train.ports import DatasetStore
from crucible.train.types import Row

_STREAMS = ("file", "huggingface")
_HF_OPTIONS = ("data_files", "shuffle_buffer")


def datasets_of(experiment: Experiment) -> Mapping[str, DatasetRef]:
    """Give the datasets of an experiment by their paths in the spec."""
    found = {} if experiment.dataset is None else {"dataset": experiment.dataset}
    training = experiment.training
    if isinstance(training, FeedbackLoopSpec):
        held_out = training.retraining.held_out_datasets
        return {"training.export": FEEDBACK} | {f"training.retraining.{path}": it for path, it in held_out.items()}
    held_out = {} if training is None else training.held_out_datasets
    return found | {f"training.{path}": it for path, it in held_out.items()}


def rows_found(experiment: Experiment, needed: frozenset[type[Port]]) -> Iterator[Found]:
    """Give the handlers of datasets, and what is wrong with the datasets; nothing where no stage reads one."""
    refs = datasets_of(experiment)
    if experiment.dataset is not None and "dataset" not in refs:
        message = "a feedback loop trains on what it exports, and reads no other rows"
        yield Problem(path="dataset", message=message, fix="leave it out")
    if DatasetStore not in needed or not refs:
        return
    rehearsed = experiment.backend.id == "noop"
    problems = [problem for path, ref in refs.items() for problem in _dataset_problems(ref, path, rehearsed=rehearsed)]
    yield from problems
    if problems:
        return
    stores = {path: _store_of(ref, rehearsed=rehearsed) for path, ref in refs.items()}
    if experiment.feedback is not None and experiment.feedback.storage == "noop":
        stores = {path: NOWHERE if refs[path] is FEEDBACK else name for path, name in stores.items()}
    names = sorted(set(stores.values()))
    routes = [(dataset_config(ref), stores[path]) for path, ref in refs.items() if ref is not FEEDBACK]
    exported = stores.get("training.export", names[0])  # what the loop exports has the name of a file

    def make(places: Places) -> Handlers[Never]:
        held = noop.Blobs()
        handlers = {name: _STORES[name](held) for name in names}
        rows = handlers[names[0]] if len(names) == 1 else routed(handlers, routes, exported)
        return rows | noop.feedback(blobs=held) if NOWHERE in names else rows

    yield Supply(said=f"rows from {' and '.join(names)}", make=make, is_service=True)


def evaluator_found(experiment: Experiment, needed: frozenset[type[Port]]) -> Iterator[Found]:
    """Give who judges answers: who is named, or who belongs to the rows that are judged; nobody where no stage asks."""
    judged = _judged(experiment)
    is_asked = Evaluator in needed and (experiment.training is None or bool(judged))
    if experiment.evaluator is not None and not is_asked:
        fix = "give training.evaluation, or leave it out"
        yield Problem(path="evaluator", message="no answers are judged, so it would never be asked", fix=fix)
    if Evaluator not in needed:
        return
    rows = judged.values() or [ref for ref in (experiment.dataset,) if ref is not None]
    own_verifier = {ref.provider == "reasoning_gym" for ref in rows}
    if experiment.evaluator is None and len(own_verifier) > 1:
        message = "rows of reasoning_gym are judged by their own verifier, and the others are not"
        yield Problem(path="evaluator", message=message, fix="say which one is to judge")
        return
    by_default = EvaluatorRef(provider="reasoning_gym" if own_verifier == {True} else "scorers")
    named = experiment.evaluator or by_default
    problems = list(_evaluator_problems(named, judged))
    yield from problems
    if not problems:
        options = dict(named.options)
        said = {"reasoning_gym": "the task's own verifier", "math": "math-verify", "scorers": "texts are compared"}
        maker = _EVALUATORS[named.provider]
        yield Supply(said=said[named.provider], make=lambda _: made_with(maker, options), is_service=True)


def _judged(experiment: Experiment) -> Mapping[str, DatasetRef]:
    """Give the datasets whose answers are judged: those measured on, and what reinforcement learning trains on."""
    training, refs = experiment.training, datasets_of(experiment)
    judged = {path: ref for path, ref in refs.items() if path.endswith("evaluation.dataset")}
    if isinstance(training, ReinforcementSpec) and "dataset" in refs:
        judged["dataset"] = refs["dataset"]
    return judged


def _evaluator_problems(named: EvaluatorRef, judged: Mapping[str, DatasetRef]) -> Iterator[Problem]:
    owner = f"the evaluator {named.provider}"
    hidden = ("scorers", "without")
    yield from option_problems(owner, _EVALUATORS[named.provider], named.options, "evaluator.options", hidden=hidden)
    score = named.options.get("score")
    if named.provider == "scorers" and isinstance(score, str) and score not in scorers.SCORERS:
        fix = nearest(score, scorers.SCORERS)
        yield Problem(path="evaluator.options.score", message=f"there is no scorer {score!r}", fix=fix)
    seconds = named.options.get("seconds")
    if isinstance(seconds, int | float) and seconds <= 0:
        message = f"must be above 0, not {seconds}"
        yield Problem(path="evaluator.options.seconds", message=message, fix="raise it")
    if named.provider == "reasoning_gym":
        for path, ref in judged.items():
            if ref.provider != "reasoning_gym":
                message = f"judges rows of its own tasks, and {path} is of the provider {ref.provider}"
                yield Problem(path="evaluator.provider", message=message, fix="take scorers, or math")
    missing = {
        "reasoning_gym": missing_extra("demo", "reasoning_gym", path="evaluator"),
        "math": missing_extra("math", "math_verify", path="evaluator"),
    }.get(named.provider)
    if missing is not None:
        yield missing


def _store_of(ref: DatasetRef, *, rehearsed: bool) -> str:
    if ref is FEEDBACK or ref.provider == "file":
        return "files"
    if ref.provider == "reasoning_gym":
        return "reasoning-gym"
    return MADE_UP if rehearsed else "the Hugging Face hub"


def _dataset_problems(ref: DatasetRef, path: str, *, rehearsed: bool) -> Iterator[Problem]:
    store = _store_of(ref, rehearsed=rehearsed)
    if ref.streaming and ref.provider not in _STREAMS:
        message = f"the provider {ref.provider} does not stream"
        yield Problem(path=f"{path}.streaming", message=message, fix="leave it out")
    if ref.num_rows is not None and path.endswith("held_out"):
        message = "all rows that are held out are read"
        yield Problem(path=f"{path}.num_rows", message=message, fix="leave it out, or hold a smaller split out")
    if store == "reasoning-gym":
        yield from _task_problems(ref, path)
    elif store != MADE_UP:
        missing = missing_extra("hf", "datasets", path=path)
        if missing is not None:
            yield missing
        yield from _file_problems(ref, path)


def _task_problems(ref: DatasetRef, path: str) -> Iterator[Problem]:
    missing = missing_extra("demo", "reasoning_gym", path=path)
    if missing is not None:
        yield missing
        return
    known = reasoning_gym.options_of(ref.name)
    unknown = [name for name in ref.options if known and name not in known]
    for name in unknown:
        message = f"the task {ref.name} has no option {name!r}"
        yield Problem(path=f"{path}.options.{name}", message=message, fix=nearest(name, known))
    refused = None if unknown else reasoning_gym.refused(dataset_config(ref))
    if isinstance(refused, InvalidRequest):
        yield Problem(path=f"{path}.options", message=refused.message, fix="correct the options of the dataset")
    elif isinstance(refused, NotFound):
        place = "name" if refused.kind == "task" else "split"
        message = f"there is no {refused.kind} {refused.name!r}"
        yield Problem(path=f"{path}.{place}", message=message, fix=refused.fix)
    elif refused is not None:
        yield Problem(path=path, message=str(refused), fix="correct the dataset")


def _file_problems(ref: DatasetRef, path: str) -> Iterator[Problem]:
    if ref.provider == "file" and ref is not FEEDBACK and not Path(ref.name).exists():
        yield Problem(path=f"{path}.name", message=f"there is no file or folder {ref.name}", fix="correct the path")
    for name in ref.options:
        if name not in _HF_OPTIONS:
            message = f"the provider {ref.provider} has no option {name!r}"
            yield Problem(path=f"{path}.options.{name}", message=message, fix=nearest(name, _HF_OPTIONS))


MADE_UP = "made-up conversations"
NOWHERE = "feedback that is kept nowhere"

_STORES: Mapping[str, Callable[[noop.Blobs], Handlers[DatasetStore]]] = {
    "files": lambda _: hf.datasets(),
    "reasoning-gym": lambda _: reasoning_gym.datasets(),
    "the Hugging Face hub": lambda _: hf.datasets(),
    MADE_UP: lambda _: noop.datasets(rows=REHEARSED),
    NOWHERE: lambda held: noop.datasets(rows=REHEARSED, blobs=held),
}
_EVALUATORS: Mapping[str, Callable[..., Handlers[Never]]] = {
    "reasoning_gym": reasoning_gym.verifier,
    "math": math.verifier,
    "scorers": scorers.evaluator,
}


def _pairs(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Give each conversation the answer to it, and the one to the next as a wrong one."""
    answers = [exchange["messages"][1]["content"] for exchange in rows]  # type: ignore[index]  # conversations of two messages
    questions = [exchange["messages"][0]["content"] for exchange in rows]  # type: ignore[index]  # the same
    return tuple(
        {**row, "prompt": questions[place], "chosen": answers[place], "rejected": answers[place - 1]}
        for place, row in enumerate(rows)
    )


REHEARSED: Mapping[str, tuple[Row, ...]] = {split: _pairs(rows) for split, rows in noop.DEFAULT_SPLITS.items()}
"""The rows of a rehearsal: conversations that every training method can use."""
