"""Laws of the noop handlers that hold for any input."""

import json
import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crucible.effects import Do, Failure, do, perform
from crucible.kitchen.handlers import noop
from crucible.kitchen.handlers.noop._answers import cut, echo, example_of
from crucible.kitchen.handlers.noop.embeddings import embedding
from crucible.kitchen.handlers.noop.vectors import cosine
from crucible.kitchen.ports import ExportOptions, FeedbackClient
from crucible.train.errors import NotFound, TrainError, Unsupported
from crucible.train.ports import BlobStore, DatasetStore, HubClient, LLMClient, VectorStore
from crucible.train.types import (
    ChatOptions,
    Dataset,
    DatasetConfig,
    HubRepo,
    Message,
    Row,
    VectorRow,
    is_blob_path,
    text_of,
)

all_rows = st.lists(st.integers(), max_size=12).map(lambda numbers: [{"number": number} for number in numbers])
coordinates = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)
directions = st.tuples(coordinates, coordinates, coordinates).filter(any)


@do
def read(dataset: Dataset) -> Do[TrainError, DatasetStore, tuple[Row, ...]]:
    return (yield from perform(DatasetStore.read_rows, dataset))


@given(all_rows, st.integers(), st.integers(0, 14))
def test_a_shuffle_is_a_permutation_and_take_and_skip_divide(rows: list[Row], seed: int, count: int) -> None:
    @do
    def program() -> Do[TrainError, DatasetStore, None]:
        dataset = yield from perform(DatasetStore.load_dataset, DatasetConfig(name="any"))
        shuffled = yield from perform(DatasetStore.shuffle, dataset, seed=seed)
        found = yield from read(shuffled)
        assert sorted(row["number"] for row in found) == sorted(row["number"] for row in rows)  # type: ignore[type-var]  # all are whole numbers
        head = yield from read((yield from perform(DatasetStore.take, shuffled, count)))
        tail = yield from read((yield from perform(DatasetStore.skip, shuffled, count)))
        assert head + tail == found
        assert len(head) == min(count, len(rows))
        assert (yield from read(dataset)) == tuple(rows)

    noop.datasets(rows=rows).run(program()).unwrap()


@given(all_rows, st.integers())
def test_a_handle_outlives_the_store_that_gave_it(rows: list[Row], seed: int) -> None:
    @do
    def made() -> Do[TrainError, DatasetStore, Dataset]:
        dataset = yield from perform(DatasetStore.load_dataset, DatasetConfig(name="any"))
        return (yield from perform(DatasetStore.shuffle, dataset, seed=seed))

    first = noop.datasets(rows=rows)
    dataset = first.run(made()).unwrap()
    assert noop.datasets(rows=rows).run(read(dataset)) == first.run(read(dataset))


@given(st.dictionaries(st.text(min_size=1, max_size=9), st.binary(max_size=40), max_size=5))
def test_blobs_are_read_as_they_were_written_and_listed_in_order(blobs: Mapping[str, bytes]) -> None:
    @do
    def program() -> Do[TrainError, BlobStore, None]:
        for path, data in blobs.items():
            if is_blob_path(path):
                yield from perform(BlobStore.write, path, data)
        listed = yield from perform(BlobStore.list_blobs)
        assert [info.path for info in listed] == sorted(filter(is_blob_path, blobs))
        for info in listed:
            data = yield from perform(BlobStore.read, info.path)
            assert data == blobs[info.path]
            assert len(data) == info.size_bytes

    noop.blobs().run(program()).unwrap()


@given(st.lists(st.tuples(st.sampled_from("abcdef"), directions), min_size=1, max_size=12), directions)
def test_a_query_finds_the_most_similar_of_the_latest_rows(
    written: Sequence[tuple[str, tuple[float, float, float]]], asked: tuple[float, float, float]
) -> None:
    @do
    def program() -> Do[TrainError, VectorStore, None]:
        yield from perform(VectorStore.create_collection, "c", dimension=3)
        for name, vector in written:
            yield from perform(VectorStore.upsert, "c", [VectorRow(id=name, vector=vector)])
        latest = dict(written)
        assert (yield from perform(VectorStore.count, "c")) == len(latest)
        [found] = yield from perform(VectorStore.query, "c", [asked], num_results=3)
        expected = sorted(latest, key=lambda name: (-cosine(asked, latest[name]), name))[:3]
        assert [match.row.id for match in found] == expected
        assert all(match.row.vector == latest[match.row.id] for match in found)

    noop.vectors().run(program()).unwrap()


