"""`FeedbackClient` on nothing: exchanges in memory, exported to the noop `BlobStore`."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, TypeVar

import attrs

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers.feedback_rules import Deployment, RuledFeedback, numbered
from crucible.kitchen.handlers.noop.blobs import Blobs
from crucible.kitchen.ports import CuratedExample, Exchange, FeedbackClient
from crucible.train.errors import NotFound, Unsupported

T = TypeVar("T")


def _made_up(number: int) -> Exchange:
    subject = ("a cat", "a dog", "the sun", "the sea")[number % 4]
    edited = f"Gladly. {subject.capitalize()} is known to all." if number % 3 == 0 else None
    return Exchange(
        id=f"exchange-{number}",
        prompt=f"Question {number}: what is {subject}?",
        response=f"It is {subject}.",
        edited_response=edited,
        score=number % 5 / 4,
    )


DEFAULT_EXCHANGES = tuple(map(_made_up, range(16)))
"""The feedback of a noop deployment that was given none."""


def feedback(
    *, exchanges: Mapping[str, Sequence[Exchange]] | None = None, blobs: Blobs | None = None
) -> Handlers[FeedbackClient]:
    """Handle feedback from exchanges in memory; the first half of them is the first baseline.

    Args:
        exchanges: by deployment, the oldest first; when None, every deployment has the same 16.
        blobs: where exports are written; without it they are refused.
    """
    return FeedbackClient.handled_by(_Feedback(exchanges, blobs))


class _Feedback(RuledFeedback):
    """A `FeedbackClient` over dicts."""

    NAME: ClassVar[str] = "noop.feedback"

    def __init__(self, exchanges: Mapping[str, Sequence[Exchange]] | None, blobs: Blobs | None) -> None:
        self._given = exchanges
        self._blobs = blobs
        self._deployments: dict[str, Deployment] = {}

    async def update_baseline(
        self, deployment_id: str, *, trained_on: Sequence[CuratedExample] = ()
    ) -> Result[None, KitchenError]:
        def updated(found: Deployment) -> None:
            self._deployments[deployment_id] = attrs.evolve(
                found,
                before=(*found.before, *found.new),
                new=(),
                trained_on=found.trained_on.union(example.event_id for example in trained_on),
            )

        return self._find(deployment_id).map(updated)

    async def _ask(self, deployment_id: str, question: Callable[[Deployment], T]) -> Result[T, KitchenError]:
        return self._find(deployment_id).map(question)

    async def _write(self, path: str, data: bytes) -> Result[str, KitchenError]:
        if self._blobs is None:
            fix = "make it with blobs: noop.feedback(blobs=...), or use noop.all()"
            return Failure(Unsupported(feature="exporting feedback", backend=self.NAME, fix=fix))
        held = self._blobs.held
        free = next(each for each in numbered(path) if held.get(each, data) == data)
        held[free] = data
        return Success(free)

    def _find(self, deployment_id: str) -> Result[Deployment, KitchenError]:
        given = DEFAULT_EXCHANGES if self._given is None else self._given.get(deployment_id)
        if given is None or not deployment_id:
            return Failure(NotFound(kind="deployment", name=deployment_id, fix="give noop.feedback its exchanges"))
        half = len(given) // 2
        start = Deployment(id=deployment_id, before=tuple(given[:half]), new=tuple(given[half:]))
        return Success(self._deployments.setdefault(deployment_id, start))
