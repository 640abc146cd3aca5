"""What the tests of every vector store share: rows, conditions, and a store to compare with."""

from collections.abc import Sequence

from hypothesis import strategies as st

from crucible.effects import Handlers, perform
from crucible.kitchen.handlers import exact_vectors
from crucible.train.ports import VectorStore
from crucible.train.types import Condition, Match, MetadataValue, Vector, VectorRow

NAME = 'it\'s a "name"; DROP TABLE rows --'
DIMENSION = 3
HOSTILE = ("' OR 1=1 --", "'); DROP TABLE rows; --", "\\'", '"', "a\x00b", "\ud800", "{}", "%s", "*/", "é", "")

texts = st.sampled_from(HOSTILE) | st.text(max_size=4)
values: st.SearchStrategy[MetadataValue] = (
    texts | st.booleans() | st.integers(-2, 2) | st.sampled_from([2**60, 2**60 + 1, 10**400]) | st.floats()
)
keys = st.sampled_from(("year", "kind", HOSTILE[0], HOSTILE[1], "\ud800"))
vectors = st.tuples(
    *[st.integers(-3, 3).map(float) | st.floats(allow_nan=False, allow_infinity=False)] * DIMENSION
).filter(any)
rows = st.builds(
    VectorRow,
    id=st.sampled_from([text for text in HOSTILE if text]) | st.text(min_size=1, max_size=2),
    vector=vectors,
    text=texts,
    metadata=st.dictionaries(keys, values, max_size=3),
)
conditions = st.builds(Condition, key=keys, op=st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"]), value=values)


def filled(store: Handlers[VectorStore], batch: Sequence[VectorRow], name: str = NAME) -> Handlers[VectorStore]:
    """Put rows into a new collection of a store."""
    dimension = len(batch[0].vector) if batch else DIMENSION
    store.run(perform(VectorStore.delete_collection, name)).unwrap()
    store.run(perform(VectorStore.create_collection, name, dimension=dimension)).unwrap()
    store.run(perform(VectorStore.upsert, name, batch)).unwrap()
    return store


def found(
    store: Handlers[VectorStore], question: Vector, *, num_results: int = 3, where: Sequence[Condition] = ()
) -> tuple[Match, ...]:
    """Ask a store one question."""
    asking = perform(VectorStore.query, NAME, [question], num_results=num_results, where=where)
    return store.run(asking).unwrap()[0]


def expected(
    batch: Sequence[VectorRow], question: Vector, *, num_results: int, where: Sequence[Condition]
) -> tuple[Match, ...]:
    """Give what the numpy store finds among the rows that meet the conditions, which it is not asked to look at."""
    last = {row.id: row for row in batch}.values()
    meeting = [row for row in last if all(condition.fits(row.metadata) for condition in where)]
    return found(filled(exact_vectors.memory(), meeting), question, num_results=num_results)


def shown(matches: Sequence[Match]) -> list[str]:
    """Write matches so that the same are equal, NaN in metadata included."""
    return [repr(match) for match in matches]
