"""The house rules that a linter does not know (CONTRIBUTING.md). The import contracts are in .importlinter."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.sources import PROGRAMS, ROOT, SOURCES, module_name, tree_of

FACADES = [path for path in SOURCES if path.name == "__init__.py" and "__all__" in path.read_text()]

MODULE_LINES = 300
FUNCTION_LINES = 40

# What is longer than the house rule allows, and how long it is. These lists may only shrink: cut, then write the new size
# or delete the line. Nothing is added.
LONG_MODULES: dict[str, int] = {}
LONG_FUNCTIONS = {
    "crucible.effects._driver:_advance": 68,  # the interpreter's one flat dispatch (design.md, measured facts)
}


# Size


def functions(node: ast.AST, outer: str = "") -> Iterator[tuple[str, int]]:
    """Give each function below `node` with its number of lines, the docstring left out."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from functions(child, outer)
            continue
        name = f"{outer}{child.name}"
        if not isinstance(child, ast.ClassDef):
            yield name, lines_of(child)
        yield from functions(child, f"{name}.")


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function from its `def` on, the docstring left out."""
    first = function.body[0]
    docstring = 0
    if ast.get_docstring(function, clean=False) is not None:
        docstring = (first.end_lineno or 0) - first.lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def over(sizes: dict[str, int], hard_stop: int, exceptions: dict[str, int]) -> list[str]:
    """List what is longer than allowed, and the exceptions that are no longer needed.

    >>> over({"a": 41, "b": 60, "c": 40}, 40, {"b": 60})
    ['a has 41 lines, the limit is 40']
    >>> over({"b": 59}, 40, {"b": 60, "gone": 50})
    ['b has 59 lines now: write 59 in the list', 'gone is within the limit now: delete it from the list']
    """
    too_long = [
        f"{name} has {size} lines, the limit is {exceptions.get(name, hard_stop)}"
        for name, size in sizes.items()
        if size > max(hard_stop, exceptions.get(name, 0))
    ]
    return too_long + [
        f"{name} has {size} lines now: write {size} in the list"
        if (size := sizes.get(name, 0)) > hard_stop
        else f"{name} is within the limit now: delete it from the list"
        for name, allowed in exceptions.items()
        if sizes.get(name, 0) < allowed
    ]


def test_no_module_is_too_long() -> None:
    sizes = {module_name(path): len(path.read_text().splitlines()) for path in [*SOURCES, *PROGRAMS]}
    assert over(sizes, MODULE_LINES, LONG_MODULES) == []


def test_no_function_is_too_long() -> None:
    sizes = {
        f"{module_name(path)}:{name}": size for path in [*SOURCES, *PROGRAMS] for name, size in functions(tree_of(path))
    }
    assert over(sizes, FUNCTION_LINES, LONG_FUNCTIONS) == []


# Facades


def facade_names(path: Path) -> list[str]:
    """Read `__all__` from the facade in `path`."""
    names: list[str] = importlib.import_module(module_name(path)).__all__
    return names


@pytest.mark.parametrize("path", FACADES, ids=module_name)
class TestAFacade:
    def test_lists_exactly_what_its_package_defines_for_others(self, path: Path) -> None:
        assert set(facade_names(path)) - {"__version__"} == shown_by(path)

    def test_is_sorted_and_has_no_name_twice(self, path: Path) -> None:
        names = facade_names(path)
        assert names == sorted(set(names), key=in_isort_order)

    def test_documents_every_name(self, path: Path) -> None:
        module = importlib.import_module(module_name(path))
        shown = [(name, getattr(module, name)) for name in facade_names(path)]
        assert [name for name, it in shown if is_ours(it) and not (it.__doc__ or "").strip()] == []

    def test_documents_every_public_method(self, path: Path) -> None:
        module = importlib.import_module(module_name(path))
        classes = [it for it in (getattr(module, name) for name in facade_names(path)) if inspect.isclass(it)]
        assert [f"{it.__name__}.{name}" for it in classes if is_ours(it) for name in undocumented(it)] == []


def shown_by(path: Path) -> set[str]:
    """Name what the facade in `path` imports from its own package, and what it defines, private names left out."""
    shown: set[str] = set()
    for node in tree_of(path).body:
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{module_name(path)}."):
            shown |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            shown.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            shown.add(ast.unparse(node.target))
    return {name for name in shown if not name.startswith("_")}


def in_isort_order(name: str) -> tuple[int, str]:
    """Order constants before classes before the rest, as ruff sorts `__all__`."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def is_ours(it: object) -> bool:
    """Tell whether `it` is a class or function that crucible defines."""
    return (inspect.isclass(it) or inspect.isfunction(it)) and it.__module__.partition(".")[0] == "crucible"


def undocumented(cls: type) -> list[str]:
    """Name the public methods that `cls` declares, and that neither it nor a base class documents."""
    members = [name for name, it in vars(cls).items() if name[0] != "_" and inspect.isroutine(inspect.unwrap(it))]
    return [name for name in members if not inspect.getdoc(getattr(cls, name))]


# Signatures


def annotations(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.expr]:
    """Give the annotations of a function, or of the fields and public methods of a class."""
    if isinstance(node, ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.AnnAssign) and not ast.unparse(child.target).startswith("_"):
                yield child.annotation
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and is_public(child.name):
                yield from annotations(child)
        return
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    yield from (each.annotation for each in every if each is not None and each.annotation is not None)
    if node.returns is not None:
        yield node.returns


