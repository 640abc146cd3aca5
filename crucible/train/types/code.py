"""Programs that somebody else wrote, the limits they run under, and what became of them."""

from typing import Literal, TypeAlias

import attrs

from crucible.fields import ABOVE_0, AT_LEAST_0, AT_LEAST_1, Limits, checked, within

CodeEnding: TypeAlias = Literal["exited", "killed", "timed_out", "cpu_exceeded", "output_exceeded", "disk_exceeded"]
"""How a program ended: by itself, by a signal, or by one of its limits."""


@attrs.frozen(kw_only=True, field_transformer=checked)
class CodeLimits:
    """What a program may use.

    Args:
        wall_seconds: from its start to its end.
        cpu_seconds: of processor time, whole seconds.
        memory_bytes: of address space; a Python needs some 40 MB of it before the program does anything.
        output_bytes: of standard output, and as much of standard error.
        disk_bytes: of all files together, and so of each; an empty file counts as 4096.
        num_processes: at once, the program itself included; a handler may count threads too when it is above 1.
    """

    wall_seconds: float = attrs.field(default=10.0, metadata=ABOVE_0)
    cpu_seconds: int = attrs.field(default=10, metadata=AT_LEAST_1)
    memory_bytes: int = attrs.field(default=512 * 2**20, metadata=within(Limits(at_least=64 * 2**20)))
    output_bytes: int = attrs.field(default=2**20, metadata=AT_LEAST_0)
    disk_bytes: int = attrs.field(default=16 * 2**20, metadata=within(Limits(at_least=2**16)))
    num_processes: int = attrs.field(default=1, metadata=AT_LEAST_1)


@attrs.frozen(kw_only=True)
class CodeProgram:
    """A Python program, what it reads from standard input, and its limits."""

    source: str
    stdin: str = ""
    limits: CodeLimits = CodeLimits()


@attrs.frozen(kw_only=True)
class CodeRun:
    """What became of a program. `exit_code` is None unless it exited by itself.

    The texts are UTF-8, with U+FFFD for what is not, and cut at `output_bytes`.
    """

    ending: CodeEnding
    exit_code: int | None
    stdout: str
    stderr: str
    wall_seconds: float

    @property
    def succeeded(self) -> bool:
        """Whether the program exited by itself with code 0.

        >>> CodeRun(ending="exited", exit_code=0, stdout="4", stderr="", wall_seconds=0.1).succeeded
        True
        """
        return self.exit_code == 0
