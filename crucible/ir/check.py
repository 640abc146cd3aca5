"""`problems_of`: everything that is wrong with a spec, found in one walk over its fields, their types, limits and rules."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Literal, TypeVar, get_args, get_origin

import attrs

from crucible.effects import Failure, Result, Success
from crucible.fields import (
    Limits,
    alternatives,
    choice_problems,
    field_types,
    limits_of,
    nearest,
    no_tuple,
    said,
    wrong,
)
from crucible.ir.leaves import leaf_problems, unknown_key
from crucible.ir.problems import InvalidSpec, Problem
from crucible.ir.rules import Rule, rules_of

S = TypeVar("S", bound=attrs.AttrsInstance)


@attrs.frozen
class Missing:
    """Stands where a value should be and is none."""


MISSING = Missing()


def problems_of(spec: attrs.AttrsInstance) -> tuple[Problem, ...]:
    """Say all that is wrong with a spec, of whatever class: types, limits, and what does not go together.

    >>> from crucible.ir import LoraSpec, SupervisedSpec
    >>> for problem in problems_of(SupervisedSpec(epochs=0, eval_every=5, lora=LoraSpec(alpha=-1.0))):
    ...     print(problem)
    lora.alpha: must be above 0, not -1.0 (raise it)
    epochs: must be at least 1, not 0 (raise it)
    eval_every: is 5, but there is nothing to measure on (give an evaluation, or set eval_every to 0)
    """
    return tuple(Check().of_spec(spec))


def checked(spec: S, *, source: str = "") -> Result[S, InvalidSpec]:
    """Give a spec in which nothing is wrong.

    >>> from crucible.ir import ModelRef
    >>> checked(ModelRef(id="m")).unwrap()
    ModelRef(id='m', provider='huggingface', revision=None, options={})

    Fails: InvalidSpec with all its problems.
    """
    problems = problems_of(spec)
    return Failure(InvalidSpec(problems=problems, source=source)) if problems else Success(spec)


def is_spec(kind: object) -> bool:
    """Tell whether this is a class of specs."""
    return isinstance(kind, type) and attrs.has(kind)


def class_of(spec: object) -> type[attrs.AttrsInstance]:
    """Give the class of a spec.

    Raises: TypeError for what is none.
    """
    kind = type(spec)
    if not attrs.has(kind):
        raise TypeError(f"{spec!r} is no spec")
    return kind


def field_names(kind: type[attrs.AttrsInstance]) -> tuple[str, ...]:
    """Give the names of the fields of a class of specs."""
    return tuple(field.name for field in attrs.fields(kind))


@cache
def _rules(kind: type) -> tuple[Rule, ...]:
    return tuple(rules_of(kind))


@attrs.frozen
class Check:
    """A walk over a spec.

    Args:
        unknown: by the id of a spec, the keys of its data that are no fields of it.
        places: where keys stand in the whole, for those that stand elsewhere.
    """

    unknown: Mapping[int, tuple[str, ...]] = attrs.field(factory=dict)
    places: Mapping[str, str] = attrs.field(factory=dict)

    def of_spec(self, spec: object) -> Iterator[Problem]:
        """Give the problems of a spec."""
        kind = class_of(spec)
        types = field_types(kind)
        names, meant = field_names(kind), self._meant(spec)
        misspelt = set(meant.values())
        found = [unknown_key(key, names, meant=name, elsewhere=self.places.get(key)) for key, name in meant.items()]
        for field in attrs.fields(kind):
            value = getattr(spec, field.name)
            if value is not MISSING:
                found += [it.below(field.name) for it in self.of_value(value, types[field.name], limits_of(field))]
            elif field.name not in misspelt:
                found.append(wrong("is missing", "give it", field.name))
        broken = {problem.path for problem in found} | {name for name in misspelt if name is not None}
        broken |= {name for name in types if _is_unread(getattr(spec, name), types[name])}
        yield from found
        for rule in _rules(kind):
            if not any(_touches(path, read) for path in broken for read in rule.reads):
                yield from rule.ask(spec)

    def _meant(self, spec: object) -> Mapping[str, str | None]:
        """Give the keys that are no fields, each with the field that was probably meant: by its name, or as the only one left."""
        names, keys = field_names(class_of(spec)), self.unknown.get(id(spec), ())
        missing = [name for name in names if getattr(spec, name) is MISSING]
        left = missing[0] if len(keys) == len(missing) == 1 else None
        return {key: nearest(key, names) or left for key in keys}

    def of_value(self, value: object, kind: object, limits: Limits = Limits()) -> Iterator[Problem]:
        """Give the problems of a value that should be of this type."""
        kinds = alternatives(kind)
        if value is None and type(None) in kinds:
            return
        specs = tuple(it for it in kinds if is_spec(it))
        wanted = specs[0] if specs else kinds[0]
        if type(value) in specs:
            yield from self.of_spec(value)
        elif len(specs) > 1:
            yield from _no_method(value, specs)
        elif get_origin(wanted) is tuple:
            yield from self._list(value, get_args(wanted)[0], limits)
        elif get_origin(wanted) is Literal:
            yield from choice_problems(value, get_args(wanted))
        else:
            problems = tuple(leaf_problems(value, wanted))
            yield from problems or limits.violated_by(value)

    def _list(self, value: object, kind: object, limits: Limits) -> Iterator[Problem]:
        if not isinstance(value, tuple):
            yield no_tuple(value)
            return
        for index, item in enumerate(value):
            yield from (problem.below(f"[{index}]") for problem in self.of_value(item, kind))
        yield from limits.violated_by(value)


def _is_unread(value: object, kind: object) -> bool:
    """Tell whether data stands where a spec should."""
    return isinstance(value, Mapping) and any(is_spec(it) for it in alternatives(kind))


def _touches(path: str, read: str) -> bool:
    """Tell whether what is wrong at `path` makes what a rule reads unreadable."""
    path = re.sub(r"\[\d+\]", "[]", path)
    shorter, longer = sorted((path, read), key=len)
    return longer.startswith(shorter) and longer[len(shorter) : len(shorter) + 1] in {"", ".", "["}


def _no_method(value: object, specs: tuple[object, ...]) -> Iterator[Problem]:
    """Say why it cannot be told which of several specs a value is."""
    methods = tuple(name for spec in specs for name in get_args(field_types(spec)["method"]) if isinstance(spec, type))
    if not isinstance(value, Mapping):
        yield wrong(f"must be a mapping, not {said(value)}", f"give one with a key method: {', '.join(methods)}")
    elif "method" in value:
        yield from (problem.below("method") for problem in choice_problems(value["method"], methods))
    else:
        misspelt = next((key for key in value if nearest(str(key), ("method",))), None)
        fix = f"give one of {', '.join(methods)}"
        yield wrong("is missing", fix, "method") if misspelt is None else unknown_key(str(misspelt), ("method",))