@given(directions, directions)
def test_cosine_is_symmetric_and_bounded(first: tuple[float, ...], second: tuple[float, ...]) -> None:
    assert -1 <= cosine(first, second) <= 1
    assert cosine(first, second) == pytest.approx(cosine(second, first))
    assert cosine(first, first) == pytest.approx(1)


@given(st.text(), st.integers(1, 80))
def test_an_embedding_has_length_1(text: str, dimension: int) -> None:
    vector = embedding(text, dimension=dimension)
    assert len(vector) == dimension
    assert math.hypot(*vector) == pytest.approx(1)


@given(st.text(), st.integers(1, 20), st.lists(st.text(max_size=2), max_size=3))
def test_an_answer_keeps_to_its_limits(text: str, max_tokens: int, stop: list[str]) -> None:
    said = cut(text, [], max_tokens=max_tokens, stop=stop)
    assert said.usage.completion_tokens <= max_tokens
    assert not any(end in said.text for end in stop if end)
    assert said.finish_reason == "length" or text.encode("utf-8", "replace").startswith(said.text.encode())


@given(st.text(), st.integers(), st.integers())
def test_an_echo_depends_on_the_conversation_and_the_seed_alone(text: str, one: int, other: int) -> None:
    messages = [Message(role="user", content=text)]
    assert echo(messages, one) == echo(messages, one)
    assert echo(messages, other).endswith(text)


schemas = st.recursive(
    st.sampled_from(["string", "integer", "number", "boolean", "null"]).map(lambda kind: {"type": kind}),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(
            lambda properties: {"type": "object", "properties": properties, "required": sorted(properties)}
        ),
        st.tuples(inner, st.integers(0, 2)).map(lambda pair: {"type": "array", "items": pair[0], "minItems": pair[1]}),
        st.lists(inner, min_size=1, max_size=2).map(lambda choices: {"anyOf": choices}),
    ),
    max_leaves=5,
)


def fits(value: object, schema: Mapping[str, object]) -> bool:
    if "anyOf" in schema:
        return any(fits(value, choice) for choice in schema["anyOf"])  # type: ignore[attr-defined]  # a list
    match schema["type"]:
        case "object":
            properties: Mapping[str, Mapping[str, object]] = schema["properties"]  # type: ignore[assignment]  # the strategy says so
            return isinstance(value, dict) and all(fits(value[name], inner) for name, inner in properties.items())
        case "array":
            size: int = schema["minItems"]  # type: ignore[assignment]  # the strategy says so
            items: Mapping[str, object] = schema["items"]  # type: ignore[assignment]  # the strategy says so
            return isinstance(value, list) and len(value) >= size and all(fits(item, items) for item in value)
        case kind:
            kinds = {"string": str, "integer": int, "number": int | float, "boolean": bool, "null": type(None)}
            return isinstance(value, kinds[str(kind)])


@given(schemas)
def test_an_example_fits_its_schema(schema: Mapping[str, object]) -> None:
    assert fits(json.loads(json.dumps(example_of(schema))), schema)


def test_a_schema_that_is_not_understood_is_refused() -> None:
    options = ChatOptions(output_schema={"$ref": "#/x"})
    result = noop.llm().run(perform(LLMClient.chat, [Message(role="user", content="?")], options))
    assert isinstance(result.failure(), Unsupported)


def test_a_scripted_model_says_what_it_is_told() -> None:
    result = noop.llm(answer=lambda messages: text_of(messages[-1])[::-1]).run(
        perform(LLMClient.chat, [Message(role="user", content="abc")])
    )
    assert result.unwrap().message.content == "cba"


def test_feedback_without_a_place_to_write_refuses_to_export() -> None:
    examples = noop.feedback().run(perform(FeedbackClient.curate, "live")).unwrap()
    result = noop.feedback().run(perform(FeedbackClient.export, "live", examples, ExportOptions(path="x.jsonl")))
    assert isinstance(result.failure(), Unsupported)


def test_a_second_instance_shares_nothing() -> None:
    noop.all().run(perform(BlobStore.write, "a", b"x")).unwrap()
    assert isinstance(noop.all().run(perform(BlobStore.read, "a")).failure(), NotFound)


@given(st.text())
def test_a_hub_that_has_nothing_says_so(name: str) -> None:
    assume(name)
    result = noop.hub().run(perform(HubClient.list_files, HubRepo(id=name)))
    assert isinstance(result, Failure)
