"""Exact search for vectors with numpy, in memory or kept in a folder; needs the extra `vectors`.

The light default: no server, no index to train, the same answer each time. A query reads every vector once. Beyond a few
hundred thousand rows, or for many small writes that have to be kept, use `handlers.lancedb`.
"""

from pathlib import Path

from crucible.effects import Handlers
from crucible.kitchen.handlers.shelves import Shelf, ShelvedVectors
from crucible.train.ports import VectorStore

__all__ = ["folder", "memory"]

_PACKAGES = {"numpy": "vectors"}


def memory() -> Handlers[VectorStore]:
    """Handle vectors in memory, which live as long as these handlers.

    >>> from crucible.effects import do, perform
    >>> from crucible.train.types import VectorRow
    >>> @do
    ... def most_like_east():
    ...     yield from perform(VectorStore.create_collection, "places", dimension=2)
    ...     rows = [VectorRow(id="east", vector=(1.0, 0.0)), VectorRow(id="north", vector=(0.0, 1.0))]
    ...     yield from perform(VectorStore.upsert, "places", rows)
    ...     return (yield from perform(VectorStore.query, "places", [(2.0, 0.1)], num_results=1))
    >>> [[match]] = memory().run(most_like_east()).unwrap()
    >>> match.row.id, round(match.similarity, 3)
    ('east', 0.999)
    """
    return VectorStore.handled_by(ShelvedVectors(_in_memory, packages=_PACKAGES))


def folder(path: Path | str) -> Handlers[VectorStore]:
    """Handle vectors in memory, each collection kept in a file of a folder, which is made with the first collection.

    A change writes the whole file of its collection beside the old one, brings it to the disk (fsync) and renames it: what was
    acknowledged is kept, what failed changed nothing. So write in large batches. Only one process may write at a time.
    """
    return VectorStore.handled_by(ShelvedVectors(lambda: _in_folder(Path(path)), packages=_PACKAGES))


def _in_memory() -> Shelf:
    from crucible.kitchen.handlers.exact_vectors._shelves import MemoryShelf

    return MemoryShelf()


def _in_folder(path: Path) -> Shelf:
    from crucible.kitchen.handlers.exact_vectors._shelves import FolderShelf

    return FolderShelf(path)
