"""`main`: from the words of a command line to an exit status."""

import os
import sys
from collections.abc import Mapping, Sequence

from crucible.cli._outcome import Command, Group, Outcome
from crucible.effects import fold

ABOUT = "Runs experiments, and looks at what they did: a live view, reports, comparisons, exports."

_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; give the exit status: 0, 1 with one sentence on stderr, or 2 for words that are no command.

    Args:
        arguments: the words after `crucible`; those of this process when absent.
    """
    try:
        from crucible.cli._commands import COMMANDS
    except ImportError as error:
        return _lacking(error)
    return run_command(sys.argv[1:] if arguments is None else arguments, COMMANDS)


def run_command(words: Sequence[str], commands: Mapping[str, Command | Group]) -> int:
    """Run one of some commands; give the exit status."""
    try:
        outcome = perform_command(words, commands, prog="crucible", about=ABOUT)
        return fold(outcome, ok=_printed, err=lambda error: _complained(str(error)))
    except ImportError as error:
        return _lacking(error)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # `crucible runs | head`: whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def perform_command(words: Sequence[str], commands: Mapping[str, Command | Group], *, prog: str, about: str) -> Outcome:
    """Read the words and call the command that they name.

    Raises: SystemExit after a help text (0), or for words that are no command (2).
    """
    import tyro

    group = commands.get(words[0]) if words else None
    if isinstance(group, Group):
        return perform_command(words[1:], group.commands, prog=f"{prog} {words[0]}", about=group.about)
    known = {name: _shown(it) if isinstance(it, Group) else it for name, it in commands.items()}
    outcome: Outcome = tyro.extras.subcommand_cli_from_dict(
        dict(known),
        prog=prog,
        description=about,
        args=list(words or ["--help"]),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    return outcome


def _lacking(error: ImportError) -> int:
    """Say what is not installed; an error of ours names the extra that brings it, any other is of the command line itself."""
    return _complained(str(error) if "pip install" in str(error) else f"{error}: pip install 'crucible-llm[cli]'")


def _shown(group: Group) -> Command:
    """Give something whose help is a group's, for the list of commands."""

    def show() -> Outcome:
        raise SystemExit(_USAGE)

    show.__doc__ = group.about
    return show


def _printed(text: str) -> int:
    if text:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    return 0


def _complained(text: str) -> int:
    sys.stderr.write(f"crucible: {text}\n")
    return _FAILED
