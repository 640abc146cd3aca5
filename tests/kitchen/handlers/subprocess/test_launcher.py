"""The filter of system calls, run by a small machine for its instructions."""

import os
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

if sys.platform != "linux":
    pytest.skip("the launcher is for Linux", allow_module_level=True)

from crucible.kitchen.handlers.subprocess import EVERY_GUARANTEE, _launcher
from crucible.kitchen.handlers.subprocess._syscalls import (
    ARCHITECTURES,
    CLONE,
    CLONE3,
    FCNTL,
    NEWEST_CALL,
    denied_calls,
    own_calls,
)

ALLOW, EPERM, ENOSYS, KILL = 0x7FFF_0000, 0x0005_0001, 0x0005_0026, 0x8000_0000
architectures = st.sampled_from(sorted(ARCHITECTURES))


def verdict(
    program: Sequence[_launcher.Instruction], *, arch: int, number: int, arguments: Sequence[int] = (0, 0)
) -> int:
    """Run a filter over one call, as the kernel does; arguments count by their lower 32 bits."""
    seen = {0: number, 4: arch, 16: arguments[0] & 0xFFFF_FFFF, 24: arguments[1] & 0xFFFF_FFFF}
    held, at = 0, 0
    while True:
        code, yes, no, value = program[at]
        at += 1
        match code:
            case _launcher.LOAD:
                held = seen[value]
            case _launcher.RETURN:
                return value
            case _launcher.JUMP_EQUAL:
                at += yes if held == value else no
            case _launcher.JUMP_ABOVE:
                at += yes if held > value else no
            case _launcher.JUMP_ANY_BIT:
                at += yes if held & value else no
            case _:
                raise AssertionError(f"no instruction {code:#x}")


class Filter:
    def __init__(self, architecture: str, *, may_fork: bool = False) -> None:
        column = list(ARCHITECTURES).index(architecture)
        self.arch, self.clone, self.fcntl = ARCHITECTURES[architecture], CLONE[column], FCNTL[column]
        self.denied = denied_calls(EVERY_GUARANTEE, architecture, may_fork=may_fork)
        self.own = own_calls(EVERY_GUARANTEE, architecture)
        orders = {
            "arch": self.arch,
            "newest": NEWEST_CALL,
            "clone": self.clone,
            "clone3": CLONE3,
            "fcntl": self.fcntl,
            "may_fork": int(may_fork),
        }
        self.program = _launcher.system_call_filter(orders, self.denied, self.own)

    def __call__(self, number: int, *arguments: int, arch: int | None = None) -> int:
        arguments = (*arguments, 0, 0)
        return verdict(self.program, arch=self.arch if arch is None else arch, number=number, arguments=arguments)


@given(architectures, st.integers(0, 2**32 - 1), st.booleans())
def test_every_call_gets_the_verdict_that_the_lists_say(architecture: str, number: int, may_fork: bool) -> None:
    filtered = Filter(architecture, may_fork=may_fork)
    special = {filtered.clone, filtered.fcntl, CLONE3, *filtered.own}
    for call in (number, number % (NEWEST_CALL + 3)):
        if call > NEWEST_CALL:
            assert filtered(call) == ENOSYS
        elif call not in special:
            assert filtered(call) == (EPERM if call in filtered.denied else ALLOW)


@given(architectures, st.integers(0, 2**32 - 1), st.integers(0, 500))
def test_a_call_of_another_architecture_kills(architecture: str, arch: int, number: int) -> None:
    filtered = Filter(architecture)
    assert filtered(number, arch=arch) == (filtered(number) if arch == filtered.arch else KILL)


@given(architectures, st.integers(-(2**31), 2**31))
def test_a_call_about_a_process_is_about_this_one(architecture: str, process: int) -> None:
    filtered = Filter(architecture)
    for call in filtered.own:
        assert filtered(call, os.getpid()) == filtered(call, 0) == ALLOW
        mine = process & 0xFFFF_FFFF in {0, os.getpid()}
        assert filtered(call, process) == (ALLOW if mine else EPERM)


@given(architectures, st.integers(0, 40))
def test_no_signal_is_sent_through_a_file(architecture: str, command: int) -> None:
    filtered = Filter(architecture)
    assert filtered(filtered.fcntl, 0, command) == (EPERM if command in {8, 10, 15} else ALLOW)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_threads_start_processes_do_not_and_namespaces_never(architecture: str) -> None:
    thread, process, namespace = 0x003D_0F00, 0x0120_0011, 0x1000_0011
    strict, forking = Filter(architecture), Filter(architecture, may_fork=True)
    assert [strict(strict.clone, flags) for flags in (thread, process, namespace)] == [ALLOW, EPERM, EPERM]
    assert [forking(forking.clone, flags) for flags in (thread, process, namespace)] == [ALLOW, ALLOW, EPERM]
    assert strict(CLONE3) == forking(CLONE3) == ENOSYS


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_a_filter_is_no_longer_than_the_kernel_takes(architecture: str) -> None:
    assert len(Filter(architecture).program) < 4096
