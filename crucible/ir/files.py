"""Specs in files: JSON, YAML or TOML, by the ending of the name."""

from pathlib import Path
from typing import TypeVar, overload

import attrs

from crucible.effects import Failure, Result, Success
from crucible.ir.check import checked
from crucible.ir.codec import decode, encode
from crucible.ir.experiment import Experiment
from crucible.ir.problems import InvalidSpec, Problem
from crucible.ir.texts import Format, format_of, parse, render
from crucible.storage import replacing

S = TypeVar("S", bound=attrs.AttrsInstance)


@overload
def loads(text: str, form: Format, *, source: str = ...) -> Result[Experiment, InvalidSpec]: ...


@overload
def loads(text: str, form: Format, kind: type[S], *, source: str = ...) -> Result[S, InvalidSpec]: ...


def loads(
    text: str, form: Format, kind: type[attrs.AttrsInstance] = Experiment, *, source: str = ""
) -> Result[object, InvalidSpec]:
    r"""Read a spec from a text.

    >>> from crucible.ir import ModelRef
    >>> loads("schema: 1\nid: m", "yaml", ModelRef).unwrap()
    ModelRef(id='m', provider='huggingface', revision=None, options={})

    Fails: InvalidSpec with every problem there is.

    Raises: ImportError without the extra `specs`.
    """
    data = parse(text, form)
    if isinstance(data, Failure):
        return Failure(InvalidSpec(problems=(data.failure(),), source=source))
    return decode(data.unwrap(), kind, source=source)


def dumps(spec: attrs.AttrsInstance, form: Format) -> Result[str, InvalidSpec]:
    """Write a spec as a text.

    >>> from crucible.ir import StageDef
    >>> print(dumps(StageDef(name="save"), "yaml").unwrap(), end="")
    schema: 1
    name: save
    options: {}
    enabled: true

    Fails: InvalidSpec when something is wrong with it, or the format has no word for what it says.

    Raises: ImportError without the extra `specs`.
    """
    sound = checked(spec)
    if isinstance(sound, Failure):
        return sound
    text = render(encode(spec), form)
    return text.alt(lambda problem: InvalidSpec(problems=(problem,)))


@overload
def load(path: Path | str) -> Result[Experiment, InvalidSpec]: ...


@overload
def load(path: Path | str, kind: type[S]) -> Result[S, InvalidSpec]: ...


def load(path: Path | str, kind: type[attrs.AttrsInstance] = Experiment) -> Result[object, InvalidSpec]:
    """Read a spec from a file; the ending of its name says in which format it is.

    Fails: InvalidSpec with every problem there is, among them that the file cannot be read.

    Raises: ImportError without the extra `specs`.
    """
    return load_data(path).bind(lambda data: decode(data, kind, source=str(path)))


def load_data(path: Path | str) -> Result[object, InvalidSpec]:
    """Read the plain data of a file, in which anything may still be wrong, for who changes it before `decode`.

    Fails: InvalidSpec when it cannot be read, or is not in the format that its name says.
    """
    source = str(path)
    form = format_of(Path(path).name)
    if isinstance(form, Failure):
        return Failure(InvalidSpec(problems=(form.failure(),), source=source))
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        return _unusable(source, "cannot be read", error.strerror or str(error))
    except UnicodeDecodeError as error:
        return _unusable(source, "is no text in UTF-8", str(error), "save it as UTF-8")
    data = parse(text.removeprefix("\ufeff"), form.unwrap())
    return data.alt(lambda problem: InvalidSpec(problems=(problem,), source=source))


def save(spec: attrs.AttrsInstance, path: Path | str) -> Result[None, InvalidSpec]:
    """Write a spec to a file, whole or not at all; the ending of its name says in which format.

    >>> import tempfile
    >>> from crucible.ir import ModelRef
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     assert save(ModelRef(id="m"), f"{folder}/model.toml") == Success(None)
    ...     load(f"{folder}/model.toml", ModelRef).unwrap().id
    'm'

    Fails: InvalidSpec when something is wrong with it, or the file cannot be written.

    Raises: ImportError without the extra `specs`.
    """
    target = Path(path)
    form = format_of(target.name)
    if isinstance(form, Failure):
        return Failure(InvalidSpec(problems=(form.failure(),), source=str(path)))
    text = dumps(spec, form.unwrap())
    if isinstance(text, Failure):
        return Failure(attrs.evolve(text.failure(), source=str(path)))
    try:
        with replacing(target) as part:
            part.write_text(text.unwrap(), encoding="utf-8", newline="\n")
    except OSError as error:
        return _unusable(str(path), "cannot be written", error.strerror or str(error))
    return Success(None)


def _unusable(
    source: str, message: str, reason: str, fix: str = "look at the file, its folder and its rights"
) -> Result[S, InvalidSpec]:
    problem = Problem(path="", message=f"the file {message}: {reason}", fix=fix)
    return Failure(InvalidSpec(problems=(problem,), source=source))
