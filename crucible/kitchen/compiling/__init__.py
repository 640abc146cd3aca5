"""From a spec to a run: `compile_experiment` makes a workflow, its configuration and its handlers of an `Experiment`.

    compiled = compile_experiment(load("experiment.yaml").unwrap())
    print(compiled.unwrap().plan())
    compiled.unwrap().run("runs/")

What a static checker does for a program is done here when the file is read: an unknown stage, a wrong order, an option that no
stage takes, a port without a handler and a package that is missing are problems with a place in the file, before anything starts.
"""

from crucible.kitchen.compiling.baselines import Compared
from crucible.kitchen.compiling.catalogue import Catalogue, Entry, standard_catalogue
from crucible.kitchen.compiling.compile import compile_experiment
from crucible.kitchen.compiling.compiled import Compiled, ExperimentPlan, Finished
from crucible.kitchen.compiling.results import Written

__all__ = [
    "Catalogue",
    "Compared",
    "Compiled",
    "Entry",
    "ExperimentPlan",
    "Finished",
    "Written",
    "compile_experiment",
    "standard_catalogue",
]
