"""`crucible check`, `plan`, `run` and `schema`: experiments that stand in files."""

import json
import os
import sys

from crucible.cli._options import RUNS, Runs, Target
from crucible.cli._outcome import Outcome
from crucible.cli._specs import Changes, Spec, compiled
from crucible.effects import Failure, Success


def check(spec: Spec, /, *, changes: Changes = ()) -> Outcome:
    """Say all that is wrong with an experiment, or that it can be run; nothing is run.

    Args:
        spec: the file of the experiment
        changes: what is to be different from the file, as in training.epochs=2; may be given several times
    """
    found = compiled(spec, changes)
    if isinstance(found, Failure):
        return Failure(found.failure())
    experiment = found.unwrap().experiment
    return Success(f"{spec}: the experiment {experiment.id} can be run")


def plan(spec: Spec, /, *, changes: Changes = ()) -> Outcome:
    """Show what an experiment would do: its stages, who handles each port, its configuration, estimates.

    Args:
        spec: the file of the experiment
        changes: what is to be different from the file, as in training.epochs=2; may be given several times
    """
    return compiled(spec, changes).map(lambda whole: str(whole.plan()))


def run(spec: Spec, /, *, changes: Changes = (), runs: Runs = RUNS) -> Outcome:
    """Run an experiment, with its progress, and say what it reached and where its things are.

    Args:
        spec: the file of the experiment
        changes: what is to be different from the file, as in training.epochs=2; may be given several times
        runs: the folder that the folder of the run is made in
    """
    from rich.console import Console

    from crucible.kitchen.progress import RunProgress
    from crucible.kitchen.run import new_run_id

    found = compiled(spec, changes)
    if isinstance(found, Failure):
        return Failure(found.failure())
    os.environ.setdefault("TQDM_DISABLE", "1")  # the run has a progress bar of its own
    whole = found.unwrap()
    run_id = f"{whole.experiment.id}_{new_run_id()}"
    try:
        with RunProgress(Console(stderr=True)) as progress:
            done = whole.run(runs, run_id=run_id, on_event=progress.show)
    except KeyboardInterrupt:
        sys.stderr.write(f"crucible: {run_id} was interrupted; what it told and saved is in {runs / run_id}\n")
        raise
    return done.map(str)


def schema(*, to: Target | None = None) -> Outcome:
    """Write the JSON Schema of experiments, by which editors complete and check them.

    Args:
        to: the file to write; without it the schema is printed
    """
    from crucible.ir import json_schema

    text = json.dumps(json_schema(), indent=2)
    if to is None:
        return Success(text)
    try:
        to.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        return Failure(f"{to}: {error.strerror or error}")
    return Success(f"the schema of experiments: {to}")