def is_public(name: str) -> bool:
    """Tell whether a method may be called, or written, by a user."""
    return not name.startswith("_") or name.startswith("__")


def mentions_any(annotation: ast.expr) -> bool:
    """Tell whether `Any` stands anywhere in an annotation, quoted ones included.

    >>> [mentions_any(ast.parse(text, mode="eval").body) for text in ("dict[str, Any]", "'list[t.Any]'", "Anything")]
    [True, True, False]
    """
    return re.search(r"\bAny\b", ast.unparse(annotation)) is not None


def signatures_with_any(package: str) -> Iterator[str]:
    """Name what a facade of `package` shows with `Any` in its signature."""
    for path in FACADES:
        if not f"{module_name(path)}.".startswith(f"{package}."):
            continue
        module = importlib.import_module(module_name(path))
        for name in facade_names(path):
            it = getattr(module, name)
            if is_ours(it):
                source = ast.parse(inspect.cleandoc("\n" + inspect.getsource(it))).body[0]
                assert isinstance(source, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                if any(mentions_any(annotation) for annotation in annotations(source)):
                    yield f"{module_name(path)}.{name}"


@pytest.mark.parametrize("package", ["crucible.effects", "crucible.train", "crucible.kitchen"])
def test_no_public_signature_mentions_any(package: str) -> None:
    assert list(signatures_with_any(package)) == []


# Reasons

# Every way to silence a checker, and the same with a code (where there is one) and a reason after it.
SILENCED = re.compile(r"# (?:type: ignore|pyright: ignore|noqa|pragma: no cover)")
WITH_REASON = re.compile(
    r"# (?:(?:type: ignore|pyright: ignore)\[[\w, -]+\]|noqa: [A-Z0-9, ]+?|pragma: no cover)  # \w.*"
)


def silenced_without_reason(lines: Iterable[str]) -> list[int]:
    """Give the numbers of the lines that silence a checker and do not say why.

    >>> silenced_without_reason(["x = f()  # type: ignore[arg-type]  # f is too narrow", "y = f()  # type: ignore"])
    [2]
    """
    return [
        number for number, line in enumerate(lines, start=1) if SILENCED.search(line) and not WITH_REASON.search(line)
    ]


def test_whoever_silences_a_checker_says_why() -> None:
    tests = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path != Path(__file__)]
    found = {path: silenced_without_reason(path.read_text().splitlines()) for path in [*SOURCES, *PROGRAMS, *tests]}
    assert [f"{path.relative_to(ROOT)}:{number}" for path, numbers in found.items() for number in numbers] == []


# Files of strangers

# What would run code that stands in a file or a repository, or write outside the folder it is given.
_UNSAFE_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def unsafe_reads(tree: ast.Module) -> Iterator[str]:
    r"""Name what a module does that would trust the content of a file, or the code of a repository.

    >>> list(unsafe_reads(ast.parse("import pickle\nfrom dill import loads")))
    ['line 1: imports pickle', 'line 2: imports dill']
    >>> list(unsafe_reads(ast.parse("torch.load(f)\nnp.load(f, allow_pickle=True)\nt.extractall(p)")))
    ['line 1: torch.load without weights_only=True', 'line 2: allow_pickle=True', "line 3: extractall without filter='data'"]
    >>> list(unsafe_reads(ast.parse("torch.load(f, weights_only=True)\nt.extractall(p, filter='data')")))
    []
    >>> list(unsafe_reads(ast.parse("f(trust_remote_code=True)\n{'trust_remote_code': True}")))
    ['line 1: trust_remote_code=True', 'line 2: trust_remote_code=True']
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            unsafe = (name for name in names if name.partition(".")[0] in _UNSAFE_MODULES)
            yield from (f"line {node.lineno}: imports {name}" for name in unsafe)
        elif isinstance(node, ast.Call):
            yield from (f"line {node.lineno}: {problem}" for problem in unsafe_call(node))
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            if any(literal(key) == "trust_remote_code" and literal(value) is True for key, value in pairs):
                yield f"line {node.lineno}: trust_remote_code=True"


def unsafe_call(call: ast.Call) -> Iterator[str]:
    """Say what is unsafe about a call."""
    given = {keyword.arg: literal(keyword.value) for keyword in call.keywords}
    name = ast.unparse(call.func)
    yield from (f"{flag}=True" for flag in ("allow_pickle", "trust_remote_code") if given.get(flag) is True)
    if name == "torch.load" and given.get("weights_only") is not True:
        yield "torch.load without weights_only=True"
    if name.rpartition(".")[2] in {"extractall", "unpack_archive"} and given.get("filter") != "data":
        yield f"{name.rpartition('.')[2]} without filter='data'"


def literal(node: ast.expr | None) -> object:
    """Give the value of a literal, None of anything else."""
    return node.value if isinstance(node, ast.Constant) else None


def test_no_file_is_trusted_to_run_code_or_to_choose_where_it_is_written() -> None:
    found = {module_name(path): list(unsafe_reads(tree_of(path))) for path in [*SOURCES, *PROGRAMS]}
    assert {name: problems for name, problems in found.items() if problems} == {}
