"""The command line: `crucible`, or `python -m crucible`. Needs the extra `cli`.

A command is a function in a module of `crucible.cli._commands`, and one line in the table there.
"""

from crucible.cli._main import main

__all__ = ["main"]
