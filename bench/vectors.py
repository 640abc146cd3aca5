"""What a vector store costs: 20,000 vectors of 384 numbers put in and asked, with numpy and with LanceDB, in one run.

Prints medians and ratios; no time fails the program. `python bench/vectors.py`, see bench/README.md.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from crucible.effects import Handlers, perform
from crucible.kitchen.handlers import exact_vectors, lancedb
from crucible.train.ports import VectorStore
from crucible.train.types import Condition, Match, Vector, VectorRow

NUM_ROWS, DIMENSION, CLUSTERS = 20_000, 384, 200
BATCH = 1_000
QUESTIONS = 50
INSERTIONS = 3
NAME = "rows"
WHERES: Mapping[str, Sequence[Condition]] = {
    "query": (),
    "query, kind = 7 of 10": (Condition(key="kind", op="eq", value=7),),
    "query, number < 2,000": (Condition(key="number", op="lt", value=2_000),),
}


def drawn() -> tuple[list[VectorRow], list[Vector]]:
    random = np.random.default_rng(0)
    centres = random.normal(size=(CLUSTERS, DIMENSION))
    near = random.integers(CLUSTERS, size=NUM_ROWS + QUESTIONS)
    vectors = (centres[near] + random.normal(size=(len(near), DIMENSION)) / 2).astype(np.float32).tolist()
    rows = [
        VectorRow(id=f"{number:05}", vector=tuple(vector), metadata={"kind": number % 10, "number": number})
        for number, vector in enumerate(vectors[:NUM_ROWS])
    ]
    return rows, [tuple(vector) for vector in vectors[NUM_ROWS:]]


def filled(store: Handlers[VectorStore], rows: Sequence[VectorRow]) -> None:
    store.run(perform(VectorStore.create_collection, NAME, dimension=DIMENSION)).unwrap()
    for start in range(0, len(rows), BATCH):
        store.run(perform(VectorStore.upsert, NAME, rows[start : start + BATCH])).unwrap()


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def show(name: str, seconds: Mapping[str, Sequence[float]], base: str) -> None:
    for store, took in seconds.items():
        ratio = statistics.median(one / other for one, other in zip(took, seconds[base], strict=True))
        print(f"  {name:<24} {store:<16} {statistics.median(took) * 1e3:>10.1f} ms   {ratio:.2f}x {base}")


def main() -> None:
    rows, questions = drawn()
    print(f"{NUM_ROWS:,} rows of {DIMENSION} numbers in batches of {BATCH:,}; medians")
    inserted: dict[str, list[float]] = {"numpy": [], "numpy, a folder": [], "LanceDB": []}
    stores: dict[str, Handlers[VectorStore]] = {}
    with TemporaryDirectory() as temporary:
        for number in range(INSERTIONS):
            stores = {
                "numpy": exact_vectors.memory(),
                "numpy, a folder": exact_vectors.folder(Path(temporary) / f"numpy{number}"),
                "LanceDB": lancedb.folder(Path(temporary) / f"lance{number}"),
            }
            for name, store in stores.items():
                inserted[name].append(timed(lambda store=store: filled(store, rows)))  # type: ignore[misc]  # no type for a default
        show("insert all", inserted, "numpy")
        for what, where in WHERES.items():
            compare(what, where, {name: stores[name] for name in ("numpy", "LanceDB")}, questions)


def compare(
    what: str, where: Sequence[Condition], stores: Mapping[str, Handlers[VectorStore]], questions: Sequence[Vector]
) -> None:
    asked: dict[str, list[float]] = {name: [] for name in stores}
    for question in questions:
        asking = perform(VectorStore.query, NAME, [question], where=where)
        answers: list[tuple[tuple[Match, ...], ...]] = []
        for name, store in stores.items():
            start = time.perf_counter()
            answers.append(store.run(asking).unwrap())
            asked[name].append(time.perf_counter() - start)
        assert answers[0] == answers[1]
    show(what, asked, "numpy")


if __name__ == "__main__":
    main()
