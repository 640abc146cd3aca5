"""Options in a file: which there are, and of what kind each is, read from the function or class that takes them."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import TypeVar, get_type_hints

from crucible.fields import said, shown_kind, value_problems
from crucible.ir import Problem
from crucible.kitchen.compiling.shapes import Form

A = TypeVar("A")


def option_problems(
    owner: str, taker: Callable[..., object], options: Mapping[str, object], path: str, *, hidden: Iterable[str] = ()
) -> Iterator[Problem]:
    """Compare options with the keyword-only parameters of what takes them, those `hidden` from files left out.

    >>> def heat(*, degrees: int, slowly: bool = False) -> None: ...
    >>> for problem in option_problems("heat", heat, {"degree": 200}, "oven"):
    ...     print(problem)
    oven.degree: heat has no option 'degree' (did you mean degrees? There are degrees, slowly)
    oven.degrees: heat needs it (give a whole number)
    """
    kinds = kinds_of(taker, hidden=hidden)
    for name, value in options.items():
        if name not in kinds:
            message = f"{owner} has no option {name!r}"
            fix = nearest(name, kinds) if kinds else "leave it out: it has none"
            yield Problem(path=f"{path}.{name}", message=message, fix=fix)
        elif any(value_problems(value, kinds[name])):
            message = f"must be {shown_kind(kinds[name])}, not {said(value)}"
            yield Problem(path=f"{path}.{name}", message=message, fix="write a value of that kind")
    for parameter in inspect.signature(taker).parameters.values():
        if parameter.default is parameter.empty and parameter.name in kinds and parameter.name not in options:
            fix = f"give {shown_kind(kinds[parameter.name])}"
            yield Problem(path=f"{path}.{parameter.name}", message=f"{owner} needs it", fix=fix)


def made_with(taker: Callable[..., A], options: Mapping[str, object], *arguments: object) -> A:
    """Call what takes the options, which have been compared with it.

    >>> made_with(sorted, {"reverse": True}, [1, 2])
    [2, 1]
    """
    return taker(*arguments, **options)


def kinds_of(taker: Callable[..., object], *, hidden: Iterable[str] = ()) -> Mapping[str, Form]:
    """Give the keyword-only parameters of a function or class, with their annotations."""
    hints = get_type_hints(taker)
    parameters = inspect.signature(taker).parameters.values()
    return {
        each.name: hints.get(each.name, object)
        for each in parameters
        if each.kind is inspect.Parameter.KEYWORD_ONLY and each.name not in set(hidden)
    }


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was meant, and which there are.

    >>> nearest("trian", {"train": 1, "cleanup": 2})
    'did you mean train? There are cleanup, train'
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    there = ", ".join(names) or "none"
    return (f"did you mean {close[0]}? " if close else "") + f"There are {there}"
