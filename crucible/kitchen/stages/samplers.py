"""Sampling sessions that are closed whatever happens."""

from collections.abc import Callable
from typing import TypeVar

from crucible.effects import Eff, attempt, bracket, perform
from crucible.train.errors import TrainError
from crucible.train.ports import SamplingClient
from crucible.train.types import SamplingConfig, SamplingSession

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")


def with_sampler(
    config: SamplingConfig, use: Callable[[SamplingSession], Eff[A, E, R]]
) -> Eff[A, E | TrainError, R | SamplingClient]:
    """Open a sampling session, use it, and close it; a close that fails hides nothing."""
    return bracket(
        perform(SamplingClient.start_session, config),
        use,
        lambda session: attempt(perform(SamplingClient.close_session, session)),
    )
