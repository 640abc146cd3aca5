"""`run`: from a workflow, a configuration and handlers to a result, and `dry_run`, which performs nothing."""

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Generic, Never, TypeVar

import attrs

from crucible.effects import (
    Do,
    Eff,
    Failure,
    Handlers,
    Interpret,
    Json,
    Located,
    NotRecorded,
    Port,
    Result,
    Success,
    attempt,
    choice,
    do,
    fail,
    handled_ports,
    located,
    show_path,
    telling_to,
    unrecorded,
)
from crucible.kitchen.config import said_reference
from crucible.kitchen.context import Context
from crucible.kitchen.opening import opened, unclaimed
from crucible.kitchen.outline import Outline
from crucible.kitchen.provenance import configuration, surroundings
from crucible.kitchen.recipe import InvalidConfig, Recipe
from crucible.kitchen.spans import EffectSpans
from crucible.kitchen.writer import Numbers, StoreWriter
from crucible.telemetry.errors import StoreError
from crucible.telemetry.events import ArtifactSaved
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.types import MetricPoint

B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)
C = TypeVar("C")
E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)
R = TypeVar("R")


def now() -> datetime:
    """Give the time."""
    return datetime.now(UTC)


class _NoPort(Port):
    """No workflow needs it, and no workflow needs `_NorPort`.

    As further choices in a type, they let mypy read the ports of `training | telemetry`, written in the place of an
    argument, off those two; alone, the first choice makes it guess at them and refuse the `|`. It takes two: one is a guess
    too, where the left side handles all that the first choice names.
    """


class _NorPort(Port):
    """No workflow needs it either."""


@attrs.frozen(kw_only=True)
class RunResult(Generic[B_co]):
    """What a run made: the last context, every metric point, the artifacts, and how long it took.

    `telemetry_problems` names what a store refused; the run itself went on.
    """

    run_id: str
    context: Context[B_co]
    metrics: tuple[MetricPoint, ...]
    artifacts: tuple[ArtifactSaved, ...]
    duration_seconds: float
    telemetry_problems: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class RunFailed(Generic[E_co]):
    """A run that ended with an error: which, and in which stage; what it had told is in the stores."""

    run_id: str
    path: str
    error: E_co
    telemetry_problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.run_id} failed in {self.path}: {self.error}"


@attrs.frozen(kw_only=True)
class Plan(Generic[C]):
    """What a run would do: its configuration, its stages in order, who handles each port, and what it is held against."""

    recipe: str
    config: C
    outline: Outline
    ports: tuple[str, ...]

    def __str__(self) -> str:
        ports = "\n".join(f"  {port}" for port in self.ports) or "  none"
        reference = said_reference(self.config)
        against = "" if reference is None else f"\n\nreference\n  {reference}"
        return f"{self.outline.show()}\n\nports\n{ports}{against}\n\nconfiguration\n  {self.config}"


@attrs.frozen(kw_only=True)
class MissingHandlers:
    """Ports of the workflow that the handlers given do not handle."""

    ports: tuple[str, ...]

    def __str__(self) -> str:
        adding = " | ".join(f"{port}.handled_by(...)" for port in self.ports)
        return f"no handler for {', '.join(self.ports)}: add {adding} to the handlers"

    @classmethod
    def of(cls, needed: Iterable[type[Port]], handled: Collection[type[Port]]) -> "MissingHandlers | None":
        """Compare the ports that are needed with those that are handled, where `Port` stands for all; None when none is missing."""
        missing = () if Port in handled else sorted(port.__name__ for port in needed if port not in handled)
        return cls(ports=tuple(missing)) if missing else None


def run(
    recipe: Recipe[C, B, E, R],
    handlers: Handlers[R | MetricsStore | EventStore] | Handlers[_NoPort] | Handlers[_NorPort],
    config: C | None = None,
    *,
    run_id: str | None = None,
    on_event: Callable[[object], None] | None = None,
    about: Mapping[str, Json] | None = None,
) -> Result[RunResult[B], RunFailed[E | InvalidConfig | MissingHandlers]]:
    """Run a recipe with its default configuration or another, and wait for the result.

    Fails: RunFailed with the workflow's own error; before anything is performed with InvalidConfig, and with MissingHandlers, which
    names every port of the workflow, those of its conditional stages and the stores included, that nothing handles.

    Everything told is flushed to the stores as the run goes on, and at its end however it ends; every call of a port is told
    too, with the time it took. `on_event` sees each event as it is told, for a progress bar say. `run_id` is made up when
    absent: the time and four random bytes. `about` is kept with the run, beside the code and the machine that it ran on.
    """
    spans = EffectSpans()
    setting = _Setting(
        run_id=run_id or new_run_id(), on_event=on_event, about={**surroundings(), **(about or {})}, spans=spans
    )
    work = _execute(recipe, recipe.default_config if config is None else config, setting)
    return spans.around(handlers).run(work)  # type: ignore[arg-type]  # handlers of _NoPort or _NorPort are of every port


