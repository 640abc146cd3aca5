"""`CodeClient` on nothing: no program is run."""

from collections.abc import Callable

from crucible.effects import Failure, Handlers, Result, Success
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.ports import CodeClient
from crucible.train.types import CodeProgram, CodeRun


def echo(program: CodeProgram) -> str:
    """Write what was read.

    >>> echo(CodeProgram(source="print(1)", stdin="2"))
    '2'
    """
    return program.stdin


def code(*, write: Callable[[CodeProgram], str] = echo) -> Handlers[CodeClient]:
    """Handle programs without running them: each exits well, and writes what `write` says, up to its limit."""
    return CodeClient.handled_by(_Code(write))


class _Code(CodeClient):
    """A `CodeClient` that holds no state."""

    def __init__(self, write: Callable[[CodeProgram], str]) -> None:
        self._write = write

    async def run(self, program: CodeProgram) -> Result[CodeRun, TrainError]:
        try:
            program.source.encode()
            program.stdin.encode()
        except UnicodeEncodeError as error:
            return Failure(InvalidRequest(message=f"the program or its input is no Unicode text: {error}"))
        written = self._write(program).encode()
        most = program.limits.output_bytes
        exceeded = len(written) > most
        return Success(
            CodeRun(
                ending="output_exceeded" if exceeded else "exited",
                exit_code=None if exceeded else 0,
                stdout=written[:most].decode(errors="replace"),
                stderr="",
                wall_seconds=0.0,
            )
        )
