"""What crucible imports, and when. Who may import whom inside crucible is in .importlinter."""

import ast
import importlib
import importlib.metadata
import json
import pkgutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import crucible
from crucible.effects import Port
from tests.sources import ROOT, SOURCES, module_name, tree_of

US = "crucible-llm"
NEEDS_AN_EXTRA = (
    "crucible.cli",
    "crucible.cookbook",
    "crucible.engine",
    "crucible.ir.codec",
    "crucible.ir.texts",
    "crucible.ir.yaml_text",
    "crucible.kitchen.handlers.blobs",
    "crucible.kitchen.handlers.exact_vectors",
    "crucible.kitchen.handlers.hf",
    "crucible.kitchen.handlers.lancedb",
    "crucible.kitchen.handlers.math",
    "crucible.kitchen.handlers.mlflow",
    "crucible.kitchen.handlers.opentelemetry",
    "crucible.kitchen.handlers.reasoning_gym",
    "crucible.kitchen.handlers.sentence_transformers",
    "crucible.kitchen.handlers.tensorboard",
    "crucible.kitchen.handlers.tinkex",
    "crucible.kitchen.handlers.torch",
    "crucible.kitchen.handlers.trackio",
    "crucible.kitchen.handlers.wandb",
    "crucible.kitchen.progress",
    "crucible.telemetry.analysis",
    "crucible.telemetry.export",
    "crucible.telemetry.plots",
    "crucible.telemetry.report",
    "crucible.telemetry.watch",
    "crucible.testing.tinker_server",
)
PACKAGES = [it.name for it in pkgutil.iter_modules(crucible.__path__, "crucible.") if it.name not in NEEDS_AN_EXTRA]

MEASURE = """
import json, sys, time
before = set(sys.modules)
start = time.process_time()
import {module}
seconds = time.process_time() - start
print(json.dumps([seconds, sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})]))
"""


def normal(distribution: str) -> str:
    """Write a distribution's name as the packaging index does."""
    return distribution.lower().replace("_", "-")


def requirements(distribution: str, *, extras: bool = False) -> set[str]:
    """Name what `distribution` requires, or what it requires for an extra other than `dev`."""
    needs = [Requirement(text) for text in importlib.metadata.requires(distribution) or []]
    base = {normal(need.name) for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})}
    if not extras:
        return base
    return {
        normal(need.name)
        for need in needs
        if need.marker is not None and not need.marker.evaluate({"extra": "dev"}) and normal(need.name) not in base
    }


def with_theirs(distributions: set[str]) -> set[str]:
    """Add everything that `distributions` require, and that requires, and so on."""
    found: set[str] = set()
    waiting = set(distributions)
    while waiting:
        found |= waiting
        waiting = {need for name in waiting for need in requirements(name)} - found
    return found


@cache
def owning_distributions() -> Mapping[str, Sequence[str]]:
    """Say which distributions bring each top-level module."""
    return importlib.metadata.packages_distributions()


def foreign(modules: Iterable[str], allowed: set[str]) -> set[str]:
    """Give those of the top-level `modules` that no allowed distribution, nor Python itself, brings."""
    owners = owning_distributions()
    others = set(modules) - set(sys.stdlib_module_names) - {"crucible"}
    return {name for name in others if name in owners and not allowed & {normal(owner) for owner in owners[name]}}


def imports_of(path: Path) -> set[str]:
    """Name the top-level modules that the module in `path` imports, in functions too."""
    nodes = list(ast.walk(tree_of(path)))
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_them = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in whole | from_them}


def imported(module: str) -> tuple[float, set[str]]:
    """Import `module` in a new interpreter; give the CPU seconds it took and the top-level modules it loaded."""
    command = [sys.executable, "-c", MEASURE.format(module=module)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, loaded = json.loads(done.stdout)
    return seconds, set(loaded)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_a_module_imports_only_what_pyproject_declares(path: Path) -> None:
    declared = requirements(US)
    if module_name(path).startswith(NEEDS_AN_EXTRA):
        declared |= requirements(US, extras=True)
    assert foreign(imports_of(path), declared) == set()


@pytest.mark.parametrize("package", ["crucible", *PACKAGES])
def test_a_package_loads_only_what_the_base_install_brings(package: str) -> None:
    _, loaded = imported(package)
    optional = {"sniffio"}  # anyio loads it where it happens to be installed
    assert foreign(loaded - optional, with_theirs({US})) == set()


def test_importing_crucible_is_quick() -> None:
    assert statistics.median(imported("crucible")[0] for _ in range(5)) < 0.3


def ports_and_handlers(base: type[Port] = Port) -> Iterator[type[Port]]:
    """Give every port and handler that has been defined."""
    for cls in base.__subclasses__():
        yield cls
        yield from ports_and_handlers(cls)


def test_the_cookbook_defines_no_port_and_no_handler() -> None:
    for path in SOURCES:
        if module_name(path).startswith("crucible.cookbook"):
            importlib.import_module(module_name(path))
    assert [cls for cls in ports_and_handlers() if cls.__module__.startswith("crucible.cookbook")] == []
