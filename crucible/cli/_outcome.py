"""What a command is: a function of its options that gives a text to print, or what went wrong."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import attrs

from crucible.effects import Result

Outcome: TypeAlias = Result[str, object]
"""The text to print (nothing, where it is empty), or an error whose text is one sentence for the person who typed."""

Command: TypeAlias = Callable[..., Outcome]
"""A function whose parameters are the options. Its docstring is the help: the first line, and `Args:`."""


@attrs.frozen(kw_only=True)
class Group:
    """Commands below a command: `crucible experiment start`.

    Args:
        about: one line of help.
        commands: by name.
    """

    about: str
    commands: Mapping[str, Command]
