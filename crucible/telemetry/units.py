"""The units of what a run measures, and the one table of all events with their names, fields and metrics."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Protocol, get_args

import attrs

from crucible.telemetry.events import Event

UNITS: Mapping[str, str] = {
    "accuracy": "share",
    "action_tokens": "tokens an episode",
    "chosen_reward": "nats x beta",
    "entropy": "nats a token",
    "frac_reward_zero_std": "share of groups",
    "grad_norm": "norm before clipping",
    "groups_kept": "groups",
    "kl": "nats a sequence",
    "kl_reference": "nats a token",
    "kl_sample_train_v1": "nats a token",
    "kl_sample_train_v2": "nats a token",
    "kl_sample_train_v3": "nats a token",
    "learning_rate": "a step",
    "logprob_gap_sample_train": "nats a token",
    "loss": "nats a trained token",
    "margin": "nats x beta",
    "mean_loss": "nats a trained token",
    "mean_score": "score",
    "num_cut": "pairs",
    "num_equal": "pairs",
    "num_examples": "examples",
    "num_failed": "episodes",
    "num_pairs": "pairs",
    "num_prompts": "prompts",
    "num_requests": "requests",
    "num_rows": "rows",
    "num_sequences": "sequences",
    "num_tokens": "tokens",
    "num_trained_tokens": "tokens",
    "num_trajectories": "episodes",
    "num_triggers": "triggers",
    "num_updates": "optimizer steps",
    "policy_loss": "loss",
    "probe_seconds": "s",
    "rejected_reward": "nats x beta",
    "reward": "reward",
    "reward_mean": "reward",
    "reward_std": "reward",
    "row": "index from 0",
    "seconds": "s",
    "staleness": "rounds",
    "teacher_entropy": "nats a sampled token",
    "teacher_kl": "nats a sampled token",
    "total_steps": "optimizer steps",
}
"""Units by the name of what is measured, without the prefix of its event."""


def unit_of(metric: str) -> str:
    """Give the unit of a metric, an empty text where none is known.

    >>> unit_of("loss"), unit_of("held_out/teacher_kl"), unit_of("eval/of_my_own")
    ('nats a trained token', 'nats a sampled token', '')
    """
    return UNITS.get(metric.rpartition("/")[2], "")


class _Described(Protocol):
    NAME: ClassVar[str]


@attrs.frozen(kw_only=True)
class EventKind:
    """A kind of event.

    Args:
        name: under which its records are stored.
        meaning: what happened.
        fields: what it says; the units of numbers are in `UNITS`.
        metrics: the prefix of the series that its numbers are points of; None for an event that is no point.
    """

    name: str
    meaning: str
    fields: tuple[str, ...]
    metrics: str | None


def event_kinds() -> tuple[EventKind, ...]:
    """Give every kind of event that a run of ours tells.

    >>> next(kind for kind in event_kinds() if kind.name.endswith("training.step")).fields
    ('step', 'loss', 'learning_rate', 'grad_norm', 'num_tokens', 'epoch')
    """
    return tuple(_kinds())


def _kinds() -> Iterator[EventKind]:
    kinds: tuple[type[_Described], ...] = get_args(Event)
    for kind in kinds:
        summary = (kind.__doc__ or "").strip().partition("\n")[0]
        fields = tuple(field.name for field in attrs.fields(kind))  # type: ignore[arg-type]  # each is an attrs class
        yield EventKind(name=kind.NAME, meaning=summary, fields=fields, metrics=getattr(kind, "METRICS", None))
