"""The procedural tasks of `reasoning_gym` as datasets, and its verifiers as an evaluator; needs the extra `demo`."""

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Protocol

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers.rows import RowStore
from crucible.kitchen.ports import EvaluationReport, EvaluationRequest, Evaluator
from crucible.train.errors import InvalidRequest, MissingExtra, NotFound, TrainError
from crucible.train.ports import DatasetStore
from crucible.train.types import DatasetConfig, Row

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ReasoningGymEvaluator", "datasets", "options_of", "refused", "tasks", "verifier"]

_LOOK_AHEAD = 8  # rows that are looked at for an answer to reject
_SPLIT_SEEDS: Mapping[str, int] = {"train": 0, "test": 1_000_000_007}

# The library draws row i from seed + i, so that neighbouring seeds would share nearly all rows: ours are laid far apart, by
# steps of the golden ratio. Some tasks take no seed beyond 32 bits.
_NUM_SEEDS = 2**31
_SEED_STRIDE = 1_327_217_885
_BAD_OPTIONS = (ValueError, TypeError, AssertionError)
_ENTRY = frozenset({"question", "answer", "metadata"})


class _Task(Protocol):
    """What we use of a task of the library, which carries no types."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict[str, object]: ...
    def score_answer(self, answer: str, entry: dict[str, object]) -> float: ...


def datasets() -> Handlers[DatasetStore]:
    """Handle datasets named after a task, such as `chain_sum`, with the splits `train` and `test`.

    Each row is a conversation (`messages`) and, where another row's answer is wrong for it, a pair (`prompt`, `chosen`,
    `rejected`). `DatasetConfig.options` are the task's own, and `size` (1000 rows) and `seed` (0). The two splits are drawn from seeds
    far apart, and rows of `test` whose question stands in the `train` of the same options are left out. So give both splits the
    same options, `size` and `seed` too, for what is held out never to be seen.
    A task without reference answers gives rows without an assistant message: something to sample for, not to imitate.
    """
    return DatasetStore.handled_by(RowStore(_read_split))


def verifier() -> Handlers[Evaluator]:
    """Judge answers by the task's own verifier: the score of an example is what it gives, accuracy the share of 1.0.

    An answer that a verifier cannot read scores 0.
    """
    return Evaluator.handled_by(ReasoningGymEvaluator())


def tasks() -> "Iterable[str]":
    """Give the names of all tasks."""
    from reasoning_gym.factory import DATASETS

    return sorted(DATASETS)


def refused(config: DatasetConfig) -> TrainError | None:
    """Say why there is no such dataset, without drawing its rows; None when there is."""
    if config.split not in _SPLIT_SEEDS:
        return _no_split(config)
    made = _seed_of(config, "train").bind(lambda seed: _task(config, seed=seed))
    return made.failure() if isinstance(made, Failure) else None


def options_of(task: str) -> tuple[str, ...]:
    """Give the names of the options of a task, `seed` and `size` among them; none for a task that is not there."""
    from reasoning_gym.factory import DATASETS

    return tuple(field.name for field in fields(DATASETS[task][1])) if task in DATASETS else ()


class ReasoningGymEvaluator(Evaluator):
    """Judges by the task's verifier. The metrics are `accuracy` and `mean_score`."""

    async def evaluate(self, request: EvaluationRequest) -> Result[EvaluationReport, KitchenError]:
        """Score each answer against its row."""
        unknown = set(request.metrics) - {"accuracy", "mean_score"}
        if unknown or not request.examples:
            fix = "ask for accuracy or mean_score, on at least one example"
            return Failure(
                InvalidRequest(message=f"cannot judge {sorted(unknown)} on {len(request.examples)}", fix=fix)
            )
        made = _task(DatasetConfig(name=request.dataset, options={"size": 1}), seed=0)
        if isinstance(made, Failure):
            return Failure(NotFound(kind="task", name=request.dataset, fix=str(made.failure())))
        task = made.unwrap()
        bare = next((i for i, example in enumerate(request.examples) if not example.row.keys() >= _ENTRY), None)
        if bare is not None:
            fix = f"a row of a task has {', '.join(sorted(_ENTRY))}: load it from this handler's datasets"
            return Failure(InvalidRequest(message="the verifier cannot judge this row", fix=fix, index=bare))
        scores = tuple(_score(task, example.answer, example.row) for example in request.examples)
        values = {
            "accuracy": sum(score == 1.0 for score in scores) / len(scores),
            "mean_score": sum(scores) / len(scores),
        }
        return Success(EvaluationReport(metrics={name: values[name] for name in request.metrics}, scores=scores))


