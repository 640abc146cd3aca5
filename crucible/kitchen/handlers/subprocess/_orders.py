"""What the launcher is told: the rights to take away, as plain data."""

import json
import os
import sys
from pathlib import Path

import attrs

from crucible.kitchen.handlers.subprocess._syscalls import (
    ARCHITECTURES,
    CLONE,
    CLONE3,
    FCNTL,
    NEWEST_CALL,
    Guarantee,
    denied_calls,
    own_calls,
)
from crucible.train.types import CodeLimits

EVERY_GUARANTEE: frozenset[Guarantee] = frozenset({"files", "memory", "network", "processes"})

_SYSTEM_FILES = ("/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/lib", "/lib64", "/nix/store", "/etc/ld.so.cache",
                 "/etc/localtime", "/dev/zero", "/dev/random", "/dev/urandom")  # fmt: skip
_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-x86_64.so.1",
            "/lib/ld-musl-aarch64.so.1")  # fmt: skip
_PARTS_OF_A_PREFIX = ("lib", "lib64", "pyvenv.cfg")


@attrs.frozen(kw_only=True)
class Interpreter:
    """A Python to run programs with, and the folders that it needs to read."""

    path: str
    prefixes: tuple[str, ...]

    @property
    def readable(self) -> list[str]:
        """The files that a program has to see."""
        own = [str(Path(prefix) / part) for prefix in self.prefixes for part in _PARTS_OF_A_PREFIX]
        return [*own, *_SYSTEM_FILES, self.path]

    @property
    def executable(self) -> list[str]:
        """The files that a program has to start, which is Python itself."""
        return [os.path.realpath(path) for path in (self.path, *_LOADERS)]


@attrs.frozen(kw_only=True)
class Launch:
    """A program to be started without the rights that `promised` says.

    Args:
        command: what is run, by the interpreter.
        interpreter: the Python that runs it.
        limits: what it may use.
        promised: what is guaranteed.
        folder: where it works, and the only place that it may write to.
        machine: the architecture, as `platform.machine` calls it.
        readable: files that it needs besides.
    """

    command: tuple[str, ...]
    interpreter: Interpreter
    limits: CodeLimits
    promised: frozenset[Guarantee]
    folder: Path
    machine: str
    readable: tuple[str, ...] = ()

    def through_launcher(self, report: int) -> list[str]:
        """Give the command that runs the launcher, which tells the pipe `report` what it could not do."""
        launcher = str(Path(__file__).with_name("_launcher.py"))
        return [sys.executable, "-I", "-S", "-B", launcher, self._orders(report)]

    def _orders(self, report: int) -> str:
        limits, promised, machine = self.limits, self.promised, self.machine
        may_fork = limits.num_processes > 1 or "processes" not in promised
        architecture = list(ARCHITECTURES).index(machine) if machine in ARCHITECTURES else 0
        numbers = {
            "report": report,
            "confine_files": int("files" in promised),
            "count_processes": int("processes" in promised and limits.num_processes > 1),
            "num_processes": limits.num_processes,
            "may_fork": int(may_fork),
            "arch": ARCHITECTURES.get(machine, 0),
            "newest": NEWEST_CALL,
            "clone": CLONE[architecture],
            "clone3": CLONE3,
            "fcntl": FCNTL[architecture],
            "RLIMIT_CPU": limits.cpu_seconds,
            "RLIMIT_FSIZE": limits.disk_bytes,
            "RLIMIT_CORE": 0,
            "RLIMIT_NOFILE": 64,
            **({"RLIMIT_AS": limits.memory_bytes} if "memory" in promised else {}),
        }
        lists = {
            "denied": denied_calls(promised, machine, may_fork=may_fork) if promised else [],
            "own": own_calls(promised, machine) if promised else [],
        }
        places = {
            "command": list(self.command),
            "readable": [*self.interpreter.readable, *self.readable],
            "executable": self.interpreter.executable,
            "writable": [str(self.folder), "/dev/null"],
        }
        return json.dumps({"numbers": numbers, "lists": lists, "places": places})


def environment(folder: Path) -> dict[str, str]:
    """Give all the environment that a program has. The seed of hashes is fixed: the same program prints the same sets."""
    home = str(folder)
    return {"HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "PYTHONUTF8": "1", "PYTHONHASHSEED": "0"}
