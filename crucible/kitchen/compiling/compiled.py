"""`Compiled`: an experiment that can be run, or looked at first."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Never

import anyio
import attrs

from crucible.effects import Failure, Handlers, Json, OverBudget, Port, Result, Success, show_path
from crucible.ir import VERSION, Experiment, ReliabilitySpec, StatsSpec, encode, fingerprint
from crucible.kitchen.compiling.baselines import Compared, compared
from crucible.kitchen.compiling.erased import AnyRecipe, EveryHandler, every_handler
from crucible.kitchen.compiling.estimates import estimates
from crucible.kitchen.compiling.observing import Observed
from crucible.kitchen.compiling.reliability import OverRate, reliable
from crucible.kitchen.compiling.results import Written, find_baseline, names_of, summary_rows, written
from crucible.kitchen.compiling.supplies import Places, Supply, together
from crucible.kitchen.config import said_reference
from crucible.kitchen.outline import Outline
from crucible.kitchen.run import RunFailed, RunResult, new_run_id, run
from crucible.telemetry.loading import LoadedRun, load_run
from crucible.train.types import AdamParams

RUNS = Path("runs")

_SET_BY_THE_RUN = frozenset({(AdamParams, "learning_rate")})
"""What a configuration has room for, and the run decides at each step: a plan would show what never counts."""


@attrs.frozen(kw_only=True)
class ExperimentPlan:
    """What a run would do: its stages, who handles each port, its configuration, and what it would cost where that is known.

    `around` is what the run has beside its workflow: what makes its calls reliable, the baseline, the outputs.
    """

    experiment: str
    fingerprint: str
    outline: Outline
    ports: Mapping[str, str]
    config: object
    around: Mapping[str, object]
    estimates: Mapping[str, str]

    def __str__(self) -> str:
        around = [line for name, value in self.around.items() for line in _field_lines(name, value)]
        reference = said_reference(self.config)
        sections = {
            "ports": [f"{port}: {said}" for port, said in self.ports.items()] or ["none"],
            **({} if reference is None else {"reference": [reference]}),
            "configuration": list(_lines(self.config)),
            **({"around it": around} if around else {}),
            "estimates": [f"{name}: {value}" for name, value in self.estimates.items()] or ["nothing is known before"],
        }
        parts = ["\n  ".join([title, *lines]) for title, lines in sections.items()]
        head = f"experiment {self.experiment}, fingerprint {self.fingerprint}"
        return "\n\n".join([head, self.outline.show(), *parts])


@attrs.frozen(kw_only=True)
class Finished:
    """What a run of an experiment made: its result, where its things are, its outputs, how it compares with the baseline.

    `findings` are those of guardrails and of the comparison of groups; `problems` are of what came after the run, such as an
    output that could not be written.
    """

    result: RunResult[object]
    folder: Path
    outputs: tuple[Written, ...] = ()
    comparison: Compared | None = None
    findings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Write what a person wants to see first: printed outputs, or the metrics in short, and where everything is."""
        result = self.result
        lines = [output.text for output in self.outputs if output.path is None]
        lines = lines or [_in_short(row) for row in summary_rows(result.metrics)]
        lines += [] if self.comparison is None else [str(self.comparison)]
        lines += [f"{artifact.kind}: {artifact.path}" for artifact in result.artifacts]
        lines += [f"{output.name}: {output.path}" for output in self.outputs if output.path is not None]
        lines += self.findings
        lines += [f"problem: {problem}" for problem in self.problems]
        return "\n".join([*lines, f"{result.run_id}: {self.folder}, {result.duration_seconds:.0f} s"])


