"""Contract suites: `check_<port>(make, ...)` puts any handler through what its port promises.

They need no test framework: a broken promise raises `ContractViolationError`, an `AssertionError`.
"""

from crucible.testing._laws import ContractViolationError
from crucible.testing.blobs import check_blob_store
from crucible.testing.capabilities import check_capabilities
from crucible.testing.code import check_code_client
from crucible.testing.completer import check_completer
from crucible.testing.custom_loss import check_custom_loss_client
from crucible.testing.datasets import check_dataset_store
from crucible.testing.embeddings import check_embedding_client
from crucible.testing.evaluator import check_evaluator
from crucible.testing.events import check_event_store
from crucible.testing.feedback import check_feedback_client
from crucible.testing.hub import check_hub_client
from crucible.testing.llm import check_llm_client
from crucible.testing.metrics import check_metrics_store
from crucible.testing.registry import check_model_registry
from crucible.testing.sampling import check_sampling_client, check_training_with_sampling
from crucible.testing.sinks import check_sink
from crucible.testing.top_logprobs import check_top_logprobs_client
from crucible.testing.training import check_training_client
from crucible.testing.vectors import check_vector_store

__all__ = [
    "ContractViolationError",
    "check_blob_store",
    "check_capabilities",
    "check_code_client",
    "check_completer",
    "check_custom_loss_client",
    "check_dataset_store",
    "check_embedding_client",
    "check_evaluator",
    "check_event_store",
    "check_feedback_client",
    "check_hub_client",
    "check_llm_client",
    "check_metrics_store",
    "check_model_registry",
    "check_sampling_client",
    "check_sink",
    "check_top_logprobs_client",
    "check_training_client",
    "check_training_with_sampling",
    "check_vector_store",
]
