"""The stages of supervised fine-tuning, from rows to batches."""

from typing import Never

import attrs

from crucible.effects import Do, from_result, tell
from crucible.fields import checked
from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.context import Context, Iteration
from crucible.kitchen.stage import pure_stage, stage
from crucible.kitchen.stages.positions import placed
from crucible.kitchen.stages.setup import laid_out, length_limit
from crucible.kitchen.states import Batched, Tokenized, TrainingState
from crucible.telemetry.events import DatasetBuilt
from crucible.train.algorithms.batching import steps_per_epoch
from crucible.train.errors import TrainError
from crucible.train.renderers import ChatTemplateRenderer, TrainOnWhat
from crucible.train.supervised import DatumRules, build_data
from crucible.train.types import Datum


@attrs.frozen(kw_only=True, field_transformer=checked)
class SupervisedConfig(TrainingConfig):
    """A supervised run: a training run, and which messages of a conversation it trains on."""

    train_on: TrainOnWhat = TrainOnWhat.LAST_ASSISTANT_MESSAGE


@attrs.frozen(kw_only=True)
class SupervisedState(TrainingState[SupervisedConfig]):
    """The data is built: batches can be drawn."""

    data: tuple[Datum, ...]


@stage
def build_supervised_dataset(
    context: Context[Tokenized[SupervisedConfig]],
) -> Do[TrainError, Never, Context[SupervisedState]]:
    """Render the rows into training data and lay out the schedule; a row that cannot be used is named by its index."""
    state, config = context.state, context.state.config
    limit = yield from from_result(length_limit(config, state.session))
    rules = DatumRules(train_on=config.train_on, max_length=limit, truncate=config.truncate)
    data = yield from from_result(build_data(state.rows, ChatTemplateRenderer(state.tokenizer), rules))
    total_steps = config.epochs * steps_per_epoch(len(data), batch_size=config.batch_size)
    optimization = yield from laid_out(config, total_steps=total_steps)
    yield from tell(
        DatasetBuilt(
            num_examples=len(data),
            num_tokens=sum(len(datum.model_input) for datum in data),
            num_trained_tokens=sum(datum.num_loss_tokens for datum in data),
            total_steps=total_steps,
        )
    )
    ready = SupervisedState(
        config=config,
        session=state.session,
        tokenizer=state.tokenizer,
        optimization=optimization,
        data=data,
        num_examples=len(data),
    )
    return context.to((yield from placed(ready, state)))


@pure_stage
def get_batch(context: Context[Iteration[SupervisedState, tuple[int, ...]]]) -> Context[Batched[SupervisedState]]:
    """Pick the data of this batch."""
    state, indices = context.state.state, context.state.item
    return context.to(Batched(base=state, batch=tuple(state.data[index] for index in indices)))
