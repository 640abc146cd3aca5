"""Vectors in LanceDB, in a folder of this machine; needs the extra `lancedb`.

For what does not fit into memory, or is written in many small batches that have to be kept. The search is exact.
"""

from pathlib import Path

from crucible.effects import Handlers
from crucible.kitchen.handlers.shelves import Shelf, ShelvedVectors
from crucible.train.ports import VectorStore

__all__ = ["folder"]


def folder(path: Path | str) -> Handlers[VectorStore]:
    """Handle vectors in a LanceDB database, a folder that is made with the first collection.

    A batch that was acknowledged is whole in the folder, whoever kills the process. Each collection is an Arrow table: `row` is
    JSON with id, text and metadata, `vector` is what was written. Tables of other programs are left alone.

    Conditions of equality are met by the database; of order, by this process, on the nearest rows until enough meet them.
    """
    packages = {"lancedb": "lancedb", "numpy": "lancedb"}
    return VectorStore.handled_by(ShelvedVectors(lambda: _opened(Path(path)), packages=packages))


def _opened(path: Path) -> Shelf:
    from crucible.kitchen.handlers.lancedb._shelf import LanceShelf

    return LanceShelf(path)
