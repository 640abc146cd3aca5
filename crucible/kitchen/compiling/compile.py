"""`compile_experiment`: from a spec to a workflow with its configuration and handlers, or to all that is wrong with it."""

from collections.abc import Iterator, Sequence
from typing import Never

from crucible.effects import Eff, Failure, Handlers, Port, Result, Success, from_result
from crucible.ir import (
    DistillationSpec,
    EnvironmentSpec,
    Experiment,
    FeedbackLoopSpec,
    InvalidSpec,
    PreferenceSpec,
    Problem,
    ReinforcementSpec,
    SupervisedSpec,
    problems_of,
)
from crucible.kitchen.compiling.backends import backend_found
from crucible.kitchen.compiling.catalogue import Catalogue, standard_catalogue
from crucible.kitchen.compiling.compiled import Compiled
from crucible.kitchen.compiling.configs import config_of
from crucible.kitchen.compiling.erased import AnyStage, recipe_of
from crucible.kitchen.compiling.methods import (
    Method,
    distillation_method,
    feedback_method,
    preference_method,
    reinforcement_method,
    supervised_method,
)
from crucible.kitchen.compiling.observing import observing_problems
from crucible.kitchen.compiling.pipeline import left_undone, workflow_of
from crucible.kitchen.compiling.reliability import reliability_problems
from crucible.kitchen.compiling.results import result_problems
from crucible.kitchen.compiling.rows import evaluator_found, rows_found
from crucible.kitchen.compiling.stores import feedback_found, registry_found, telemetry_found
from crucible.kitchen.compiling.supplies import Found, Supply, missing_extra
from crucible.kitchen.environments import RowRules, row_environment, whole_text
from crucible.kitchen.ports import Evaluator, FeedbackClient
from crucible.kitchen.stages.reinforcement import EnvironmentOf
from crucible.train.environments import ProblemEnv, last_boxed
from crucible.train.errors import TrainError
from crucible.train.ports import CustomLossClient, DatasetStore, SamplingClient, TopLogprobsClient, TrainingClient
from crucible.train.renderers import Renderer
from crucible.train.types import Message, Row


def compile_experiment(
    experiment: Experiment,
    *,
    catalogue: Catalogue = standard_catalogue(),
    handlers: Handlers[Never] = Handlers.none(),
    source: str = "",
) -> Result[Compiled, InvalidSpec]:
    """Make a workflow, its configuration and its handlers of an experiment. Nothing is performed.

    Args:
        experiment: what to run.
        catalogue: the stages that its pipeline can name beside those of its method.
        handlers: of ports that no spec brings, or in the place of those that it does.
        source: where the spec is from, for messages.

    Fails: InvalidSpec with all its problems: first those of the spec by itself, and where it has none those of stages,
        options, order, handlers and packages.
    """
    problems: list[Problem] = list(problems_of(experiment))
    if problems:
        return Failure(InvalidSpec(problems=tuple(problems), source=source))
    method = method_of(experiment, catalogue)
    workflow, config = workflow_of(method, experiment.pipeline), config_of(experiment)
    for result in (workflow, config):
        problems += result.failure() if isinstance(result, Failure) else ()
    problems += [] if problems else left_undone(experiment, catalogue.own)
    needed = workflow.map(lambda whole: whole.outline.all_ports()).value_or(_usual_ports(method))
    found = list(_found(experiment, needed))
    problems += [each for each in found if isinstance(each, Problem)]
    supplies = tuple(each for each in found if isinstance(each, Supply))
    if not problems:
        problems += _unhandled(needed, supplies, handlers)
    if isinstance(workflow, Failure) or isinstance(config, Failure) or problems:
        return Failure(InvalidSpec(problems=tuple(problems), source=source))
    recipe = recipe_of(experiment.id, experiment.description, workflow.unwrap(), config.unwrap())
    return Success(Compiled(experiment=experiment, recipe=recipe, supplies=supplies, handlers=handlers))


