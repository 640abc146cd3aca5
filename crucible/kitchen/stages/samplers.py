"""Sampling sessions that are closed whatever happens, and weights that are let go when they were sampled from."""

from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

from crucible.effects import Eff, attempt, bracket, perform
from crucible.train.errors import TrainError
from crucible.train.ports import SamplingClient, TrainingClient
from crucible.train.types import SamplerWeights, SamplingConfig, SamplingSession, TrainingSession

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
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


@attrs.frozen(kw_only=True)
class Sampled(Generic[A_co]):
    """What came of sampling, and the version of the policy that it came from."""

    policy: SamplerWeights
    value: A_co


def with_present_weights(
    training: TrainingSession, name: str, use: Callable[[SamplingSession], Eff[A, E, R]]
) -> Eff[Sampled[A], E | TrainError, R | TrainingClient | SamplingClient]:
    """Save the weights as they are under `name`, sample from them, and delete them: no one else reads this version.

    They are deleted after the sampler is closed, whatever happens; a deletion that fails hides nothing. `policy.step` says which
    version it was.
    """

    def sampled(weights: SamplerWeights) -> Eff[Sampled[A], E | TrainError, R | SamplingClient]:
        config = SamplingConfig(model=weights.model, weights_path=weights.path)
        return with_sampler(config, use).map(lambda value: Sampled(policy=weights, value=value))

    return bracket(
        perform(TrainingClient.save_sampler_weights, training, name),
        sampled,
        lambda weights: attempt(perform(TrainingClient.delete_sampler_weights, weights)),
    )
