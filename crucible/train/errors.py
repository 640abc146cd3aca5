"""`TrainError`: everything that can go wrong, as expected, behind a training port.

Handlers turn what their SDK raises into one of these; nothing of the SDK leaks. Each error says what to do about it.
"""

from typing import TypeAlias

import attrs

from crucible.effects import Unanswered


@attrs.frozen(kw_only=True)
class InvalidRequest:
    """The caller asked for something that cannot be done as asked."""

    message: str
    fix: str = ""
    index: int | None = None

    def __str__(self) -> str:
        where = "" if self.index is None else f" (item {self.index})"
        return _sentences(f"{self.message}{where}", self.fix)


@attrs.frozen(kw_only=True)
class NotFound:
    """A model, dataset, checkpoint, file or collection that is not there."""

    kind: str
    name: str
    fix: str = ""

    def __str__(self) -> str:
        return _sentences(f"{self.kind} {self.name!r} was not found", self.fix)


@attrs.frozen(kw_only=True)
class MissingExtra:
    """A handler needs a package that is not installed."""

    extra: str
    package: str

    def __str__(self) -> str:
        return f"{self.package} is not installed: pip install 'crucible-llm[{self.extra}]'"


@attrs.frozen(kw_only=True)
class SequenceTooLong:
    """A sequence is longer, in tokens, than the model takes, or than `max_length` lets it be."""

    index: int
    length: int
    limit: int

    def __str__(self) -> str:
        return (
            f"item {self.index} has {self.length} tokens, and at most {self.limit} are taken: "
            f"shorten it, set truncate, or raise max_length where the model takes more"
        )


@attrs.frozen(kw_only=True)
class NonFiniteLoss:
    """The loss is NaN or infinite: nothing that can be learned from. It is no step that was taken.

    Args:
        loss: what it is.
        indices: the data at fault, by their places in the batch, where they are known.
        reason: what is not finite, where that is known.
        step: the optimizer step that it would have been, the first being 1.
    """

    loss: float
    indices: tuple[int, ...] = ()
    reason: str = attrs.field(default="", eq=False)
    step: int | None = attrs.field(default=None, eq=False)

    def __str__(self) -> str:
        step = "" if self.step is None else f" of optimizer step {self.step}"
        items = f" from items {', '.join(map(str, self.indices))}" if self.indices else ""
        reason = f" ({self.reason})" if self.reason else ""
        fix = "lower the learning rate, clip gradients, or look at those items"
        return f"the loss{step} is {self.loss}{items}: {fix}{reason}"


@attrs.frozen(kw_only=True)
class StorageFailed:
    """Reading or writing failed: a full disk, a missing right, a broken file. What was stored before is whole."""

    path: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        return _sentences(f"{self.path}: {self.message}", self.fix)


@attrs.frozen(kw_only=True)
class SessionClosed:
    """The session was closed, or never opened by this handler."""

    session_id: str

    def __str__(self) -> str:
        return f"session {self.session_id} is not open here: start one with start_session"


@attrs.frozen(kw_only=True)
class AccessDenied:
    """The service refused the credentials, or there are none."""

    message: str
    fix: str = ""

    def __str__(self) -> str:
        return _sentences(self.message, self.fix)


@attrs.frozen(kw_only=True)
class Unavailable:
    """The service could not be reached or is overloaded; the same call may work later."""

    message: str
    retry_after_seconds: float | None = None

    def __str__(self) -> str:
        later = "" if self.retry_after_seconds is None else f" (try again in {self.retry_after_seconds:g} s)"
        return self.message + later

    @classmethod
    def because(cls, why: Unanswered) -> "Unavailable":
        """Say it of a call to which a layer (`deadline`, `circuit_breaker`) has no answer."""
        return cls(message=str(why), retry_after_seconds=why.retry_after_seconds)


@attrs.frozen(kw_only=True)
class Unsupported:
    """The backend cannot do this at all."""

    feature: str
    backend: str
    fix: str = ""

    def __str__(self) -> str:
        return _sentences(f"{self.backend} does not support {self.feature}", self.fix)


@attrs.frozen(kw_only=True)
class BackendFailed:
    """The backend took the request and failed at it; repeating it unchanged will not help."""

    message: str

    def __str__(self) -> str:
        return self.message


TrainError: TypeAlias = (
    InvalidRequest
    | NotFound
    | MissingExtra
    | SequenceTooLong
    | NonFiniteLoss
    | StorageFailed
    | SessionClosed
    | AccessDenied
    | Unavailable
    | Unsupported
    | BackendFailed
)
"""The closed union of the errors of all training ports."""


def is_transient(error: object) -> bool:
    """Tell whether the same call may succeed later.

    >>> is_transient(Unavailable(message="429")), is_transient(BackendFailed(message="bad shape"))
    (True, False)
    """
    return isinstance(error, Unavailable)


def _sentences(message: str, fix: str) -> str:
    return f"{message}: {fix}" if fix else message
