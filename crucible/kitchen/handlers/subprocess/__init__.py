"""Programs in sandboxed processes of this machine."""

from crucible.kitchen.handlers.subprocess._sandbox import Sandbox, code
from crucible.kitchen.handlers.subprocess._syscalls import Guarantee

__all__ = ["Guarantee", "Sandbox", "code"]