def _score(task: _Task, answer: str, row: Row) -> float:
    try:
        score = float(task.score_answer(answer.strip(), {name: row[name] for name in _ENTRY}))
    except Exception:  # noqa: BLE001  # verifiers of the library raise all kinds on answers that they cannot read
        return 0.0
    return score if 0.0 <= score <= 1.0 else 0.0


def _read_split(config: DatasetConfig) -> Result[tuple[Row, ...], TrainError]:
    if config.split not in _SPLIT_SEEDS:
        return Failure(_no_split(config))
    return _rows(config, "train").bind(
        lambda train: (
            Success(train)
            if config.split == "train"
            else _rows(config, "test").map(lambda test: _without({row["question"] for row in train}, test))
        )
    )


def _no_split(config: DatasetConfig) -> NotFound:
    fix = f"the splits are {', '.join(_SPLIT_SEEDS)}"
    return NotFound(kind="split", name=f"{config.name}/{config.split}", fix=fix)


def _rows(config: DatasetConfig, split: str) -> Result[tuple[Row, ...], TrainError]:
    return _seed_of(config, split).bind(lambda seed: _task(config, seed=seed)).bind(lambda task: _drawn(task, config))


def _seed_of(config: DatasetConfig, split: str) -> Result[int, TrainError]:
    seed = config.options.get("seed", 0)
    if not isinstance(seed, int) or seed < 0:  # the library's generator takes -1 for 1
        return Failure(InvalidRequest(message=f"seed must be a whole number from 0 on, not {seed!r}"))
    return Success((seed * _SEED_STRIDE + _SPLIT_SEEDS[split]) % _NUM_SEEDS)


def _drawn(task: _Task, config: DatasetConfig) -> Result[tuple[Row, ...], TrainError]:
    try:
        return Success(_paired(task, tuple(map(_row, map(task.__getitem__, range(len(task)))))))
    except _BAD_OPTIONS as error:
        return Failure(_bad_options(config, error))


def _row(entry: dict[str, object]) -> Row:
    messages = [{"role": "user", "content": str(entry["question"])}]
    if entry["answer"] is not None:
        messages.append({"role": "assistant", "content": str(entry["answer"])})
    return {**entry, "messages": messages}


def _paired(task: _Task, rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Give each row `prompt`, `chosen` (its answer) and `rejected`: a row's near it that the verifier refuses for it."""
    return tuple(
        row if wrong is None else {**row, "prompt": row["question"], "chosen": row["answer"], "rejected": wrong}
        for place, row in enumerate(rows)
        for wrong in [_refused(task, row, [rows[(place + i) % len(rows)] for i in range(1, _LOOK_AHEAD + 1)])]
    )


def _refused(task: _Task, row: Row, others: list[Row]) -> str | None:
    if row["answer"] is None:
        return None
    answers = (other["answer"] for other in others)
    return next((one for one in answers if isinstance(one, str) and _score(task, one, row) < 1.0), None)


def _without(questions: set[object], rows: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple(row for row in rows if row["question"] not in questions)


def _task(config: DatasetConfig, *, seed: int) -> Result[_Task, TrainError]:
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError:
        return Failure(MissingExtra(extra="demo", package="reasoning-gym"))
    if config.name not in DATASETS:
        near = get_close_matches(config.name, DATASETS, n=3, cutoff=0.5)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        return Failure(NotFound(kind="task", name=config.name, fix=f"{meant}reasoning_gym.tasks() gives all names"))
    options = {"size": 1000, **{name: value for name, value in config.options.items() if name != "seed"}}
    try:
        task: _Task = reasoning_gym.create_dataset(config.name, seed=seed, **options)
    except _BAD_OPTIONS as error:
        return Failure(_bad_options(config, error))
    return Success(task)


def _bad_options(config: DatasetConfig, error: Exception) -> InvalidRequest:
    message = f"task {config.name!r} does not take the options {dict(config.options)}: {error}"
    return InvalidRequest(message=message, fix="correct DatasetConfig.options")
