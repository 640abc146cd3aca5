"""Where in a spec a key stands, for who has written it elsewhere."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import get_args, get_origin

import attrs

from crucible.fields import alternatives, field_types
from crucible.ir.check import is_spec


@cache
def places_of_keys(kind: type[attrs.AttrsInstance]) -> Mapping[str, str]:
    """Give the place of each key of a class of specs and of those in it: the outermost, where there is one such.

    >>> from crucible.ir import Experiment
    >>> found = places_of_keys(Experiment)
    >>> found["rank"], found["beta"], "name" in found
    ('training.lora.rank', 'training.beta for the method preference', False)
    """
    places: dict[str, dict[str, list[str]]] = {}
    for key, place, method in _walk(kind, "", "", ()):
        places.setdefault(key, {}).setdefault(place, []).append(method)
    found: dict[str, str] = {}
    for key, methods in places.items():
        outermost = min(place.count(".") for place in methods)
        nearest = [place for place in methods if place.count(".") == outermost]
        if len(nearest) == 1:
            found[key] = nearest[0] + _for_methods(methods[nearest[0]])
    return found


def _walk(
    kind: type[attrs.AttrsInstance], path: str, method: str, above: tuple[type, ...]
) -> Iterator[tuple[str, str, str]]:
    """Give each key below a class of specs with its path, and the method that it belongs to, if any."""
    for field in attrs.fields(kind):
        place = f"{path}.{field.name}" if path else field.name
        yield field.name, place, method
        hint = field_types(kind)[field.name]
        listed = [it for it in alternatives(hint) if get_origin(it) is tuple]
        inner = [it for it in (get_args(listed[0])[:1] if listed else alternatives(hint)) if is_spec(it)]
        for each in inner:
            if isinstance(each, type) and attrs.has(each) and each not in above:
                named = get_args(field_types(each)["method"])[0] if len(inner) > 1 else method
                yield from _walk(each, f"{place}[]" if listed else place, named, (*above, each))


def _for_methods(methods: list[str]) -> str:
    """Say which methods a key is for, unless it is for nearly all."""
    return f" for the method {' or '.join(methods)}" if all(methods) and len(methods) < 4 else ""
