"""`RowStore`: a dataset store over rows in memory, whose handles say how they were made."""

from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Do, Eff, Failure, Result, Success, do, perform
from crucible.kitchen.handlers.rows import RowStore
from crucible.testing import check_dataset_store
from crucible.train.errors import InvalidRequest, NotFound, TrainError, Unavailable
from crucible.train.ports import DatasetStore
from crucible.train.types import Dataset, DatasetConfig, Row, permutation

CONFIG = DatasetConfig(name="numbers")


def numbers(config: DatasetConfig) -> Result[tuple[Row, ...], TrainError]:
    if config.name != "numbers" or config.split not in ("train", "test"):
        return Failure(NotFound(kind="dataset", name=f"{config.name}/{config.split}"))
    size = config.options.get("size", 12)
    assert isinstance(size, int)
    return Success(tuple({"n": n, "split": config.split} for n in range(size)))


def test_the_contract_of_a_dataset_store() -> None:
    check_dataset_store(
        lambda: DatasetStore.handled_by(RowStore(numbers)), config=CONFIG, other_split="test", missing="letters"
    )


steps = st.lists(
    st.tuples(st.just("shuffle"), st.integers(0, 3))
    | st.tuples(st.sampled_from(["take", "skip"]), st.integers(0, 15))
    | st.tuples(st.just("select"), st.lists(st.integers(0, 30), max_size=6)),
    max_size=5,
)


def expected(order: list[int], operation: str, argument: int | list[int]) -> list[int]:
    """Do a step on a plain list."""
    if isinstance(argument, list):
        return [order[index] for index in argument]
    shuffled = {"shuffle": lambda: [order[index] for index in permutation(len(order), seed=argument)]}
    return shuffled.get(operation, lambda: order[:argument] if operation == "take" else order[argument:])()


@do
def derived(
    chosen: Sequence[tuple[str, int | list[int]]],
) -> Do[TrainError, DatasetStore, tuple[Dataset, list[int]]]:
    """Do the steps, those that can be done, on the store and on a list beside it."""
    dataset = yield from perform(DatasetStore.load_dataset, CONFIG)
    order = list(range(12))
    for operation, argument in chosen:
        if isinstance(argument, list):
            argument = [index % len(order) for index in argument] if order else []
            dataset = yield from perform(DatasetStore.select, dataset, argument)
        elif operation == "shuffle":
            dataset = yield from perform(DatasetStore.shuffle, dataset, seed=argument)
        else:
            dataset = yield from perform(
                DatasetStore.take if operation == "take" else DatasetStore.skip, dataset, argument
            )
        order = expected(order, operation, argument)
    return dataset, order


def read(dataset: Dataset) -> Eff[tuple[Row, ...], TrainError, DatasetStore]:
    return perform(DatasetStore.read_rows, dataset)


@given(steps)
def test_steps_compose_as_on_a_list(chosen: list[tuple[str, int | list[int]]]) -> None:
    handlers = DatasetStore.handled_by(RowStore(numbers))
    dataset, order = handlers.run(derived(chosen)).unwrap()
    assert [row["n"] for row in handlers.run(read(dataset)).unwrap()] == order
    assert dataset.num_rows == len(order)


@given(steps)
def test_a_handle_outlives_the_store_that_made_it(chosen: list[tuple[str, int | list[int]]]) -> None:
    dataset, order = DatasetStore.handled_by(RowStore(numbers)).run(derived(chosen)).unwrap()
    rows = DatasetStore.handled_by(RowStore(numbers)).run(read(dataset)).unwrap()
    assert [row["n"] for row in rows] == order


@given(steps, st.integers(0, 15), st.none() | st.integers(0, 15))
def test_a_window_is_a_slice(chosen: list[tuple[str, int | list[int]]], start: int, count: int | None) -> None:
    handlers = DatasetStore.handled_by(RowStore(numbers))
    dataset, order = handlers.run(derived(chosen)).unwrap()
    rows = handlers.run(perform(DatasetStore.read_rows, dataset, start=start, count=count)).unwrap()
    assert [row["n"] for row in rows] == order[start:][:count]


def test_a_split_is_read_once_for_each_configuration() -> None:
    asked: list[DatasetConfig] = []

    def counting(config: DatasetConfig) -> Result[tuple[Row, ...], TrainError]:
        asked.append(config)
        return numbers(config)

    handlers = DatasetStore.handled_by(RowStore(counting))
    small = attrs.evolve(CONFIG, options={"size": 3})
    for config in (CONFIG, CONFIG, small, small):
        dataset = handlers.run(perform(DatasetStore.load_dataset, config)).unwrap()
        assert len(handlers.run(read(dataset)).unwrap()) == config.options.get("size", 12)
    assert asked == [CONFIG, small]


def test_what_failed_may_be_there_the_next_time() -> None:
    answers: list[Result[tuple[Row, ...], TrainError]] = [Failure(Unavailable(message="502")), Success(({"n": 1},))]
    handlers = DatasetStore.handled_by(RowStore(lambda config: answers.pop(0)))
    loading = perform(DatasetStore.load_dataset, CONFIG)
    assert handlers.run(loading).failure() == Unavailable(message="502")
    assert handlers.run(loading).unwrap().num_rows == 1


def test_a_stream_does_not_say_how_long_it_is() -> None:
    config = attrs.evolve(CONFIG, streaming=True)
    handlers = DatasetStore.handled_by(RowStore(numbers))
    dataset = handlers.run(perform(DatasetStore.load_dataset, config)).unwrap()
    assert dataset.num_rows is None
    assert len(handlers.run(read(dataset)).unwrap()) == 12


@pytest.mark.parametrize("option", [{"a", "b"}, object(), b"bytes"])
def test_options_that_are_no_json_are_refused(option: object) -> None:
    config = attrs.evolve(CONFIG, options={"odd": option})
    error = DatasetStore.handled_by(RowStore(numbers)).run(perform(DatasetStore.load_dataset, config)).failure()
    assert isinstance(error, InvalidRequest)
    assert "the options of 'numbers' are no JSON" in str(error)


@pytest.mark.parametrize(
    "handle",
    [
        "",
        "[]",
        "null",
        '[{"name":"numbers"},[["sort",1]]]',
        '[{"nome":"numbers"},[]]',
        '[{"name":"numbers"},[["take",null]]]',
        '[{"name":""},[]]',
        '["numbers",[]]',
    ],
)
def test_a_handle_that_nobody_gave_is_not_found(handle: str) -> None:
    dataset = Dataset(id=handle, name="numbers", split="train", num_rows=12)
    error = DatasetStore.handled_by(RowStore(numbers)).run(read(dataset)).failure()
    assert isinstance(error, NotFound)
    assert "load_dataset" in error.fix