@attrs.frozen(kw_only=True)
class Compiled:
    """A workflow, its configuration and its handlers, all checked: `plan` shows them, `run` runs them.

    Args:
        experiment: the spec that they were made of.
        recipe: the workflow, with its configuration.
        supplies: the handlers that the spec brings, made for each run.
        handlers: those that were given in code; they stand before the others.
    """

    experiment: Experiment
    recipe: AnyRecipe
    supplies: tuple[Supply, ...]
    handlers: Handlers[Never]

    def plan(self) -> ExperimentPlan:
        """Say what a run would do. Nothing is performed."""
        needed = sorted(self.recipe.required_ports, key=lambda port: port.__name__)
        return ExperimentPlan(
            experiment=self.experiment.id,
            fingerprint=fingerprint(self.experiment),
            outline=self.recipe.workflow.outline,
            ports={port.__name__: self._handler_of(port) for port in needed},
            config=self.recipe.default_config,
            around=_around(self.experiment),
            estimates=estimates(self.experiment),
        )

    def run(
        self,
        runs: Path | str = RUNS,
        *,
        run_id: str | None = None,
        on_event: Callable[[object], None] | None = None,
    ) -> Result[Finished, RunFailed[object]]:
        """Run the experiment; everything that it makes goes into a folder of its own below `runs`.

        Args:
            runs: the folder of all runs, where the one of the baseline is looked for, too.
            run_id: made up of the experiment's and the time when absent.
            on_event: sees each event as it is told, for a progress bar say.

        Fails: RunFailed with the error and the stage; before anything is done when the baseline is not there, or the folder cannot
            be made.
        """
        name = run_id or f"{self.experiment.id}_{new_run_id()}"
        places = Places(runs=Path(runs), run=Path(runs) / name)
        earlier: LoadedRun | None = None
        if self.experiment.baseline is not None:
            found = find_baseline(self.experiment.baseline, places.runs)
            if isinstance(found, Failure):
                return Failure(RunFailed[object](run_id=name, path="baseline", error=found.failure()))
            earlier = found.unwrap()
        try:
            places.run.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"{places.run} cannot be made: {error.strerror or error}: give another folder for the runs"
            return Failure(RunFailed[object](run_id=name, path="runs", error=message))
        observed = Observed()
        handlers = self.handlers_at(places, observed)
        try:
            done = run(self.recipe, handlers, run_id=name, on_event=on_event, about=self.about())
        except (OverBudget, OverRate) as over:
            return Failure(RunFailed[object](run_id=name, path=show_path(over.call.path), error=str(over)))
        if isinstance(done, Failure):
            return Failure(done.failure())
        fairness = self.experiment.reliability.fairness
        unfair = "" if fairness is None else observed.unfairness(fairness)
        if fairness is not None and fairness.fail_on_violation and unfair:
            kept = f"{unfair} (the run itself is whole: {places.run})"
            return Failure(RunFailed[object](run_id=name, path="fairness", error=kept))
        findings = (*observed.findings, *([unfair] if unfair else []))
        return Success(attrs.evolve(self._finished(done.unwrap(), places, earlier), findings=findings))

    def handlers_at(self, places: Places, observed: Observed) -> EveryHandler:
        """Make the handlers of a run; services as reliable as the spec asks. Making them performs nothing."""
        services = together(supply.make(places) for supply in self.supplies if supply.is_service)
        local = together(supply.make(places) for supply in self.supplies if not supply.is_service)
        asked = reliable(services | self.handlers, self.experiment.reliability)
        return every_handler(observed.watching(asked, self.experiment) | local)

    def about(self) -> Mapping[str, Json]:
        """Give what is kept with a run: the spec, its fingerprint, the version of its schema. A spec has no secrets."""
        return {
            "experiment": self.experiment.id,
            "tags": list(self.experiment.tags),
            "spec": encode(self.experiment),
            "spec_fingerprint": fingerprint(self.experiment),
            "spec_version": VERSION,
        }

    def _handler_of(self, port: type[Port]) -> str:
        if self.handlers.ports & {port, Port}:
            return "given in code"
        return next(supply.said for supply in reversed(self.supplies) if port in supply.ports)

    def _finished(self, result: RunResult[object], places: Places, earlier: LoadedRun | None) -> Finished:
        outputs, problems = self._written(result, places)
        comparison = None
        if earlier is not None:
            stats = self.experiment.reliability.stats or StatsSpec()
            comparison = compared(earlier.points, result.metrics, stats, baseline=earlier.run_id)
        return Finished(
            result=result,
            folder=places.run,
            outputs=tuple(outputs),
            comparison=comparison,
            problems=(*result.telemetry_problems, *problems),
        )

    def _written(self, result: RunResult[object], places: Places) -> tuple[list[Written], list[str]]:
        """Write the outputs, of what the stores hold now; give them, and what went wrong with the others."""
        wanted = self.experiment.outputs
        if not wanted:
            return [], []
        loaded = anyio.run(partial(load_run, result.run_id, runs=places.run))
        if isinstance(loaded, Failure):
            return [], [f"the output {output.name} was not written: {loaded.failure()}" for output in wanted]
        outputs: list[Written] = []
        problems: list[str] = []
        for output in wanted:
            try:
                outputs += written(output, loaded.unwrap(), places.run)
            except OSError as error:
                problems.append(f"the output {output.name} was not written: {error}")
        return outputs, problems


def _in_short(row: Mapping[str, Json]) -> str:
    """Write how a metric went.

    >>> _in_short({"metric": "loss", "points": 40, "first": 3.40752, "last": 0.25, "lowest": 0.25, "highest": 3.40752})
    'loss: 3.408 -> 0.25'
    """
    first, last = (f"{row[name]:.4g}" for name in ("first", "last"))
    return f"{row['metric']}: {last}" if row["points"] == 1 else f"{row['metric']}: {first} -> {last}"


def _lines(config: object, indent: str = "") -> Iterator[str]:
    """Write a configuration with one field on a line; what is hidden from `repr` stays hidden."""
    kind: type = type(config)
    for field in attrs.fields(kind):
        if field.repr is not False and (kind, field.name) not in _SET_BY_THE_RUN:
            yield from _field_lines(field.name, getattr(config, field.name), indent)


def _field_lines(name: str, value: object, indent: str = "") -> Iterator[str]:
    if attrs.has(type(value)) and not isinstance(value, Sequence):
        yield f"{indent}{name}:"
        yield from _lines(value, indent + "  ")
    else:
        yield f"{indent}{name}: {value.value if isinstance(value, Enum) else value!r}"


def _around(experiment: Experiment) -> Mapping[str, object]:
    """Give what a run has beside its workflow, by name."""
    spec = experiment.reliability
    asked = {field.name: getattr(spec, field.name) for field in attrs.fields(ReliabilitySpec)}
    files = [name for output in experiment.outputs for name in names_of(output)]
    named = {**asked, "baseline": experiment.baseline, "outputs": files or None}
    return {name: value for name, value in named.items() if value is not None}
