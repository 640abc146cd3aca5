"""States in which single stages are tried: a session that is open, with a batch to train on."""

from crucible.effects import Handlers
from crucible.kitchen import Context
from crucible.kitchen.handlers.noop import EveryPort
from crucible.kitchen.stage import starting_from
from crucible.kitchen.stages.setup import init_session, init_tokenizer, load_dataset
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState, build_supervised_dataset
from crucible.kitchen.states import Batched
from tests.kitchen.workflows.small import BASE

begin = starting_from(SupervisedConfig) >> load_dataset >> init_session >> init_tokenizer >> build_supervised_dataset


def opened(handlers: Handlers[EveryPort], config: SupervisedConfig = BASE) -> Context[SupervisedState]:
    """Give the context in which the first batch is about to be drawn."""
    return handlers.run(begin(Context.start(config, run_id="evening"))).unwrap()


def batched(context: Context[SupervisedState]) -> Context[Batched[SupervisedState]]:
    """Choose all data as the batch."""
    return context.to(Batched(base=context.state, batch=context.state.data))
