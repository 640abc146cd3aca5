"""What runs in the child before the program does: it takes rights away, then becomes the program.

It is run as a file by an interpreter that knows nothing of crucible, with one argument: its orders, as JSON. Whatever
cannot be taken away is reported through a pipe, and then the program is not started.
"""

import ctypes
import json
import os
import resource
import struct
import sys
from collections.abc import Callable, Sequence

LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446  # on every architecture
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 38, 22
CLONE_THREAD, CLONE_NEWUSER = 0x0001_0000, 0x1000_0000
CLONE_NEW_NAMESPACES = 0x7E02_0000
EPERM, ENOSYS = 1, 38

# Rights of Landlock. What is below READ needs no right to write.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | 1 << 14 | 1 << 15
RIGHTS_BY_ABI = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))

# Instructions of the Berkeley Packet Filter.
LOAD, JUMP_EQUAL, JUMP_ABOVE, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF_0000, 0x0005_0000, 0x8000_0000
NUMBER_AT, ARCH_AT, FIRST_ARGUMENT_AT, SECOND_ARGUMENT_AT = 0, 4, 16, 24

# What `fcntl` could have signals sent to others by.
F_SETOWN, F_SETSIG, F_SETOWN_EX = 8, 10, 15

libc = ctypes.CDLL(None, use_errno=True)


class SystemCallError(OSError):
    """The system refused what was asked of it."""


def checked(result: int, what: str) -> int:
    """Give `result`.

    Raises: SystemCallError when it is negative.
    """
    if result < 0:
        raise SystemCallError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def drop_capabilities() -> None:
    """Give up every capability, and with `no_new_privs` the way back to any."""
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    header, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
    checked(libc.capset(header, nothing), "capset")


def confine_files(readable: Sequence[str], executable: Sequence[str], writable: Sequence[str]) -> None:
    """Let no file be read, run or written but those below these paths, and no signal or TCP go outside (Landlock)."""
    abi = checked(libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, 1), "Landlock")
    every = sum(rights for since, rights in RIGHTS_BY_ABI if abi >= since)
    attributes = struct.pack("QQQ", every, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = checked(libc.syscall(LANDLOCK_CREATE_RULESET, attributes, size, 0), "Landlock")
    grants = [(path, READ_FILE | READ_DIR) for path in readable]
    grants += [(path, READ_FILE | EXECUTE) for path in executable]
    grants += [(path, every & ~(EXECUTE | MAKE_CHAR | MAKE_BLOCK)) for path in writable]
    for path, rights in grants:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # a place that is not there needs no right
        kept = rights if os.path.isdir(path) else rights & FILE_RIGHTS  # noqa: PTH112  # pathlib takes time to import
        rule = struct.pack("=Qi", kept & every, place)
        checked(libc.syscall(LANDLOCK_ADD_RULE, ruleset, 1, rule, 0), f"Landlock: {path}")
        os.close(place)
    checked(libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)


Instruction = tuple[int, int, int, int]


def system_call_filter(orders: "dict[str, int]", denied: Sequence[int], own: Sequence[int]) -> list[Instruction]:
    """Assemble the filter: `denied` calls fail with EPERM, those in `own` too unless they are about this process."""
    refuse: Instruction = (RETURN, 0, 0, ERRNO | EPERM)
    unknown: Instruction = (RETURN, 0, 0, ERRNO | ENOSYS)
    allow: Instruction = (RETURN, 0, 0, ALLOW)
    program: list[Instruction] = [(LOAD, 0, 0, ARCH_AT), (JUMP_EQUAL, 1, 0, orders["arch"])]
    program += [(RETURN, 0, 0, KILL_PROCESS), (LOAD, 0, 0, NUMBER_AT)]
    program += [(JUMP_ABOVE, 0, 1, orders["newest"]), unknown]
    program += [(JUMP_EQUAL, 0, 1, orders["clone3"]), unknown]  # its flags lie in memory, where no filter can look
    for number in denied:
        program += [(JUMP_EQUAL, 0, 1, number), refuse]
    for number in own:
        program += [(JUMP_EQUAL, 0, 5, number), (LOAD, 0, 0, FIRST_ARGUMENT_AT), (JUMP_EQUAL, 1, 0, 0)]
        program += [(JUMP_EQUAL, 0, 1, os.getpid()), allow, refuse]
    if own:
        commands = (F_SETOWN, F_SETSIG, F_SETOWN_EX)
        program += [(JUMP_EQUAL, 0, 2 * len(commands) + 2, orders["fcntl"]), (LOAD, 0, 0, SECOND_ARGUMENT_AT)]
        for command in commands:
            program += [(JUMP_EQUAL, 0, 1, command), refuse]
        program += [allow]
    forking = allow if orders["may_fork"] else refuse
    program += [(JUMP_EQUAL, 0, 6, orders["clone"]), (LOAD, 0, 0, FIRST_ARGUMENT_AT)]
    program += [(JUMP_ANY_BIT, 0, 1, CLONE_NEW_NAMESPACES), refuse, (JUMP_ANY_BIT, 0, 1, CLONE_THREAD), allow, forking]
    return [*program, allow]


def filter_system_calls(program: Sequence[Instruction]) -> None:
    """Put a filter on this process and everything it starts (seccomp)."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    header = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
    checked(libc.prctl(PR_SET_SECCOMP, 2, header, 0, 0), "seccomp")


def count_processes(most: int) -> None:
    """Let there be at most so many processes, threads included, in a user namespace that counts from none."""
    if os.getuid() == 0:
        raise SystemCallError(EPERM, "nobody counts the processes of root: run as another user")
    checked(libc.unshare(CLONE_NEWUSER), "a user namespace, to count processes in")
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def limit_resources(limits: "dict[str, int]") -> None:
    """Set the limits that the kernel keeps for each process."""
    for name, value in limits.items():
        kind: int = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        last = most + 1 if kind == resource.RLIMIT_CPU and most != hard else most  # time to be told apart from a kill
        resource.setrlimit(kind, (most, last))


def report_and_end(report: int, mechanism: str, error: Exception) -> None:
    """Say what could not be done; the program is not started."""
    os.write(report, json.dumps({"mechanism": mechanism, "message": str(error)}).encode())
    os._exit(1)


def main(numbers: "dict[str, int]", lists: "dict[str, list[int]]", places: "dict[str, list[str]]") -> None:
    """Take away what the orders say, then become the program."""
    os.set_inheritable(numbers["report"], False)  # its signature
    limits = {name.removeprefix("RLIMIT_"): value for name, value in numbers.items() if name.startswith("RLIMIT_")}
    steps: list[tuple[str, Callable[[], None]]] = []
    if numbers["count_processes"]:
        steps.append(("count", lambda: count_processes(numbers["num_processes"])))
    if sys.platform == "linux":
        steps.append(("capabilities", drop_capabilities))
    if numbers["confine_files"]:
        steps.append(("landlock", lambda: confine_files(places["readable"], places["executable"], places["writable"])))
    steps.append(("limits", lambda: limit_resources(limits)))
    if lists["denied"]:
        program = system_call_filter(numbers, lists["denied"], lists["own"])
        steps.append(("seccomp", lambda: filter_system_calls(program)))
    steps.append(("start", lambda: os.execv(places["command"][0], places["command"])))
    for mechanism, step in steps:
        try:
            step()
        except (OSError, ValueError, AttributeError) as error:
            report_and_end(numbers["report"], mechanism, error)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
