"""The procedural tasks of `reasoning_gym` as datasets, and its verifiers as an evaluator; needs the extra `demo`."""

from collections.abc import Mapping
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

__all__ = ["ReasoningGymEvaluator", "datasets", "tasks", "verifier"]

_SPLIT_SEEDS: Mapping[str, int] = {"train": 0, "test": 1_000_000_007}


class _Task(Protocol):
    """What we use of a task of the library, which carries no types."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict[str, object]: ...
    def score_answer(self, answer: str, entry: dict[str, object]) -> float: ...


def datasets() -> Handlers[DatasetStore]:
    """Handle datasets named after a task, such as `chain_sum`, with the splits `train` and `test`.

    `DatasetConfig.options` are the task's own, and `size` (1000 rows) and `seed` (0). The two splits are drawn from seeds
    far apart; rows of `test` whose question stands in `train` too are left out, so what is held out was never seen.
    """
    return DatasetStore.handled_by(RowStore(_read_split))


def verifier() -> Handlers[Evaluator]:
    """Judge answers by the task's own verifier: the score of an example is what it gives, accuracy the share of 1.0."""
    return Evaluator.handled_by(ReasoningGymEvaluator())


def tasks() -> "Iterable[str]":
    """Give the names of all tasks."""
    from reasoning_gym.factory import DATASETS

    return sorted(DATASETS)


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
        scores = tuple(_score(task, example.answer, example.row) for example in request.examples)
        values = {
            "accuracy": sum(score == 1.0 for score in scores) / len(scores),
            "mean_score": sum(scores) / len(scores),
        }
        return Success(EvaluationReport(metrics={name: values[name] for name in request.metrics}, scores=scores))


def _score(task: _Task, answer: str, row: Row) -> float:
    entry = {"question": row["question"], "answer": row["answer"], "metadata": row["metadata"]}
    return float(task.score_answer(answer.strip(), entry))


def _read_split(config: DatasetConfig) -> Result[tuple[Row, ...], TrainError]:
    if config.split not in _SPLIT_SEEDS:
        fix = f"the splits are {', '.join(_SPLIT_SEEDS)}"
        return Failure(NotFound(kind="split", name=f"{config.name}/{config.split}", fix=fix))
    return _rows(config, "train").bind(
        lambda train: (
            Success(train)
            if config.split == "train"
            else _rows(config, "test").map(lambda test: _without({row["question"] for row in train}, test))
        )
    )


def _rows(config: DatasetConfig, split: str) -> Result[tuple[Row, ...], TrainError]:
    seed = config.options.get("seed", 0)
    if not isinstance(seed, int):
        return Failure(InvalidRequest(message=f"seed must be a whole number, not {seed!r}"))
    return _task(config, seed=seed + _SPLIT_SEEDS[split]).map(
        lambda task: tuple(map(_row, map(task.__getitem__, range(len(task)))))
    )


def _row(entry: dict[str, object]) -> Row:
    messages = [
        {"role": "user", "content": str(entry["question"])},
        {"role": "assistant", "content": str(entry["answer"])},
    ]
    return {**entry, "messages": messages}


def _without(questions: set[object], rows: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple(row for row in rows if row["question"] not in questions)


def _task(config: DatasetConfig, *, seed: int) -> Result[_Task, TrainError]:
    try:
        import reasoning_gym
    except ImportError:
        return Failure(MissingExtra(extra="demo", package="reasoning-gym"))
    options = {"size": 1000, **{name: value for name, value in config.options.items() if name != "seed"}}
    try:
        task: _Task = reasoning_gym.create_dataset(config.name, seed=seed, **options)
    except (ValueError, TypeError, AssertionError) as error:
        return Failure(NotFound(kind="task", name=config.name, fix=f"{error}; see reasoning_gym.factory.DATASETS"))
    return Success(task)
