"""`Catalogue`: the stages that a pipeline can name, with the states that each takes and gives."""

import inspect
from collections.abc import Callable, Mapping
from typing import TypeAlias, get_args, get_origin, get_type_hints

import attrs

from crucible.effects import Failure
from crucible.kitchen.compiling.erased import AnyPart, AnyStage, stage_of
from crucible.kitchen.compiling.shapes import Form, Shape, shape_of
from crucible.kitchen.context import Context
from crucible.kitchen.stage import Stage

Maker: TypeAlias = Callable[..., AnyPart]
"""Makes a stage of options: its keyword-only parameters, whose annotations say what each may be."""


@attrs.frozen(kw_only=True)
class Entry:
    """A stage that a pipeline can name.

    Args:
        name: as pipelines name it.
        shape: the states that it takes and gives.
        make: makes the stage of its options.
        options: what it can be told, with the kind of each.
        after: stages that must stand before it, beyond those that the states ask for.
        closes: whether the training session is closed after it.
        once: whether it does nothing when it stands there again.
    """

    name: str
    shape: Shape
    make: Maker
    options: Mapping[str, Form] = attrs.field(factory=dict)
    after: tuple[str, ...] = ()
    closes: bool = False
    once: bool = False

    def stage(self, options: Mapping[str, object]) -> AnyStage:
        """Make the stage; the options have been checked."""
        return stage_of(self.make(**options))


def entry(
    name: str,
    part: AnyPart,
    *,
    states: tuple[type, type] | None = None,
    after: tuple[str, ...] = (),
    closes: bool = False,
    once: bool = False,
) -> Entry:
    """Enter a stage without options. `states` are those that it takes and gives, where no annotation tells.

    Raises: ValueError when they are not given, and cannot be read.
    """
    if states is not None:
        shape = Shape(takes=states[0], gives=states[1])
    else:
        read = shape_of(part)
        if isinstance(read, Failure):
            raise ValueError(f"stage {name!r}: {read.failure()}: give states=(what it takes, what it gives)")
        shape = read.unwrap()
    return Entry(name=name, shape=shape, make=lambda: part, after=after, closes=closes, once=once)


def entry_made(name: str, make: Maker, *, after: tuple[str, ...] = ()) -> Entry:
    """Enter a stage with options: `make` takes them by name, and its annotation says which `Stage` it makes.

    >>> from typing import Never
    >>> from crucible.kitchen import Context, pure_stage
    >>> def add(*, number: int = 1) -> Stage[Context[int], Context[int], Never, Never]:
    ...     return pure_stage(lambda context: context.to(context.state + number))
    >>> entry_made("add", add).options
    {'number': <class 'int'>}

    Raises: ValueError when it has other parameters, or does not say what it makes.
    """
    hints = get_type_hints(make)
    made = hints.pop("return", None)
    parameters = inspect.signature(make).parameters.values()
    loose = [each.name for each in parameters if each.kind is not inspect.Parameter.KEYWORD_ONLY]
    states = [_state(form) for form in get_args(made)[:2]] if get_origin(made) is Stage else []
    if loose or None in states or not states:
        raise ValueError(
            f"stage {name!r}: it is made by a function of keyword-only parameters, annotated to give a"
            " Stage[Context[...], Context[...], ..., ...]"
        )
    takes, gives = states
    return Entry(name=name, shape=Shape(takes=takes, gives=gives), make=make, options=hints, after=after)


@attrs.frozen(kw_only=True)
class Catalogue:
    """The stages that pipelines can name beside those of their training method: a value, to which one adds one's own."""

    own: Mapping[str, Entry] = attrs.field(factory=dict)

    def adding(
        self, name: str, part: AnyPart, *, states: tuple[type, type] | None = None, after: tuple[str, ...] = ()
    ) -> "Catalogue":
        """Give a catalogue that has one more stage, which is read from its annotations.

        >>> from crucible.kitchen.stages.checkpoints import save_checkpoint
        >>> sorted(standard_catalogue().adding("save_now", save_checkpoint).own)
        ['save_now']

        Args:
            name: as pipelines name it; a stage of the same name is replaced.
            part: a stage, or a function from a context to an `Eff` of a context.
            states: what a composition takes and gives, as it has no annotation of its own.
            after: names of stages that must stand before it.

        Raises: ValueError when the states are neither given nor readable.
        """
        return attrs.evolve(self, own={**self.own, name: entry(name, part, states=states, after=after)})

    def adding_made(self, name: str, make: Maker, *, after: tuple[str, ...] = ()) -> "Catalogue":
        """Give a catalogue that has one more stage, which `make` makes of the options in the file.

        Raises: ValueError when `make` does not say what it takes and makes.
        """
        return attrs.evolve(self, own={**self.own, name: entry_made(name, make, after=after)})


def standard_catalogue() -> Catalogue:
    """Give the catalogue of the stages that come with each training method."""
    return Catalogue()


def _state(form: Form) -> Form | None:
    return get_args(form)[0] if get_origin(form) is Context and get_args(form) else None
