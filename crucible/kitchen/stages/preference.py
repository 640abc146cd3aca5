"""The stages of preference learning: pairs of answers, the reference's view of them, and steps on a preference loss."""

import math
from collections.abc import Sequence
from typing import Never

import attrs

from crucible.effects import Do, Eff, Failure, Result, Success, do, from_result, perform, tell
from crucible.kitchen.context import Context, Iteration
from crucible.kitchen.stage import pure_stage, stage
from crucible.kitchen.stages.equal_pairs import different_pairs
from crucible.kitchen.stages.policy import whole_sequence
from crucible.kitchen.stages.positions import placed
from crucible.kitchen.stages.preference_config import PreferenceConfig, PreferenceLossName
from crucible.kitchen.stages.references import with_reference
from crucible.kitchen.stages.setup import laid_out, length_limit
from crucible.kitchen.states import Stepped, Submitted, Tokenized, TrainingState
from crucible.telemetry.events import DatasetBuilt, PreferencesEvaluated, PreferenceStep
from crucible.train.algorithms.batching import steps_per_epoch
from crucible.train.algorithms.kto import KtoOnPairs
from crucible.train.algorithms.preference import BradleyTerry, Dpo, Ipo, Orpo, Pairs, SimPo
from crucible.train.algorithms.sequences import sequence_logprobs
from crucible.train.custom_loss import CustomLoss, weights_of
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.mismatched import mismatched
from crucible.train.ports import CustomLossClient, DatasetStore, SamplingClient, TrainingClient
from crucible.train.preference_data import build_pairs
from crucible.train.renderers import ChatTemplateRenderer, Renderer, TrainOnWhat
from crucible.train.supervised import DatumRules
from crucible.train.types import DatasetConfig, Datum, Row, SamplingSession

__all__ = [
    "PairBatch",
    "PreferenceConfig",
    "PreferenceLossName",
    "PreferencePairs",
    "PreferenceState",
    "build_preference_dataset",
    "compute_reference_logprobs",
    "dpo_forward_backward",
    "evaluate_preferences",
    "get_preference_batch",
    "log_dpo_metrics",
    "loss_of",
    "sequence_scores",
]


@attrs.frozen(kw_only=True)
class PreferencePairs:
    """Data of pairs, chosen and rejected in turn, and what the reference thinks of each (0 until it was asked).

    `baselines` are their prompts with other answers, for `kto`: one for each datum, or none at all.
    """

    data: tuple[Datum, ...]
    baselines: tuple[Datum, ...] = ()
    reference_N: tuple[float, ...]

    @classmethod
    def unseen(cls, data: tuple[Datum, ...], baselines: tuple[Datum, ...] = ()) -> "PreferencePairs":
        """Make pairs that no reference has seen."""
        return cls(data=data, baselines=baselines, reference_N=(0.0,) * (len(data) + len(baselines)))

    @property
    def sequences(self) -> tuple[Datum, ...]:
        """All that is scored, in the order of `reference_N`: the pairs, then the baselines."""
        return (*self.data, *self.baselines)

    def pick(self, pairs: Sequence[int]) -> "PreferencePairs":
        """Give the pairs at some places, in that order."""
        places = [place for pair in pairs for place in (2 * pair, 2 * pair + 1)]
        beside = [len(self.data) + place for place in places] if self.baselines else []
        return PreferencePairs(
            data=tuple(self.data[place] for place in places),
            baselines=tuple(self.sequences[place] for place in beside),
            reference_N=tuple(self.reference_N[place] for place in (*places, *beside)),
        )


@attrs.frozen(kw_only=True)
class PreferenceState(TrainingState[PreferenceConfig]):
    """The pairs are built: batches of them can be drawn."""

    pairs: PreferencePairs
    held_out: PreferencePairs | None = None


@attrs.frozen(kw_only=True)
class PairBatch:
    """A batch of pairs is chosen."""

    base: PreferenceState
    pairs: PreferencePairs


