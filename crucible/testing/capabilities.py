"""The contract of what a `TrainingClient` says of itself: it does what its sessions say that it can do."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from crucible.effects import Do, Handlers, do, perform
from crucible.testing._laws import Laws, obey, require, require_close
from crucible.testing._training_data import examples, learned, stepped_norm
from crucible.train.errors import TrainError
from crucible.train.ports import TrainingClient
from crucible.train.types import FEATURES, Capabilities, Datum, LoraConfig, SessionConfig, TensorData, TrainingSession

Law: TypeAlias = Do[TrainError, TrainingClient, None]


def check_capabilities(make: Callable[[], Handlers[TrainingClient]], *, model: str, tolerance: float = 1e-3) -> None:
    """Put the handlers that `make` gives through the contract of `TrainingSession.capabilities`.

    >>> from crucible.kitchen.handlers import noop
    >>> check_capabilities(noop.training, model="any")

    Args:
        make: gives the handlers; it is called once for each law, and may give the same ones again.
        model: a model that they can train.
        tolerance: how far gradient norms may be apart, relative or absolute, that should be equal.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    obey(
        make,
        _Suite(config=SessionConfig(model=model, lora=LoraConfig(rank=4), needs=FEATURES), tolerance=tolerance).laws(),
    )


@attrs.frozen(kw_only=True)
class _Suite:
    config: SessionConfig
    tolerance: float

    def laws(self) -> Laws[TrainingClient]:
        return {
            "a session says what its backend can do where a training says what it needs": self.said(),
            "losses are sums over tokens and sequences where the session says so": self.sums(),
            "weights below 0 are meant where the session says so": self.signs(),
        }

    @do
    def said(self) -> Law:
        session, data = yield from self.opened()
        known = session.capabilities
        require(bool(known.backend), "the backend has no name")
        if known.trains is not None:
            norm = yield from self.norm(session, data)
            require((norm > 0) == known.trains, f"the gradient norm is {norm:g}, and trains is {known.trains}")

    @do
    def sums(self) -> Law:
        session, data = yield from self.opened()
        if not session.capabilities.losses_are_sums:
            return
        unit = yield from self.norm(session, data)
        for what, batch in (("twice the weights", _weighing(data, 2.0)), ("every datum twice", (*data, *data))):
            norm = yield from self.norm(session, batch)
            require_close(norm, 2 * unit, f"the gradient norm of {what}", tolerance=self.tolerance * unit)
        first = yield from self.norm(session, data[:1])
        beside = yield from self.norm(session, (data[0], *_weighing(data[1:], 1e-6)))
        require_close(beside, first, "the gradient norm beside data of no weight", tolerance=self.tolerance * first)

    @do
    def signs(self) -> Law:
        session, data = yield from self.opened()
        if not _means_signs(session.capabilities):
            return
        unit = yield from self.norm(session, data)
        none = yield from self.norm(session, (*data, *_weighing(data, -1.0)))
        require_close(none, 0.0, "the gradient norm of data and their opposites", tolerance=self.tolerance * unit)
        turned = yield from self.norm(session, _weighing(data, -1.0))
        require_close(turned, unit, "the gradient norm of the opposites", tolerance=self.tolerance * unit)

    @do
    def opened(self) -> Do[TrainError, TrainingClient, tuple[TrainingSession, tuple[Datum, ...]]]:
        session = yield from perform(TrainingClient.start_session, self.config)
        tokenizer = yield from perform(TrainingClient.get_tokenizer, session)
        return session, examples(tokenizer)

    @do
    def norm(self, session: TrainingSession, data: Sequence[Datum]) -> Do[TrainError, TrainingClient, float]:
        """Give the norm of the gradient of data; the weights stay as they are."""
        yield from learned(session, data)
        return (yield from stepped_norm(session, 0.0))


def _means_signs(known: Capabilities) -> bool:
    return known.losses_are_sums and (bool(known.negative_weights) or known.divided_by is not None)


def _weighing(data: Sequence[Datum], factor: float) -> tuple[Datum, ...]:
    """Give the data with all weights multiplied."""
    return tuple(
        attrs.evolve(
            datum,
            loss_fn_inputs={
                **datum.loss_fn_inputs,
                "weights": TensorData.floats([weight * factor for weight in datum.loss_fn_inputs["weights"].data]),
            },
        )
        for datum in data
    )
