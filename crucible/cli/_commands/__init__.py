"""The table of commands. To add one: a module here with a function, and a line in `COMMANDS`.

The function's parameters are the options and its docstring is the help; `crucible.cli._commands.export` is a short one to copy.
What takes long to import is imported within the function, so that one command does not wait for another's SDKs.
"""

from collections.abc import Mapping

from crucible.cli._commands.compare import compare
from crucible.cli._commands.experiments import EXPERIMENT
from crucible.cli._commands.export import export
from crucible.cli._commands.report import report
from crucible.cli._commands.runs import runs
from crucible.cli._commands.specs import check, plan, run, schema
from crucible.cli._commands.watch import watch
from crucible.cli._outcome import Command, Group

COMMANDS: Mapping[str, Command | Group] = {
    "check": check,
    "plan": plan,
    "run": run,
    "schema": schema,
    "runs": runs,
    "watch": watch,
    "report": report,
    "compare": compare,
    "export": export,
    "experiment": EXPERIMENT,
}
"""The commands by name, in the order of the help; a `Group` holds commands of its own (`crucible experiment start`)."""
