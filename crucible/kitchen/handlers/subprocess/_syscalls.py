"""The system calls that are taken from a program, by what their absence guarantees."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

Guarantee: TypeAlias = Literal["files", "memory", "network", "processes"]
"""Something that a sandboxed program cannot do: see `code`."""

_Calls: TypeAlias = Mapping[str, tuple[int, int | None]]
"""Numbers on x86_64 and on aarch64, by name; None where there is no such call."""

ARCHITECTURES: Mapping[str, int] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""What the kernel calls an architecture, by what `platform.machine` calls it. The order is that of the numbers below."""

NEWEST_CALL = 456
"""A call with a higher number is newer than this list, and is answered as an old kernel would."""

CLONE: tuple[int, int] = (56, 220)
FCNTL: tuple[int, int] = (72, 25)
CLONE3 = 435

# To reach another machine, or another process by name. io_uring could do it without asking again.
_NETWORK: _Calls = {
    "socket": (41, 198), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}  # fmt: skip

# To change what Landlock does not guard: owners, modes, times and attributes of files; and to go around it.
_FILES: _Calls = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "utimensat": (280, 88), "futimesat": (261, None), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "truncate": (76, 45), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262), "inotify_init": (253, None), "inotify_init1": (294, 26), "chroot": (161, 51),
    "pivot_root": (155, 41), "mount": (165, 40), "umount2": (166, 39), "move_mount": (429, 429),
    "mount_setattr": (442, 442), "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}  # fmt: skip

# Memory that no limit of a process counts, and that outlives it.
_MEMORY: _Calls = {
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180),
}  # fmt: skip

# To touch other processes, or to leave the group that is killed at the end.
_PROCESSES: _Calls = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "setsid": (112, 157), "setpgid": (109, 154), "setpriority": (141, 140),
    "ioprio_set": (251, 30), "migrate_pages": (256, 238), "move_pages": (279, 239), "unshare": (272, 97),
    "setns": (308, 268),
}  # fmt: skip

# No program that computes something needs these, and holes are found in them again and again.
_ALWAYS: _Calls = {
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "modify_ldt": (154, None), "iopl": (172, None),
    "ioperm": (173, None), "personality": (135, 92), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "acct": (163, 89), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "sethostname": (170, 161),
    "setdomainname": (171, 162), "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116),
}  # fmt: skip

# About this process only; about others they are refused.
_OWN: _Calls = {
    "kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261), "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
}  # fmt: skip

# To start a process in the old ways; `clone` is looked at more closely.
_FORK: _Calls = {
    "fork": (57, None), "vfork": (58, None),
}  # fmt: skip


def _numbers(calls: _Calls, architecture: str) -> list[int]:
    column = list(ARCHITECTURES).index(architecture)
    return [number for numbers in calls.values() if (number := numbers[column]) is not None]


def denied_calls(promised: frozenset[Guarantee], architecture: str, *, may_fork: bool) -> list[int]:
    """Give the numbers of the calls that are refused.

    >>> socket = 41
    >>> socket in denied_calls(frozenset({"network"}), "x86_64", may_fork=True)
    True
    >>> denied_calls(frozenset(), "x86_64", may_fork=True)
    []
    """
    groups: Mapping[Guarantee, _Calls] = {
        "files": _FILES,
        "memory": _MEMORY,
        "network": _NETWORK,
        "processes": _PROCESSES if may_fork else {**_PROCESSES, **_FORK},
    }
    chosen = [groups[guarantee] for guarantee in sorted(promised)] + ([_ALWAYS] if promised else [])
    return sorted({number for calls in chosen for number in _numbers(calls, architecture)})


def own_calls(promised: frozenset[Guarantee], architecture: str) -> list[int]:
    """Give the numbers of the calls that a process may make about itself only."""
    return _numbers(_OWN, architecture) if "processes" in promised else []