def method_of(experiment: Experiment, catalogue: Catalogue) -> Method:
    """Give the method of an experiment, with the stages of the catalogue; without a training there are only those."""
    return _method_of(experiment).with_entries(catalogue.own)


def _method_of(experiment: Experiment) -> Method:
    training = experiment.training
    match training:
        case SupervisedSpec():
            return supervised_method()
        case PreferenceSpec():
            return preference_method()
        case ReinforcementSpec():
            name = "" if experiment.dataset is None else experiment.dataset.name
            environment_of = _problems_of_rows(training.environment, name)
            return reinforcement_method(environment_of, side_by_side=training.asynchronous)
        case DistillationSpec():
            return distillation_method(forward_kl=training.mode == "forward_kl")
        case FeedbackLoopSpec():
            return feedback_method()
        case None:
            return Method(name=experiment.id, config=Experiment, entries={}, standard=())


def _problems_of_rows(spec: EnvironmentSpec, dataset: str) -> EnvironmentOf[Evaluator]:
    """Make what makes the environment of a row: its question is asked once, and the evaluator judges."""
    rules = RowRules(
        dataset=dataset,
        extract=last_boxed if spec.extract == "boxed" else whole_text,
        prefix=() if spec.system is None else (Message(role="system", content=spec.system),),
        format_coef=spec.format_coef,
        needs_answer=spec.needs_answer,
    )

    def environment_of(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Evaluator], TrainError, Evaluator]:
        return from_result(row_environment(row, renderer, rules))

    return environment_of


def _found(experiment: Experiment, needed: frozenset[type[Port]]) -> Iterator[Found]:
    """Give all handlers that the spec brings, later ones over earlier ones, and what is wrong."""
    missing = missing_extra("specs", "cattrs", path="")
    if missing is not None:
        yield missing
    yield from backend_found(experiment)
    yield from rows_found(experiment, needed)
    yield from evaluator_found(experiment, needed)
    yield from registry_found(needed)
    yield from feedback_found(experiment, needed)
    yield from telemetry_found()
    yield from reliability_problems(experiment.reliability, needed)
    yield from observing_problems(experiment, needed)
    yield from result_problems(experiment)
    if experiment.deployment is not None:
        fix = "leave it out: training.register_as gives the weights a name that others can serve"
        yield Problem(path="deployment", message="nothing in a run serves a model", fix=fix)


def _usual_ports(method: Method) -> frozenset[type[Port]]:
    """Give the ports of the method's standard pipeline, where the one that is asked for cannot be put together."""
    stages: Sequence[AnyStage] = [method.entries[name].stage({}) for name in method.standard]
    return frozenset(port for stage in stages for port in stage.outline.all_ports())


def _unhandled(
    needed: frozenset[type[Port]], supplies: Sequence[Supply], handlers: Handlers[Never]
) -> Iterator[Problem]:
    handled = handlers.ports.union(*(supply.ports for supply in supplies))
    if Port in handled:
        return
    for port in sorted(needed - handled, key=lambda each: each.__name__):
        message = f"the pipeline needs a handler of {port.__name__}, and there is none"
        fix = f"give it in code: compile_experiment(..., handlers={port.__name__}.handled_by(...))"
        path, brings = _BRING.get(port, ("pipeline", ""))
        yield Problem(path=path, message=message, fix=brings or fix)


_BRING: dict[type[Port], tuple[str, str]] = {
    TrainingClient: ("backend", "take a backend that trains"),
    CustomLossClient: ("backend", "take a backend that trains on losses of one's own"),
    SamplingClient: ("backend", "take a backend that samples"),
    TopLogprobsClient: ("backend", "take a backend that tells the likeliest tokens"),
    DatasetStore: ("dataset", "name a dataset"),
    Evaluator: ("evaluator", "name an evaluator"),
    FeedbackClient: ("feedback", "say where the feedback of users is kept: storage and path"),
}
"""Which part of a spec brings the handler of a port."""
