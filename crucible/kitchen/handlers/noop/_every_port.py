"""All noop handlers together."""

from typing import TypeAlias

from crucible.effects import Handlers
from crucible.kitchen.handlers.noop._shelf import Shelf
from crucible.kitchen.handlers.noop.blobs import Blobs, blobs
from crucible.kitchen.handlers.noop.code import code
from crucible.kitchen.handlers.noop.completer import completer
from crucible.kitchen.handlers.noop.datasets import datasets
from crucible.kitchen.handlers.noop.embeddings import embeddings
from crucible.kitchen.handlers.noop.evaluator import evaluator
from crucible.kitchen.handlers.noop.feedback import feedback
from crucible.kitchen.handlers.noop.hub import hub
from crucible.kitchen.handlers.noop.llm import llm
from crucible.kitchen.handlers.noop.registry import registry
from crucible.kitchen.handlers.noop.sampling import sampling
from crucible.kitchen.handlers.noop.telemetry import events, metrics
from crucible.kitchen.handlers.noop.training import training
from crucible.kitchen.handlers.noop.vectors import vectors
from crucible.kitchen.ports import Completer, Evaluator, FeedbackClient, ModelRegistry
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.train.ports import (
    BlobStore,
    CodeClient,
    CustomLossClient,
    DatasetStore,
    EmbeddingClient,
    HubClient,
    LLMClient,
    SamplingClient,
    TopLogprobsClient,
    TrainingClient,
    VectorStore,
)

EveryPort: TypeAlias = (
    TrainingClient
    | CustomLossClient
    | SamplingClient
    | TopLogprobsClient
    | DatasetStore
    | BlobStore
    | HubClient
    | LLMClient
    | EmbeddingClient
    | VectorStore
    | CodeClient
    | MetricsStore
    | EventStore
    | Completer
    | Evaluator
    | ModelRegistry
    | FeedbackClient
)
"""Every port of crucible."""


def every_port(seed: int = 0, *, shelf: Shelf | None = None, held: Blobs | None = None) -> Handlers[EveryPort]:
    """Handle every port on nothing.

    Sampling finds what training saved, and datasets what feedback exported. Handlers made by another call share nothing
    with these, unless they are given the same `shelf` (saved models) and `held` (blobs): so a run can be ended and
    resumed.

    Args:
        seed: of the untrained model and of whatever else is made up.
        shelf: where models are saved.
        held: where blobs are kept.
    """
    saved, kept = shelf or Shelf(), held or Blobs()
    return (
        training(seed=seed, shelf=saved)
        | sampling(seed=seed, shelf=saved)
        | datasets(blobs=kept)
        | blobs(held=kept)
        | hub()
        | llm(seed=seed)
        | embeddings(seed=seed)
        | vectors()
        | code()
        | metrics()
        | events()
        | completer(seed=seed)
        | evaluator()
        | registry()
        | feedback(blobs=kept)
    )