def execute(
    recipe: Recipe[C, B, E, R],
    config: C | None = None,
    *,
    run_id: str,
    clock: Callable[[], datetime] = now,
    on_event: Callable[[object], None] | None = None,
    about: Mapping[str, Json] | None = None,
) -> Eff[RunResult[B], RunFailed[E | InvalidConfig | MissingHandlers], R | MetricsStore | EventStore]:
    """Make the computation of a whole run, telemetry included: runs compose like everything else.

    The EventStore keeps recipe, start and configuration with the run, and whatever `about` says of it; `run` says what code
    and machine it runs on, and tells the calls too.
    """
    setting = _Setting(run_id=run_id, clock=clock, on_event=on_event, about=about or {})
    return _execute(recipe, recipe.default_config if config is None else config, setting)


@attrs.frozen(kw_only=True)
class _Setting:
    """Where and how a run takes place."""

    run_id: str
    clock: Callable[[], datetime] = now
    on_event: Callable[[object], None] | None
    about: Mapping[str, Json]
    spans: EffectSpans | None = None


@do
def _execute(
    recipe: Recipe[C, B, E, R], config: C, setting: _Setting
) -> Do[RunFailed[E | InvalidConfig | MissingHandlers], R | MetricsStore | EventStore, RunResult[B]]:
    run_id, clock = setting.run_id, setting.clock
    refusal = _refusal(recipe, config, (yield from handled_ports()))
    if refusal is not None:
        path = "configuration" if isinstance(refusal, InvalidConfig) else "handlers"
        yield from fail(RunFailed[E | InvalidConfig | MissingHandlers](run_id=run_id, path=path, error=refusal))
    started = clock()
    metadata = {"recipe": recipe.name, "started_at": started.isoformat(), **configuration(config), **setting.about}
    claim = yield from _claimed(run_id, metadata, started)
    own = claim.value_or(unclaimed(started))
    numbers = Numbers(own=own, recorded=(yield from choice(f"records of {run_id}", own)))
    writers: list[StoreWriter] = []

    def make_writer(interpret: Interpret[MetricsStore | EventStore]) -> StoreWriter:
        writer = StoreWriter(run_id, interpret, clock=clock, numbers=numbers, listener=setting.on_event)
        if isinstance(claim, Failure):
            writer.open_later(metadata, because=claim.failure())
        if setting.spans is not None:
            setting.spans.writer = writer
        writers.append(writer)
        return writer

    workflow = recipe.workflow(Context.start(config, run_id=run_id))
    work = located(telling_to(make_writer, workflow, beside=StoreWriter.keep_safe))
    context = yield from work.alt(lambda failed: _failed(run_id, failed, writers[0]))
    [writer] = writers
    return RunResult(
        run_id=run_id,
        context=context,
        metrics=tuple(writer.points),
        artifacts=tuple(event for event in writer.told if isinstance(event, ArtifactSaved)),
        duration_seconds=(clock() - started).total_seconds(),
        telemetry_problems=tuple(writer.problems),
    )


def _refusal(
    recipe: Recipe[C, B, E, R], config: C, handled: Collection[type[Port]]
) -> InvalidConfig | MissingHandlers | None:
    """Say why a run cannot be begun: the configuration, or ports that nothing handles, the stores' among them."""
    problems = recipe.validate_config(config)
    if problems:
        return InvalidConfig(problems=tuple(problems))
    return MissingHandlers.of(recipe.required_ports | {MetricsStore, EventStore}, handled)


@do
def _claimed(
    run_id: str, metadata: Mapping[str, Json], started: datetime
) -> Do[Never, EventStore, Result[int, StoreError]]:
    """Open the run, whatever a recording holds; a replay, which stores nothing, has no use for it."""
    try:
        return (yield from attempt(unrecorded(opened(run_id, metadata, now=started))))
    except NotRecorded:
        return Success(0)


def _failed(run_id: str, failed: Located[E], writer: StoreWriter) -> RunFailed[E | InvalidConfig | MissingHandlers]:
    path, problems = show_path(failed.path), tuple(writer.problems)
    return RunFailed(run_id=run_id, path=path, error=failed.error, telemetry_problems=problems)


def dry_run(
    recipe: Recipe[C, B, E, R],
    handlers: Handlers[R] | Handlers[_NoPort] | Handlers[_NorPort],
    config: C | None = None,
) -> Result[Plan[C], InvalidConfig | MissingHandlers]:
    """Validate everything that can be known before a run, and give its plan. Nothing is performed."""
    chosen = recipe.default_config if config is None else config
    problems = recipe.validate_config(chosen)
    if problems:
        return Failure(InvalidConfig(problems=tuple(problems)))
    outline = recipe.workflow.outline
    needed = sorted(outline.all_ports(), key=lambda port: port.__name__)
    missing = MissingHandlers.of(needed, handlers.ports)
    if missing is not None:
        return Failure(missing)
    ports = tuple(port.__name__ for port in needed)
    return Success(Plan(recipe=recipe.name, config=chosen, outline=outline, ports=ports))


def new_run_id() -> str:
    """Make up the name of a run: when it began, and four random bytes."""
    return f"run_{datetime.now(UTC):%Y%m%d_%H%M%S}_{secrets.token_hex(4)}"
