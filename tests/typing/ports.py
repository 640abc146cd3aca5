"""Two ports and their handlers, for the type tests."""

from abc import abstractmethod

import attrs

from crucible.effects import Port, Result, Success


@attrs.frozen(kw_only=True)
class ClockError:
    """The clock has stopped."""


@attrs.frozen(kw_only=True)
class StoreError:
    """The store is full."""


class Clock(Port):
    """Tells the time."""

    @abstractmethod
    async def now(self) -> Result[float, ClockError]: ...

    @abstractmethod
    async def sleep(self, seconds: float) -> Result[None, ClockError]: ...


class Store(Port):
    """Keeps texts."""

    @abstractmethod
    async def read(self, key: str) -> Result[str, StoreError]: ...

    @abstractmethod
    async def write(self, key: str, text: str, *, overwrite: bool = False) -> Result[int, StoreError]: ...


class Noon(Clock):
    """Noon, for ever."""

    async def now(self) -> Result[float, ClockError]:
        return Success(12.0)

    async def sleep(self, seconds: float) -> Result[None, ClockError]:
        return Success(None)


class Blank(Store):
    """Keeps nothing."""

    async def read(self, key: str) -> Result[str, StoreError]:
        return Success("")

    async def write(self, key: str, text: str, *, overwrite: bool = False) -> Result[int, StoreError]:
        return Success(len(text))
