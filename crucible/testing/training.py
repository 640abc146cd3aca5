"""The contract of `TrainingClient`, as a suite that any handler can be put through."""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from crucible.effects import Do, Eff, Handlers, do, perform
from crucible.testing._laws import Laws, obey, refused, require, require_close, require_equal, require_falling
from crucible.testing._policy_laws import policy_laws
from crucible.testing._training_data import (
    KEPT,
    TEXTS,
    datum,
    examples,
    filled,
    learned,
    looked,
    stepped,
    stepped_norm,
    trained,
    with_inputs,
)
from crucible.train.errors import InvalidRequest, NonFiniteLoss, NotFound, SequenceTooLong, SessionClosed, TrainError
from crucible.train.ports import TrainingClient
from crucible.train.types import AdamParams, Datum, Future, SessionConfig, TrainingSession

Law: TypeAlias = Do[TrainError, TrainingClient, None]


def check_training_client(
    make: Callable[[], Handlers[TrainingClient]],
    *,
    model: str,
    learning_rate: float = 1e-3,
    tolerance: float = 1e-3,
) -> None:
    """Put the handlers that `make` gives through the contract of `TrainingClient`.

    Args:
        make: gives the handlers; it is called once for each law, and may give the same ones again.
        model: a model that they can train.
        learning_rate: one at which three steps on two sentences lower the loss.
        tolerance: how far losses may be apart, relative or absolute, that should be equal.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    suite = _Suite(config=SessionConfig(model=model, needs=("cross_entropy",)), rate=learning_rate, tolerance=tolerance)
    obey(make, suite.laws())


@attrs.frozen(kw_only=True)
class _Suite:
    config: SessionConfig
    rate: float
    tolerance: float

    def laws(self) -> Laws[TrainingClient]:
        return {
            "sessions start at step 0 and have names of their own": self.sessions(),
            "the tokenizer reads back what it wrote, and makes no text control": self.tokenizer(),
            "one log-probability for each position, and the loss is their weighted sum": self.shapes(),
            "forward changes nothing": self.forward_is_pure(),
            "the loss goes down on the same batch, and steps are counted": self.learning(),
            "a learning rate of 0 changes nothing": self.standing_still(),
            "gradients add up until the step that clears them": self.accumulation(),
            **policy_laws(self.opened, self.rate, self.tolerance),
            "futures can be awaited late, in any order, and twice": self.futures(),
            "a checkpoint continues the run as if never ended": self.checkpoints(),
            "what is not saved is not found": self.missing_checkpoint(),
            "saved sampler weights say what they are": self.sampler_weights(),
            "a name used again replaces nothing": self.names(),
            "deleting weights deletes nothing else, and may be repeated": self.deleting(),
            "a closed session is closed, others are not": self.closing(),
            "bad batches are refused and do no harm": self.bad_batches(),
        }

    @do
    def opened(self) -> Do[TrainError, TrainingClient, tuple[TrainingSession, tuple[Datum, ...]]]:
        session = yield from perform(TrainingClient.start_session, self.config)
        tokenizer = yield from perform(TrainingClient.get_tokenizer, session)
        return session, examples(tokenizer)

    @do
    def sessions(self) -> Law:
        first = yield from perform(TrainingClient.start_session, self.config)
        second = yield from perform(TrainingClient.start_session, self.config)
        require(first.id != second.id, f"two sessions have the id {first.id!r}")
        require_equal((first.model, first.step), (self.config.model, 0), "model and step of a new session")
        require_equal(dict(first.metadata), {}, "what a new session goes on from")
        require(first.max_length > 0, f"max_length is {first.max_length}")

    @do
    def tokenizer(self) -> Law:
        session = yield from perform(TrainingClient.start_session, self.config)
        tokenizer = yield from perform(TrainingClient.get_tokenizer, session)
        for text in TEXTS:
            tokens = tokenizer.encode(text)
            require_equal(tokenizer.decode(tokens), text, "the decoded text")
            require(all(0 <= token < tokenizer.vocab_size for token in tokens), f"a token of {tokens} is out of range")
            require_equal(tokenizer.encode_text(text), tokens, f"the tokens of {text!r} as text")
        control = tokenizer.control_tokens
        for text in [f"a{name}b" for name in sorted(control)[:8]]:
            tokens = tokenizer.encode_text(text)
            require(
                set(control.values()).isdisjoint(tokens), f"a control token comes out of the text {text!r}: {tokens}"
            )
            require_equal(tokenizer.decode(tokens), text, "the decoded text")
        require(0 <= tokenizer.eos_token < tokenizer.vocab_size, f"eos_token is {tokenizer.eos_token}")

    @do
    def shapes(self) -> Law:
        session, data = yield from self.opened()
        for output in ((yield from looked(session, data)), (yield from learned(session, data))):
            require_equal(tuple(map(len, output.logprobs)), tuple(len(d.model_input) for d in data), "logprob lengths")
            weighted = 0.0
            for item, logprobs in zip(data, output.logprobs, strict=True):
                for weight, logprob in zip(item.loss_fn_inputs["weights"].data, logprobs, strict=True):
                    require(logprob == 0 if weight == 0 else logprob <= 0, f"{logprob} where the weight is {weight}")
                    weighted -= weight * logprob
            require(math.isfinite(output.loss) and output.loss > 0, f"the loss is {output.loss}")
            require_close(output.loss, weighted, "the loss", tolerance=self.tolerance)

    @do
    def forward_is_pure(self) -> Law:
        plain, data = yield from self.opened()
        watched, _ = yield from self.opened()
        before = yield from looked(watched, data)
        again = yield from looked(watched, data)
        require_close(again.loss, before.loss, "the loss seen again", tolerance=self.tolerance)
        yield from learned(plain, data[:1])
        yield from learned(watched, data[:1])
        yield from looked(watched, data[1:])
        losses = []
        for session in (plain, watched):
            yield from stepped(session, self.rate)
            losses.append((yield from looked(session, data)).loss)
        require_close(losses[1], losses[0], "the loss after a forward in between", tolerance=self.tolerance)

    @do
    def learning(self) -> Law:
        session, data = yield from self.opened()
        losses = yield from trained(session, data, self.rate, 3)
        require_falling(losses, "the loss")
        yield from learned(session, data)
        step = yield from stepped(session, self.rate)
        require_equal((step.step, step.learning_rate), (4, self.rate), "step and learning rate of the fourth step")
        yield from learned(session, data)
        require((yield from stepped_norm(session, self.rate)) > 0, "the gradient norm is 0")

    @do
    def standing_still(self) -> Law:
        session, data = yield from self.opened()
        losses = yield from trained(session, data, 0.0, 2)
        for loss in losses[1:]:
            require_close(loss, losses[0], "the loss", tolerance=self.tolerance)

    @do
    def accumulation(self) -> Law:
        whole, data = yield from self.opened()
        parts, _ = yield from self.opened()
        yield from learned(whole, data)
        for item in data:
            yield from learned(parts, [item])
        norms, losses = [], []
        for session in (whole, parts):
            norms.append((yield from stepped_norm(session, self.rate)))
            losses.append((yield from looked(session, data)).loss)
        require_close(norms[1], norms[0], "the gradient norm of a batch in parts", tolerance=self.tolerance)
        require_close(losses[1], losses[0], "the loss after a batch in parts", tolerance=self.tolerance)

    @do
    def futures(self) -> Law:
        session, data = yield from self.opened()
        one, _ = yield from self.opened()
        expected = yield from trained(one, data, self.rate, 1)
        submitted = yield from perform(TrainingClient.forward_backward, session, data)
        yield from perform(TrainingClient.optim_step, session, AdamParams(learning_rate=self.rate))
        looking = yield from perform(TrainingClient.forward, session, data)
        late = yield from perform(TrainingClient.await_, looking)
        early = yield from perform(TrainingClient.await_, submitted)
        require_close(early.loss, expected[0], "the loss of the first request", tolerance=self.tolerance)
        require_close(late.loss, expected[1], "the loss of a request after the step", tolerance=self.tolerance)
        require_equal((yield from perform(TrainingClient.await_, submitted)), early, "what is awaited again")
        forged: Future[object] = Future(id="never-submitted", session_id=session.id, operation="forward")
        yield from refused("a future that was never given", perform(TrainingClient.await_, forged))

    @do
    def checkpoints(self) -> Law:
        session, data = yield from self.opened()
        yield from trained(session, data, self.rate, 2)
        saved = yield from perform(TrainingClient.save_checkpoint, session, "contract", metadata=KEPT)
        require_equal((saved.name, saved.step), ("contract", 2), "name and step of the checkpoint")
        expected = yield from trained(session, data, self.rate, 2)
        restored = yield from perform(TrainingClient.restore_session, self.config, saved.path)
        require_equal(restored.step, 2, "the step of the restored session")
        require_equal(dict(restored.metadata), KEPT, "what was saved with the checkpoint")
        losses = yield from trained(restored, data, self.rate, 1)
        yield from learned(restored, data)
        require_equal((yield from stepped(restored, self.rate)).step, 4, "the step count of the restored session")
        losses = (*losses, (yield from looked(restored, data)).loss)
        for found, wanted in zip(losses, expected, strict=True):
            require_close(found, wanted, "the loss after restoring", tolerance=self.tolerance)
        bare = yield from perform(TrainingClient.restore_session, self.config, saved.path, with_optimizer=False)
        require_equal(bare.step, 0, "the step of a session that begins with weights alone")
        require_equal(dict(bare.metadata), {}, "what a session that begins with weights alone goes on from")
        loss = (yield from looked(bare, data)).loss
        require_close(loss, expected[0], "the loss of the weights alone", tolerance=self.tolerance)
        yield from learned(bare, data)
        require_equal((yield from stepped(bare, self.rate)).step, 1, "the first step of that session")

    @do
    def missing_checkpoint(self) -> Law:
        opening = perform(TrainingClient.restore_session, self.config, "no-such-checkpoint")
        yield from refused("a checkpoint that was never saved", opening, NotFound, InvalidRequest)

    @do
    def sampler_weights(self) -> Law:
        session, data = yield from self.opened()
        first = yield from perform(TrainingClient.save_sampler_weights, session, "first")
        yield from trained(session, data, self.rate, 1)
        second = yield from perform(TrainingClient.save_sampler_weights, session, "second")
        require(first.path != second.path, f"two versions have the path {first.path!r}")
        require_equal((first.step, second.step), (0, 1), "the steps of the versions")
        require_equal(second.model, session.model, "the model of the weights")

    @do
    def names(self) -> Law:
        session, data = yield from self.opened()
        first = yield from perform(TrainingClient.save_checkpoint, session, "again")
        weights = yield from perform(TrainingClient.save_sampler_weights, session, "again")
        before = yield from looked(session, data)
        yield from trained(session, data, self.rate, 1)
        second = yield from perform(TrainingClient.save_checkpoint, session, "again")
        newer = yield from perform(TrainingClient.save_sampler_weights, session, "again")
        require(first.path != second.path, f"two checkpoints have the path {first.path!r}")
        require(weights.path != newer.path, f"two versions have the path {weights.path!r}")
        restored = yield from perform(TrainingClient.restore_session, self.config, first.path)
        loss = (yield from looked(restored, data)).loss
        require_close(loss, before.loss, "the loss of what was saved first", tolerance=self.tolerance)

    @do
    def deleting(self) -> Law:
        session, data = yield from self.opened()
        checkpoint = yield from perform(TrainingClient.save_checkpoint, session, "kept")
        weights = yield from perform(TrainingClient.save_sampler_weights, session, "kept")
        for _ in range(2):
            yield from perform(TrainingClient.delete_sampler_weights, weights)
        elsewhere = attrs.evolve(weights, path=checkpoint.path)
        yield from refused("a checkpoint", perform(TrainingClient.delete_sampler_weights, elsewhere), InvalidRequest)
        yield from perform(TrainingClient.restore_session, self.config, checkpoint.path)
        yield from trained(session, data, self.rate, 1)

    @do
    def closing(self) -> Law:
        session, data = yield from self.opened()
        other, _ = yield from self.opened()
        for _ in range(2):
            yield from perform(TrainingClient.close_session, session)
        for what, use in _uses(session, data).items():
            yield from refused(f"{what} of a closed session", use, SessionClosed)
        stranger = attrs.evolve(session, id="never-opened")
        yield from refused("a session that was never opened", learned(stranger, data), SessionClosed)
        yield from trained(other, data, self.rate, 1)

    @do
    def bad_batches(self) -> Law:
        session, data = yield from self.opened()
        clean, _ = yield from self.opened()
        untrained = datum((*data[0].model_input.tokens, 1), untrained=len(data[0].model_input))
        yield from refused("an empty batch", learned(session, ()), InvalidRequest)
        yield from refused("a batch without a trained token", learned(session, [untrained]), InvalidRequest)
        aimless = with_inputs(data[1], {"weights": data[1].loss_fn_inputs["weights"]})
        error = yield from refused("an example without targets", learned(session, [data[0], aimless]), InvalidRequest)
        require_equal(getattr(error, "index", None), 1, "the index of the bad example")
        broken = with_inputs(data[0], {**data[0].loss_fn_inputs, "weights": filled(data[0], math.nan)})
        yield from refused("a weight of NaN", learned(session, [broken]), NonFiniteLoss, InvalidRequest)
        token = data[0].model_input.tokens[0]
        long = datum((token,) * (session.max_length + 2))
        error = yield from refused("a long example", learned(session, [data[0], long]), SequenceTooLong)
        expected = SequenceTooLong(index=1, length=session.max_length + 1, limit=session.max_length)
        require_equal(error, expected, "the error about the long example")
        losses = yield from trained(session, data, self.rate, 1)
        for found, wanted in zip(losses, (yield from trained(clean, data, self.rate, 1)), strict=True):
            require_close(found, wanted, "the loss after refused batches", tolerance=self.tolerance)


def _uses(session: TrainingSession, data: Sequence[Datum]) -> dict[str, Eff[object, TrainError, TrainingClient]]:
    return {
        "the tokenizer": perform(TrainingClient.get_tokenizer, session),
        "forward": looked(session, data),
        "forward_backward": learned(session, data),
        "optim_step": stepped(session, 0.0),
        "save_checkpoint": perform(TrainingClient.save_checkpoint, session, "late"),
        "save_sampler_weights": perform(TrainingClient.save_sampler_weights, session, "late"),
    }
