"""Contract suites: `check_<port>(make, ...)` puts any handler through what its port promises.

They need no test framework: a broken promise raises `ContractViolationError`, an `AssertionError`.
"""

from crucible.testing._laws import ContractViolationError
from crucible.testing.datasets import check_dataset_store
from crucible.testing.events import check_event_store
from crucible.testing.metrics import check_metrics_store
from crucible.testing.sampling import check_sampling_client, check_training_with_sampling
from crucible.testing.training import check_training_client

__all__ = [
    "ContractViolationError",
    "check_dataset_store",
    "check_event_store",
    "check_metrics_store",
    "check_sampling_client",
    "check_training_client",
    "check_training_with_sampling",
]
