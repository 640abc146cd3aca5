"""What a stage takes and gives, read from its annotations, and whether one stage can follow another.

A static checker does this where stages are written down with `>>`. Where a file names them, it is done here, when the file is
read: states are covariant, a type variable stands for any state within its bound.
"""

import types
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from crucible.effects import Eff, Failure, Result, Success
from crucible.kitchen.context import Context

Form: TypeAlias = object
"""A class, a class with its arguments, or a type variable, as it stands in an annotation."""

Bound: TypeAlias = Mapping[TypeVar, Form]
"""What type variables stand for."""


@attrs.frozen(kw_only=True)
class Shape:
    """The states that a stage takes and gives."""

    takes: Form
    gives: Form

    def after(self, state: Form) -> Form | None:
        """Give the state after this stage, when the state before it is this one; None when it cannot follow.

        >>> from crucible.kitchen.config import TrainingConfig
        >>> from crucible.kitchen.stages.setup import load_dataset, init_session
        >>> from crucible.kitchen.stages.supervised import SupervisedConfig
        >>> loaded = shape_of(load_dataset).unwrap().after(SupervisedConfig)
        >>> shown(loaded), shown(shape_of(init_session).unwrap().after(SupervisedConfig))
        ('Loaded[SupervisedConfig]', 'nothing')
        """
        bound = matched(self.takes, state, {})
        return None if bound is None else filled(self.gives, bound)


def shape_of(function: Callable[..., object]) -> Result[Shape, str]:
    """Read the states of a stage, of the function it was made of, or of a plain function from a context to an `Eff`.

    Fails: a sentence, when there are no annotations to read (a composition has none), or they are of no stage.
    """
    source = getattr(function, "function", function)
    while isinstance(source, partial):
        source = source.func
    if source is None:
        return Failure("it is a composition of stages, whose states cannot be read from an annotation")
    try:
        hints = get_type_hints(source)
    except (NameError, TypeError, AttributeError) as error:
        return Failure(f"its annotations cannot be read: {error}")
    returned = hints.pop("return", None)
    taken = next(iter(hints.values()), None)
    takes, gives = _state(taken), _state(_value(returned))
    if takes is None or gives is None:
        return Failure("its annotations are not those of a stage: from a Context to a Do or an Eff of a Context")
    return Success(Shape(takes=takes, gives=gives))


def matched(pattern: Form, actual: Form, bound: Bound) -> Bound | None:
    """Give what the type variables of `pattern` stand for where `actual` fits it; None where it does not.

    >>> matched(int, bool, {}), matched(str, int, {})
    ({}, None)
    """
    if pattern is Any or pattern is object or actual is Any:
        return bound
    if isinstance(pattern, TypeVar):
        return _matched_variable(pattern, actual, bound)
    if get_origin(pattern) in (Union, types.UnionType):
        found = (matched(choice, actual, bound) for choice in get_args(pattern))
        return next((each for each in found if each is not None), None)
    wanted = get_origin(pattern) or pattern
    arguments = _seen_as(actual, wanted)
    if arguments is None:
        return None
    for part, given in zip(get_args(pattern), arguments, strict=False):  # a class without arguments fits any
        within = matched(part, given, bound)
        if within is None:
            return None
        bound = within
    return bound


def filled(form: Form, bound: Bound) -> Form:
    """Put what type variables stand for in their places; one that stands for nothing becomes its bound.

    >>> T = TypeVar("T", bound=int)
    >>> filled(list[T], {T: bool}), filled(T, {})
    (list[bool], <class 'int'>)
    """
    if isinstance(form, TypeVar):
        return bound.get(form, form.__bound__ or object)
    variables = getattr(form, "__parameters__", ())
    if not variables or isinstance(form, type):
        return form
    return form[tuple(filled(variable, bound) for variable in variables)]  # type: ignore[index]  # a class with arguments takes them


def shown(form: Form) -> str:
    """Write a state as a person would.

    >>> shown(dict[str, int]), shown(None)
    ('dict[str, int]', 'nothing')
    """
    if form is None:
        return "nothing"
    if isinstance(form, TypeVar):
        return shown(form.__bound__) if form.__bound__ else "any state"
    if get_origin(form) in (Union, types.UnionType):
        return " or ".join(map(shown, get_args(form)))
    arguments = ", ".join(map(shown, get_args(form)))
    name = getattr(get_origin(form) or form, "__name__", str(form))
    return f"{name}[{arguments}]" if arguments else name


def _matched_variable(variable: TypeVar, actual: Form, bound: Bound) -> Bound | None:
    if variable in bound:
        return matched(bound[variable], actual, bound)
    if variable.__bound__ is not None and matched(variable.__bound__, actual, {}) is None:
        return None
    return {**bound, variable: actual}


def _seen_as(actual: Form, wanted: Form) -> tuple[Form, ...] | None:
    """Give the arguments of `actual` seen as the class `wanted`, which it is or derives from; None where it does not."""
    origin = get_origin(actual) or actual
    if not isinstance(origin, type) or not isinstance(wanted, type) or not issubclass(origin, wanted):
        return None
    if origin is wanted:
        return get_args(actual)
    arguments = dict(zip(getattr(origin, "__parameters__", ()), get_args(actual), strict=False))
    bases = (filled(base, arguments) for base in getattr(origin, "__orig_bases__", origin.__bases__))
    found = (_seen_as(base, wanted) for base in bases)
    return next((each for each in found if each is not None), ())


def _value(returned: Form) -> Form:
    """Take the value out of `Do[error, ports, value]` and `Eff[value, error, ports]`; anything else is the value itself."""
    if get_origin(returned) is Generator:
        return get_args(returned)[2]
    return get_args(returned)[0] if get_origin(returned) is Eff else returned


def _state(form: Form) -> Form | None:
    return get_args(form)[0] if get_origin(form) is Context and get_args(form) else None