@stage
def build_preference_dataset(
    context: Context[Tokenized[PreferenceConfig]],
) -> Do[TrainError, DatasetStore, Context[PreferenceState]]:
    """Render the rows into pairs, the held-out rows too; a row that cannot be used is named by its index.

    A pair of two equal answers, or of two that are cut to be equal, is left out and told; where all are, that is an error.
    """
    state, config = context.state, context.state.config
    limit = yield from from_result(length_limit(config, state.session))
    rules = DatumRules(train_on=TrainOnWhat.LAST_ASSISTANT_MESSAGE, max_length=limit, truncate=config.truncate)
    renderer = ChatTemplateRenderer(state.tokenizer)
    pairs = yield from _pairs(config, state.rows, config.dataset, renderer, rules)
    held_out = None
    if config.held_out is not None:
        dataset = yield from perform(DatasetStore.load_dataset, config.held_out)
        rows = yield from perform(DatasetStore.read_rows, dataset)
        yield from from_result(_not_empty(rows, config.held_out))
        held_out = yield from _pairs(config, rows, config.held_out, renderer, rules)
    data, num_pairs = pairs.data, len(pairs.data) // 2
    total_steps = config.epochs * steps_per_epoch(num_pairs, batch_size=config.batch_size)
    optimization = yield from laid_out(config, total_steps=total_steps)
    yield from tell(
        DatasetBuilt(
            num_examples=num_pairs,
            num_tokens=sum(len(datum.model_input) for datum in data),
            num_trained_tokens=sum(datum.num_loss_tokens for datum in data),
            total_steps=total_steps,
        )
    )
    ready = PreferenceState(
        config=config,
        session=state.session,
        tokenizer=state.tokenizer,
        optimization=optimization,
        num_examples=num_pairs,
        pairs=pairs,
        held_out=held_out,
    )
    return context.to((yield from placed(ready, state)))


@stage
def compute_reference_logprobs(
    context: Context[PreferenceState],
) -> Do[TrainError, TrainingClient | SamplingClient, Context[PreferenceState]]:
    """Ask the reference once for every pair: it does not change, so neither do its answers."""
    state, config = context.state, context.state.config
    if config.reference() is None:
        return context
    held_out = state.held_out or PreferencePairs.unseen(())
    data = (*state.pairs.sequences, *held_out.sequences)
    scores = yield from with_reference(state, lambda session: sequence_scores(session, data, config.reference_batch))
    yield from from_result(_known(scores, num_data=len(state.pairs.data)))
    size = len(state.pairs.sequences)
    scored = attrs.evolve(state, pairs=attrs.evolve(state.pairs, reference_N=scores[:size]))
    if state.held_out is not None:
        scored = attrs.evolve(scored, held_out=attrs.evolve(state.held_out, reference_N=scores[size:]))
    return context.to(scored)


def _known(scores: Sequence[float], *, num_data: int) -> Result[None, TrainError]:
    """Refuse a reference that has no log-probability of some sequence: no loss has a value there."""
    index = next((index for index, score in enumerate(scores) if not math.isfinite(score)), None)
    if index is None:
        return Success(None)
    pair = index // 2 if index < num_data else None
    side = ("chosen", "rejected")[index % 2]
    where = f"sequence {index} (baselines, held-out pairs)" if pair is None else f"the {side} answer of pair {pair}"
    message = f"the reference gives {where} the log-probability {scores[index]}"
    return Failure(InvalidRequest(message=message, fix="leave that pair out, or take another reference", index=pair))


@do
def sequence_scores(
    session: SamplingSession, data: Sequence[Datum], batch_size: int
) -> Do[TrainError, SamplingClient, tuple[float, ...]]:
    """Give the weighted log-probability of each datum's targets, one for each."""
    scores: list[float] = []
    for start in range(0, len(data), batch_size):
        batch = data[start : start + batch_size]
        inputs = [whole_sequence(datum) for datum in batch]
        logprobs = yield from perform(SamplingClient.compute_logprobs, session, inputs)
        targets = [tuple(logprob or 0.0 for logprob in one[1:]) for one in logprobs]
        scores += sequence_logprobs(targets, weights_of(batch))
    return tuple(scores)


@pure_stage
def get_preference_batch(context: Context[Iteration[PreferenceState, tuple[int, ...]]]) -> Context[PairBatch]:
    """Pick the pairs of this batch."""
    state, indices = context.state.state, context.state.item
    return context.to(PairBatch(base=state, pairs=state.pairs.pick(indices)))


