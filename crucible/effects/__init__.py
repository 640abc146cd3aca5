"""Effects as values: computations, the ports they need, and the handlers that carry them out."""

from crucible.effects._codec import Json, UnrecordableError, decode, digest, encode
from crucible.effects._driver import Located, Writer
from crucible.effects._eff import Do, Eff, attempt, do, fail, from_result, perform, pure, scoped
from crucible.effects._handlers import Around, Call, Handlers, Proceed
from crucible.effects._journal import Entry, Journal, JournalError
from crucible.effects._path import Path, show_path
from crucible.effects._port import Port, is_repeatable, not_repeatable, port_of
from crucible.effects._result import Failure, Result, Success, fold
from crucible.effects._stream import fold_stream
from crucible.effects._structured import (
    Interpret,
    TimedOut,
    both,
    bracket,
    current_path,
    flush,
    gather,
    located,
    tell,
    telling_to,
    timeout,
    uncancellable,
)
from crucible.effects._wrappers import Diverged, TracedCall, record, replay, retry, trace

__all__ = [
    "Around",
    "Call",
    "Diverged",
    "Do",
    "Eff",
    "Entry",
    "Failure",
    "Handlers",
    "Interpret",
    "Journal",
    "JournalError",
    "Json",
    "Located",
    "Path",
    "Port",
    "Proceed",
    "Result",
    "Success",
    "TimedOut",
    "TracedCall",
    "UnrecordableError",
    "Writer",
    "attempt",
    "both",
    "bracket",
    "current_path",
    "decode",
    "digest",
    "do",
    "encode",
    "fail",
    "flush",
    "fold",
    "fold_stream",
    "from_result",
    "gather",
    "is_repeatable",
    "located",
    "not_repeatable",
    "perform",
    "port_of",
    "pure",
    "record",
    "replay",
    "retry",
    "scoped",
    "show_path",
    "tell",
    "telling_to",
    "timeout",
    "trace",
    "uncancellable",
]
