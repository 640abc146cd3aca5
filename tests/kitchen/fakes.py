"""A small port to cook with, handlers of it that fail on purpose, and stages: what the tests of the kitchen share."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Never, TypeAlias, TypeVar

import anyio
import attrs

from crucible.effects import (
    Call,
    Do,
    Eff,
    Failure,
    Handlers,
    Path,
    Port,
    Proceed,
    Result,
    Success,
    TracedCall,
    attempt,
    digest,
    perform,
    show_path,
    tell,
    trace,
)
from crucible.kitchen import Context, Stage, stage
from crucible.telemetry.events import RunOpened
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import InMemoryEventStore, InMemoryMetricsStore

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")


@attrs.frozen(kw_only=True)
class Burnt:
    """A dish that nobody can eat."""

    dish: str

    def __str__(self) -> str:
        return f"{self.dish} is burnt"


class Cook(Port):
    """Cooks dishes, and takes them back."""

    @abstractmethod
    async def make(self, dish: str) -> Result[int, Burnt]:
        """Make a dish; give its number."""

    @abstractmethod
    async def take_back(self, number: int) -> Result[None, Burnt]:
        """Take a dish back."""


class Waiter(Port):
    """Carries dishes."""

    @abstractmethod
    async def carry(self, number: int) -> Result[None, Burnt]:
        """Carry a dish."""


@attrs.define
class Stove(Cook):
    """A cook that keeps what it made and what it took back, and lets others work meanwhile."""

    made: list[str] = attrs.field(factory=list)
    taken_back: list[int] = attrs.field(factory=list)

    async def make(self, dish: str) -> Result[int, Burnt]:
        """Make anything."""
        await anyio.lowlevel.checkpoint()
        self.made.append(dish)
        return Success(len(self.made))

    async def take_back(self, number: int) -> Result[None, Burnt]:
        """Take anything back."""
        await anyio.lowlevel.checkpoint()
        self.taken_back.append(number)
        return Success(None)


@attrs.frozen(kw_only=True)
class Dish:
    """A dish that was made, and where in the workflow."""

    name: str
    number: int


@attrs.frozen(kw_only=True)
class Meal:
    """The state of a workflow of the kitchen: what was made so far."""

    dishes: tuple[Dish, ...] = ()

    def names(self) -> tuple[str, ...]:
        return tuple(dish.name for dish in self.dishes)


Plate: TypeAlias = Context[Meal]
Cooking: TypeAlias = Stage[Plate, Plate, Burnt, Cook]


@attrs.frozen(kw_only=True)
class Served:
    """An event of our own: a dish is ready."""

    NAME = "kitchen.served"
    METRICS = "kitchen/"
    step: int
    dish: str
    weight: float


def take_back_the_last(plate: Plate) -> Eff[object, Never, Cook]:
    """Undo a stage: the dish it made is the last one of the context that it gave."""
    return attempt(perform(Cook.take_back, plate.state.dishes[-1].number))


def cooking(dish: str, *, rollback: bool = True) -> Cooking:
    """Make the stage that makes one dish and tells of it."""

    def body(plate: Plate) -> Do[Burnt, Cook, Plate]:
        number = yield from perform(Cook.make, dish)
        yield from tell(Served(step=number, dish=dish, weight=number / 2))
        return plate.to(Meal(dishes=(*plate.state.dishes, Dish(name=dish, number=number))))

    body.__name__ = dish
    return stage(rollback=take_back_the_last)(body) if rollback else stage(body)


def start() -> Plate:
    """Begin with an empty table."""
    return Context.start(Meal())


def in_a_row(stages: Sequence[Cooking]) -> Cooking:
    """Compose stages one after the other."""
    whole, *rest = stages
    for one in rest:
        whole = whole >> one
    return whole


@attrs.frozen(kw_only=True)
class Traced:
    """A call without the time that it took: equal when the effect was the same."""

    path: str
    name: str
    arguments: str
    result: str

    @staticmethod
    def of(traced: TracedCall) -> "Traced":
        call = traced.call
        arguments = digest((call.arguments, dict(call.keywords)))
        return Traced(path=show_path(call.path), name=call.name, arguments=arguments, result=repr(traced.result))


def recording(handlers: Handlers[R], eff: Eff[A, E, R]) -> tuple[Result[A, E], list[Traced]]:
    """Run a computation and give every call it made with its result."""
    calls: list[Traced] = []
    result = trace(handlers, into=lambda traced: calls.append(Traced.of(traced))).run(eff)
    return result, calls


Answer: TypeAlias = Callable[[Call, Proceed], Awaitable[Result[object, object]]]


def meddling(handlers: Handlers[R], where: Callable[[Call], bool], answer: Answer) -> Handlers[R]:
    """Let `answer` answer the calls for which `where` is true."""

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        return await (answer(call, proceed) if where(call) else proceed(call))

    return handlers.wrap(around)


def fails_with(error: object) -> Answer:
    """Answer with a typed failure."""

    async def answer(call: Call, proceed: Proceed) -> Result[object, object]:
        return Failure(error)

    return answer


def raises(error: BaseException) -> Answer:
    """Answer by raising."""

    async def answer(call: Call, proceed: Proceed) -> Result[object, object]:
        raise error

    return answer


async def waits_for_ever(call: Call, proceed: Proceed) -> Result[object, object]:
    """Answer never: somebody must cancel."""
    await anyio.sleep_forever()
    raise AssertionError


async def run_and_cancel(handlers: Handlers[R], where: Callable[[Call], bool], eff: Eff[A, E, R]) -> None:
    """Run a computation, and cancel all of it from outside while the chosen call, one that is not shielded, is made."""
    with anyio.CancelScope() as outer:

        async def interrupt(call: Call, proceed: Proceed) -> Result[object, object]:
            outer.cancel()
            await anyio.lowlevel.checkpoint()
            return await proceed(call)

        result = await meddling(handlers, where, interrupt).arun(eff)
        raise AssertionError(f"it was not cancelled, it gave {result!r}")


def call_number(name: str, *numbers: int) -> Callable[[Call], bool]:
    """Choose the calls of an operation by their numbers, the first being 1; all of them where there is no number."""
    seen = 0

    def where(call: Call) -> bool:
        nonlocal seen
        seen += call.name == name
        return call.name == name and (not numbers or seen in numbers)

    return where


def at_path(path: str) -> Callable[[Call], bool]:
    """Choose the call at a structural path."""
    return lambda call: show_path(call.path) == path


def never(call: Call) -> bool:
    """Choose no call."""
    return False


@attrs.define
class Told:
    """A writer that keeps what is told, and where."""

    events: list[tuple[str, object]] = attrs.field(factory=list)
    num_flushes: int = 0

    @property
    def is_full(self) -> bool:
        return False

    def append(self, path: Path, event: object) -> None:
        self.events.append((show_path(path), event))

    async def flush(self) -> None:
        self.num_flushes += 1


@attrs.frozen
class Stores:
    """Telemetry stores in memory, to be looked into after a run."""

    metrics: InMemoryMetricsStore = attrs.field(factory=InMemoryMetricsStore)
    events: InMemoryEventStore = attrs.field(factory=InMemoryEventStore)

    def handlers(self) -> Handlers[MetricsStore | EventStore]:
        return MetricsStore.handled_by(self.metrics) | EventStore.handled_by(self.events)

    def names(self, run_id: str) -> list[str]:
        """Give the names of the stored events that were told, oldest first."""
        events = self.handlers().run(perform(EventStore.query, run_id)).unwrap()
        return [event.name for event in events if event.name != RunOpened.NAME]

    def texts(self, run_id: str, attribute: str) -> list[object]:
        """Give one attribute of the stored events that have it."""
        events = self.handlers().run(perform(EventStore.query, run_id)).unwrap()
        return [event.attributes[attribute] for event in events if attribute in event.attributes]

    async def texts_now(self, run_id: str, attribute: str) -> list[object]:
        """Give the same in the middle of a run."""
        events = (await self.handlers().arun(perform(EventStore.query, run_id))).unwrap()
        return [event.attributes[attribute] for event in events if attribute in event.attributes]


def ticking() -> Callable[[], datetime]:
    """Make a clock on which a second passes at each look."""
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def tick() -> datetime:
        nonlocal now
        now += timedelta(seconds=1)
        return now

    return tick
