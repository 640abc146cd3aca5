"""What happens to an experiment: a closed union of events, stored under its id, from which its record is derived."""

from collections.abc import Callable, Mapping
from typing import ClassVar, TypeAlias

import attrs

from crucible.effects import Json
from crucible.telemetry.types import EventRecord, exact

_PREFIX = "crucible_kitchen.experiment"


def _texts(values: object) -> tuple[str, ...]:
    """Give texts as a tuple, which a store gives back as a list."""
    if not isinstance(values, list | tuple):
        raise TypeError(f"{values!r} is no list of texts")
    return tuple(str(value) for value in values)


def _plain(value: Mapping[str, Json]) -> dict[str, Json]:
    return dict(value)


@attrs.frozen(kw_only=True)
class Design:
    """What an experiment is about, as it is started.

    Args:
        name: what people call it; several may have one name.
        hypothesis: what it is to show.
        condition: the arm of a comparison that its runs are (`control`, `lr=1e-4`).
        tags: to find it by.
        metadata: whatever else is worth knowing.
        sample_size: how many runs it takes, and no more; None for as many as come.
        seed: of its runs.
        fingerprint: of their configuration (`kitchen.provenance.fingerprint`).
        environment: the code and machine it was started on (`kitchen.provenance.surroundings()`).
    """

    name: str = attrs.field(validator=attrs.validators.min_len(1))
    hypothesis: str = ""
    condition: str = "default"
    tags: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    metadata: Mapping[str, Json] = attrs.field(factory=dict, converter=_plain, eq=exact)
    sample_size: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))
    seed: int | None = None
    fingerprint: str | None = None
    environment: Mapping[str, Json] = attrs.field(factory=dict, converter=_plain, eq=exact)

    @property
    def git_revision(self) -> str | None:
        """The commit it was started on, where its environment names one."""
        git = self.environment.get("git")
        revision = git.get("revision") if isinstance(git, dict) else None
        return revision if isinstance(revision, str) else None


@attrs.frozen(kw_only=True)
class ExperimentStarted(Design):
    """An experiment began."""

    NAME: ClassVar[str] = f"{_PREFIX}.start"


@attrs.frozen(kw_only=True)
class ExperimentPaused:
    """Its runs wait before their next calls."""

    NAME: ClassVar[str] = f"{_PREFIX}.pause"


@attrs.frozen(kw_only=True)
class ExperimentResumed:
    """Its runs go on."""

    NAME: ClassVar[str] = f"{_PREFIX}.resume"


@attrs.frozen(kw_only=True)
class ExperimentStopped:
    """It takes no more runs, and those that go on end."""

    NAME: ClassVar[str] = f"{_PREFIX}.stop"


@attrs.frozen(kw_only=True)
class ExperimentTagged:
    """Tags were put on it, and others taken off."""

    NAME: ClassVar[str] = f"{_PREFIX}.tag"
    added: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    removed: tuple[str, ...] = attrs.field(default=(), converter=_texts)


@attrs.frozen(kw_only=True)
class ExperimentAnnotated:
    """Metadata were set, by key."""

    NAME: ClassVar[str] = f"{_PREFIX}.annotate"
    metadata: Mapping[str, Json] = attrs.field(converter=_plain, eq=exact)


@attrs.frozen(kw_only=True)
class RunAdded:
    """A run became part of it."""

    NAME: ClassVar[str] = f"{_PREFIX}.run.added"
    run_id: str


@attrs.frozen(kw_only=True)
class RunHeld:
    """A run noticed the pause, and waits before the call at `path`."""

    NAME: ClassVar[str] = f"{_PREFIX}.run.held"
    run_id: str
    path: str


@attrs.frozen(kw_only=True)
class RunReleased:
    """A run that had waited for `seconds` goes on, or ends."""

    NAME: ClassVar[str] = f"{_PREFIX}.run.released"
    run_id: str
    seconds: float


@attrs.frozen(kw_only=True)
class ExperimentArchived:
    """It was written to a folder, whose manifest has this hash."""

    NAME: ClassVar[str] = f"{_PREFIX}.archive"
    folder: str
    sha256: str


@attrs.frozen(kw_only=True)
class RunsForgotten:
    """Its runs were deleted from the stores; the archive has them."""

    NAME: ClassVar[str] = f"{_PREFIX}.run.forgotten"
    num_runs: int


ExperimentEvent: TypeAlias = (
    ExperimentStarted
    | ExperimentPaused
    | ExperimentResumed
    | ExperimentStopped
    | ExperimentTagged
    | ExperimentAnnotated
    | RunAdded
    | RunHeld
    | RunReleased
    | ExperimentArchived
    | RunsForgotten
)
"""Everything that can happen to an experiment."""

_KINDS: Mapping[str, type[ExperimentEvent]] = {
    kind.NAME: kind
    for kind in (
        ExperimentStarted,
        ExperimentPaused,
        ExperimentResumed,
        ExperimentStopped,
        ExperimentTagged,
        ExperimentAnnotated,
        RunAdded,
        RunHeld,
        RunReleased,
        ExperimentArchived,
        RunsForgotten,
    )
}


def attributes_of(event: ExperimentEvent) -> Mapping[str, Json]:
    """Give an event's fields as a store keeps them.

    >>> attributes_of(ExperimentTagged(added=("night",)))
    {'added': ['night'], 'removed': []}
    """
    values = {field.name: getattr(event, field.name) for field in attrs.fields(type(event))}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def event_of(record: EventRecord) -> ExperimentEvent | None:
    """Read an event of an experiment; None for any other. Attributes that this version does not know are passed over.

    Raises: TypeError for an event of an experiment that lacks an attribute.

    >>> from datetime import UTC, datetime
    >>> event_of(EventRecord(name=ExperimentPaused.NAME, timestamp=datetime.now(UTC), sequence=1))
    ExperimentPaused()
    """
    kind = _KINDS.get(record.name)
    if kind is None:
        return None
    known = {field.name for field in attrs.fields(kind)}
    make: Callable[..., ExperimentEvent] = kind
    return make(**{name: value for name, value in record.attributes.items() if name in known})
