"""What a run would take, as far as a spec says: steps, and the most tokens that are trained on and sampled."""

from collections.abc import Mapping
from math import ceil

from crucible.ir import DistillationSpec, Experiment, FeedbackLoopSpec, ReinforcementSpec


def estimates(experiment: Experiment) -> Mapping[str, str]:
    """Give what is known of steps and tokens before a run; nothing where the number of rows is not.

    >>> from crucible.ir import BackendRef, DatasetRef, ModelRef, SupervisedSpec
    >>> estimates(
    ...     Experiment(
    ...         id="e",
    ...         model=ModelRef(id="m"),
    ...         dataset=DatasetRef(name="d", num_rows=40),
    ...         backend=BackendRef(id="noop"),
    ...         training=SupervisedSpec(batch_size=16, max_length=100, epochs=2),
    ...     )
    ... )
    {'rows': 'at most 40', 'optimizer steps': 'at most 6', 'trained tokens': 'at most 8,000'}
    """
    training, rows = experiment.training, _num_rows(experiment)
    if training is None or isinstance(training, FeedbackLoopSpec):
        return {}
    known: dict[str, int] = {}
    if rows is not None:
        known["rows"] = rows
        known["optimizer steps"] = training.epochs * ceil(rows / training.batch_size)
        if isinstance(training, ReinforcementSpec | DistillationSpec):
            known["optimizer steps"] *= training.policy_epochs * training.num_minibatches
            known["sampled tokens"] = rows * _samples_of_a_row(training) * training.max_tokens
        elif training.max_length is not None:
            known["trained tokens"] = rows * training.epochs * training.max_length
    if training.evaluation is not None:
        known["tokens of one evaluation"] = training.evaluation.num_examples * training.evaluation.max_tokens
    return {name: f"at most {number:,}" for name, number in known.items()}


def _samples_of_a_row(training: ReinforcementSpec | DistillationSpec) -> int:
    """Count the answers to one row in the whole run; what teachers say is said once for all epochs."""
    if isinstance(training, DistillationSpec) and training.mode != "on_policy":
        return training.group_size or 1
    return training.epochs * (training.group_size or 4)


def _num_rows(experiment: Experiment) -> int | None:
    ref = experiment.dataset
    if ref is None:
        return None
    size = ref.options.get("size", 1000) if ref.provider == "reasoning_gym" else None
    whole = size if isinstance(size, int) else None
    return min((number for number in (ref.num_rows, whole) if number is not None), default=None)
