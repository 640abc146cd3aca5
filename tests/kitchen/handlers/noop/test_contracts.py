"""Every noop handler keeps the promises of its port."""

from itertools import count
from pathlib import Path

from crucible.effects import Handlers
from crucible.kitchen.handlers import noop
from crucible.kitchen.ports import AnsweredRow, FeedbackClient
from crucible.testing import (
    check_blob_store,
    check_capabilities,
    check_code_client,
    check_completer,
    check_custom_loss_client,
    check_dataset_store,
    check_embedding_client,
    check_evaluator,
    check_event_store,
    check_feedback_client,
    check_hub_client,
    check_llm_client,
    check_metrics_store,
    check_model_registry,
    check_sampling_client,
    check_top_logprobs_client,
    check_training_client,
    check_training_with_sampling,
    check_vector_store,
)
from crucible.train.ports import DatasetStore, SamplingClient, TrainingClient
from crucible.train.types import DatasetConfig, HubRepo


def test_training_client() -> None:
    check_training_client(lambda: noop.training(max_length=512), model="noop", tolerance=1e-9)


def test_capabilities() -> None:
    check_capabilities(noop.training, model="noop", tolerance=1e-6)


def test_custom_loss_client() -> None:
    check_custom_loss_client(lambda: noop.training(max_length=512), model="noop", tolerance=1e-9)


def test_sampling_client() -> None:
    check_sampling_client(lambda: noop.sampling(max_length=512), model="noop", tolerance=1e-9)


def test_top_logprobs_client() -> None:
    check_top_logprobs_client(lambda: noop.sampling(max_length=512), model="noop", tolerance=1e-9)


def test_training_with_sampling() -> None:
    def make() -> Handlers[TrainingClient | SamplingClient]:
        shelf = noop.Shelf()
        return noop.training(shelf=shelf) | noop.sampling(shelf=shelf)

    check_training_with_sampling(make, model="noop", tolerance=1e-9)


def test_dataset_store() -> None:
    config = DatasetConfig(name="any")
    check_dataset_store(lambda: noop.datasets(names=["any"]), config=config, other_split="test", missing="other")


def test_blob_store() -> None:
    check_blob_store(noop.blobs)


def test_hub_client(tmp_path: Path) -> None:
    files = {"README.md": b"# Hi", "weights/a.bin": b"\0\1", "config.json": b"{}"}
    numbers = count()
    check_hub_client(
        lambda: noop.hub(repos={"org/model": files}, cache=tmp_path),
        repo=HubRepo(id="org/model"),
        upload_to=lambda: HubRepo(id=f"me/new-{next(numbers)}", type="dataset"),
    )


def test_llm_client() -> None:
    check_llm_client(noop.llm, deterministic=True)


def test_embedding_client() -> None:
    check_embedding_client(noop.embeddings, tolerance=1e-9)


def test_vector_store() -> None:
    check_vector_store(noop.vectors, tolerance=1e-9)


def test_metrics_store() -> None:
    check_metrics_store(noop.metrics)


def test_event_store() -> None:
    check_event_store(noop.events)


def test_completer() -> None:
    check_completer(noop.completer)


def test_evaluator() -> None:
    right = [AnsweredRow(row={}, answer=" 4\n", expected="4"), AnsweredRow(row={}, answer="5", expected="5")]
    check_evaluator(noop.evaluator, right=right, wrong=[AnsweredRow(row={}, answer="4", expected="5")])


def test_code_client() -> None:
    check_code_client(noop.code, runs_programs=False)


def test_model_registry() -> None:
    check_model_registry(noop.registry)


def test_feedback_client() -> None:
    exchanges = {"live": noop.DEFAULT_EXCHANGES}

    def make() -> Handlers[FeedbackClient | DatasetStore]:
        blobs = noop.Blobs()
        return noop.feedback(exchanges=exchanges, blobs=blobs) | noop.datasets(blobs=blobs)

    check_feedback_client(make, deployment_id="live", missing="dead")


def test_all_handle_every_port_and_share_what_they_save() -> None:
    assert {port.__name__ for port in noop.all().ports} == {
        *("TrainingClient", "CustomLossClient", "SamplingClient", "TopLogprobsClient"),
        *("DatasetStore", "BlobStore", "HubClient"),
        *(
            "LLMClient",
            "EmbeddingClient",
            "VectorStore",
            "CodeClient",
            "MetricsStore",
            "EventStore",
            "Completer",
            "Evaluator",
        ),
        *("ModelRegistry", "FeedbackClient"),
    }
    check_training_with_sampling(noop.all, model="noop", tolerance=1e-9)
    check_feedback_client(noop.all, deployment_id="any")