@stage
def dpo_forward_backward(
    context: Context[PairBatch],
) -> Do[TrainError, CustomLossClient, Context[Submitted[PreferenceState]]]:
    """Submit the forward and backward pass of the preference loss."""
    base, pairs = context.state.base, context.state.pairs
    loss = loss_of(base.config, pairs)
    gradients = yield from perform(CustomLossClient.forward_backward_custom, base.session, pairs.sequences, loss)
    num_tokens = sum(datum.num_loss_tokens for datum in pairs.data)
    return context.to(Submitted(base=base, num_tokens=num_tokens, gradients=gradients))


def log_dpo_metrics(context: Context[Stepped[PreferenceState]]) -> Eff[Context[PreferenceState], Never, Never]:
    """Tell the step's loss, rewards, margin and accuracy."""
    done = context.state
    metrics = {**done.gradients.metrics, **done.update.told}
    sequences_of_a_pair = 4 if done.base.pairs.baselines else 2
    num_pairs = len(done.gradients.logprobs) // sequences_of_a_pair
    step = PreferenceStep(step=done.base.step, metrics=metrics, num_pairs=num_pairs)
    return tell(step).map(lambda _: context.to(done.base))


@stage
def evaluate_preferences(context: Context[PreferenceState]) -> Do[TrainError, TrainingClient, Context[PreferenceState]]:
    """Rank the held-out pairs with the weights as they are. No gradient is touched."""
    state, pairs = context.state, context.state.held_out
    if pairs is None:
        return context
    future = yield from perform(TrainingClient.forward, state.session, pairs.sequences)
    output = yield from perform(TrainingClient.await_, future)
    metrics = dict(loss_of(state.config, pairs)(output.logprobs).metrics)
    yield from tell(PreferencesEvaluated(step=state.step, metrics=metrics, num_pairs=len(pairs.data) // 2))
    return context.to(attrs.evolve(state, metrics={**state.metrics, **metrics}, measured_step=state.step))


@do
def _pairs(
    config: PreferenceConfig, rows: Sequence[Row], source: DatasetConfig, renderer: Renderer, rules: DatumRules
) -> Do[TrainError, Never, PreferencePairs]:
    """Make the data of the pairs that differ, and what the loss wants beside them."""
    built = build_pairs(rows, renderer, rules, last_message_only=config.loss == "bradley_terry")
    if source is config.held_out:
        built = built.alt(lambda error: _of_held_out(error, source))
    data = yield from different_pairs((yield from from_result(built)), rows, source, max_length=rules.max_length)
    baselines = mismatched(data, max_length=rules.max_length) if config.loss == "kto" else ()
    return PreferencePairs.unseen(data, baselines)


def _of_held_out(error: TrainError, held_out: DatasetConfig) -> TrainError:
    """Say that the row is one of the held-out ones: the training rows have the same indices."""
    if not isinstance(error, InvalidRequest):
        return error
    return attrs.evolve(
        error, message=f"in the held-out dataset {held_out.name!r}, split {held_out.split!r}: {error.message}"
    )


def _not_empty(rows: Sequence[Row], held_out: DatasetConfig) -> Result[None, TrainError]:
    if rows:
        return Success(None)
    message = f"the held-out dataset {held_out.name!r}, split {held_out.split!r}, has no rows"
    return Failure(InvalidRequest(message=message, fix="check the split, or hold nothing out"))


def loss_of(config: PreferenceConfig, pairs: PreferencePairs) -> CustomLoss:
    """Make the loss of a batch of pairs."""
    weights, size = weights_of(pairs.data), len(pairs.data)
    seen = Pairs(weights_NT=weights, reference_N=pairs.reference_N[:size])
    match config.loss:
        case "dpo":
            return Dpo(pairs=seen, beta=config.beta, label_smoothing=config.label_smoothing)
        case "ipo":
            return Ipo(pairs=seen, beta=config.beta)
        case "simpo":
            return SimPo(weights_NT=weights, beta=config.beta)
        case "orpo":
            return Orpo(weights_NT=weights, coef=config.beta)
        case "kto":
            baselines, reference = weights_of(pairs.baselines), pairs.reference_N[size:]
            return KtoOnPairs(pairs=seen, baselines_NT=baselines, baseline_reference_N=reference, beta=config.beta)
        case "bradley_terry":
            return BradleyTerry(weights_NT=weights, scale=config.beta)
