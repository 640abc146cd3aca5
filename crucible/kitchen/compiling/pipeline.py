"""From the stages that a file names to a workflow: every name, option and order is checked before anything runs."""

from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

import attrs

from crucible.effects import Failure, Result, Success
from crucible.ir import Experiment, Problem, StageDef
from crucible.kitchen.compiling.catalogue import Entry
from crucible.kitchen.compiling.erased import AnyStage, in_sequence, stage_of
from crucible.kitchen.compiling.methods import Method
from crucible.kitchen.compiling.options import nearest, option_problems
from crucible.kitchen.compiling.shapes import Form, filled, matched, shown
from crucible.kitchen.stage import starting_from
from crucible.train.ports import TrainingClient

_STAGES_OF = {
    "register_as": ("register_model",),
    "evaluation": ("measure", "evaluate"),
    "held_out": ("measure", "evaluate_preferences"),
}
"""Which stages do what a field of a training asks for; what is asked for on the way, `train` does."""

_WITHOUT_TRAINING = "give a training, whose method has stages; without one there are those of a catalogue in code alone"


@attrs.frozen(kw_only=True)
class _Step:
    """A stage of the pipeline that is known: where it stands in the file, and what it is."""

    path: str
    entry: Entry
    stage: AnyStage


def workflow_of(method: Method, stages: Sequence[StageDef]) -> Result[AnyStage, tuple[Problem, ...]]:
    """Put the stages together; with none named, the method's standard pipeline.

    Fails: all that is wrong with names, options and order, each with its place in the file.
    """
    named = stages or [StageDef(name=name) for name in method.standard]
    problems: list[Problem] = []
    steps: list[_Step | None] = []  # None for one that is not known
    for index, each in enumerate(named):
        if each.enabled:
            made = _step(method, each, f"pipeline[{index}]")
            problems += made.failure() if isinstance(made, Failure) else ()
            steps.append(made.value_or(None))
    if not steps:
        problems.append(Problem(path="pipeline", message="no stage is enabled", fix="enable one, or name none at all"))
    problems += _order_problems(method, steps)
    if problems:
        return Failure(tuple(problems))
    parts = [step.stage for step in steps if step is not None]
    return Success(in_sequence(stage_of(starting_from(method.config)), parts).named(method.name))


def left_undone(experiment: Experiment, own: Collection[str]) -> Iterator[Problem]:
    """Name what a training asks for and no stage of its pipeline does.

    Stages of one's own, named in `own`, may do anything; a stage that is there and not enabled is left out on purpose.
    """
    training, names = experiment.training, {each.name for each in experiment.pipeline}
    if training is None or not names or not names.isdisjoint(own):
        return
    for field, stages in _STAGES_OF.items():
        on_the_way = field != "register_as" and "train" in names and getattr(training, "eval_every", None)
        if getattr(training, field, None) is not None and names.isdisjoint(stages) and not on_the_way:
            fix = f"name {' or '.join(stages)} in the pipeline, or leave it out"
            yield Problem(path=f"training.{field}", message="no stage of the pipeline does it", fix=fix)
    if "save_final_weights" in names and "train" not in names:
        message = "nothing is trained, and the weights would be saved as they were"
        yield Problem(path="pipeline", message=message, fix="name train before save_final_weights, or leave that out")


def _step(method: Method, named: StageDef, path: str) -> Result[_Step, tuple[Problem, ...]]:
    entry = method.entries.get(named.name)
    if entry is None:
        message = f"there is no stage {named.name!r} for {method.name}"
        fix = nearest(named.name, method.entries) if method.entries else _WITHOUT_TRAINING
        return Failure((Problem(path=f"{path}.name", message=message, fix=fix),))
    problems = tuple(option_problems(entry.name, entry.make, named.options, f"{path}.options"))
    if problems:
        return Failure(problems)
    try:
        return Success(_Step(path=path, entry=entry, stage=entry.stage(named.options)))
    except ValueError as error:
        return Failure(
            (Problem(path=f"{path}.options", message=str(error), fix=f"correct the options of {entry.name}"),)
        )


def _order_problems(method: Method, steps: Sequence[_Step | None]) -> Iterator[Problem]:
    """Follow the states through the pipeline; after a stage that is unknown or misplaced, go on from what it would give."""
    state: Form | None = method.config
    before: list[Entry] = []
    closed_by = ""
    for step in steps:
        if step is None:
            state = None  # whatever it gives
            continue
        entry = step.entry
        after = entry.shape.gives if state is None else entry.shape.after(state)
        if state is not None and after is None:
            yield _misplaced(method, step, state, [each.name for each in before])
        for name in entry.after:
            if name not in {each.name for each in before}:
                message = f"{entry.name} needs {name} before it"
                yield Problem(path=step.path, message=message, fix=f"put {name} before it")
        if entry.once and entry in before:
            message = f"{entry.name} is there already, and would find nothing left to do"
            yield Problem(
                path=step.path, message=message, fix="leave it out, and raise training.epochs to train longer"
            )
        if closed_by and TrainingClient in step.stage.outline.all_ports():
            message = f"{entry.name} needs the training session, which {closed_by} has closed"
            fix = "leave it out" if entry.closes else f"put {entry.name} before {closed_by}"
            yield Problem(path=step.path, message=message, fix=fix)
        closed_by = entry.name if entry.closes else closed_by
        state = _known(entry.shape.gives if after is None else after)
        before.append(entry)


def _known(state: Form) -> Form | None:
    """Give a state that says something, None for one of which nothing is known."""
    parameters: tuple[Form, ...] = getattr(state, "__parameters__", ())
    return None if state is object or parameters or isinstance(state, TypeVar) else state


def _misplaced(method: Method, step: _Step, state: Form, before: Sequence[str]) -> Problem:
    """Say what a stage needs that the stages before it have not made, and which stage makes it."""
    name, wanted = step.entry.name, step.entry.shape.takes
    makers = [
        each.name
        for each in method.entries.values()
        if each.shape.gives != each.shape.takes and matched(wanted, filled(each.shape.gives, {}), {}) is not None
    ]
    what = f"after {before[-1]} there is" if before else "a pipeline begins with"
    message = f"{name} takes {shown(wanted)}, and {what} {shown(state)}"
    if makers:
        there = [each for each in makers if each in before]
        fix = f"move it right after {there[-1]}" if there else f"put {' or '.join(makers)} before it"
    elif matched(wanted, method.config, {}) is not None:
        fix = "move it to the beginning"
    else:
        fix = f"leave it out: no stage of {method.name} makes that"
    return Problem(path=step.path, message=message, fix=fix)
