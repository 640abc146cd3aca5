"""Programs in sandboxed processes of this machine."""

from crucible.kitchen.handlers.subprocess._orders import EVERY_GUARANTEE
from crucible.kitchen.handlers.subprocess._sandbox import Sandbox, code
from crucible.kitchen.handlers.subprocess._syscalls import Guarantee

__all__ = ["EVERY_GUARANTEE", "Guarantee", "Sandbox", "code"]
