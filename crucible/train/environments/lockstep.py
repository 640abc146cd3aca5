"""Many episodes turn by turn: in each turn all of them are sampled in one batch, then all environments step at once."""

from collections.abc import Callable, Sequence
from typing import Generic, Never, TypeAlias, TypeVar

import attrs

from crucible.effects import Do, Eff, Result, attempt, do, gather, pure
from crucible.train.environments.episodes import Episode, RolloutLimits
from crucible.train.environments.interface import EnvironmentFailed, StopCondition
from crucible.train.environments.rollouts import EnvironmentGroup, GroupRollout, finished_group
from crucible.train.types import ModelInput, Sample
from crucible.train.types.trajectories import Trajectory

E = TypeVar("E")
R = TypeVar("R")
R2 = TypeVar("R2")
R_co = TypeVar("R_co", covariant=True)

SampleMany: TypeAlias = Callable[
    [Sequence[ModelInput], StopCondition, int, int], Eff[tuple[tuple[Sample, ...], ...], E, R]
]
"""Draws so many samples of each prompt: `sample(prompts, stop, num_samples, turn)`."""


@attrs.frozen(kw_only=True)
class _Running(Generic[R_co]):
    """One trajectory while it is made: its group, its place in it, and how far it came or why it was lost."""

    group: int
    episode: Result[Episode[R_co], EnvironmentFailed]

    @property
    def live(self) -> Episode[R_co] | None:
        """The episode, when it has another turn to take."""
        episode = self.episode.value_or(None)
        return None if episode is None or episode.state is None else episode


@do
def rollout_together(
    groups: Sequence[EnvironmentGroup[R]], sample: SampleMany[E, R2], limits: RolloutLimits = RolloutLimits()
) -> Do[E, R | R2, list[GroupRollout[EnvironmentFailed]]]:
    """Roll out all trajectories of all groups. A failed environment costs its own trajectory, nothing else.

    In the first turn the trajectories of a group see the same prompt and are samples of it; later each has its own.

    Fails: as the sampler does, since no trajectory can go on without it.
    """
    starts = [attempt(group.environment.start()) for group in groups for _ in range(group.size)]
    started = yield from gather(starts)
    places = [place for place, group in enumerate(groups) for _ in range(group.size)]
    running = [
        _Running(group=place, episode=state.map(lambda first: Episode(state=first)).bind(_limited(limits)))
        for place, state in zip(places, started, strict=True)
    ]
    turn = 0
    while any(one.live for one in running):
        drawn = yield from _draw(running, sample, turn)
        running = yield from gather([_step(one, drawn.get(i), limits) for i, one in enumerate(running)])
        turn += 1
    return (yield from gather([_finished(group, place, running) for place, group in enumerate(groups)]))


def _limited(
    limits: RolloutLimits,
) -> Callable[[Episode[R]], Result[Episode[R], EnvironmentFailed]]:
    return lambda episode: episode.within(limits)


@do
def _draw(running: Sequence[_Running[R]], sample: SampleMany[E, R2], turn: int) -> Do[E, R2, dict[int, Sample]]:
    """Sample the next action of every live episode: one request for each way to stop, equal prompts asked together."""
    asked: dict[tuple[StopCondition, int], dict[ModelInput, list[int]]] = {}
    together: dict[StopCondition, dict[ModelInput, list[int]]] = {}
    for index, one in enumerate(running):
        if one.live is not None and one.live.state is not None:
            seen = one.live.state.observation
            together.setdefault(seen.stop, {}).setdefault(seen.prompt, []).append(index)
    for stop, prompts in together.items():
        for prompt, indices in prompts.items():
            asked.setdefault((stop, len(indices)), {})[prompt] = indices
    drawn: dict[int, Sample] = {}
    for (stop, num_samples), by_prompt in asked.items():
        answers = yield from sample(tuple(by_prompt), stop, num_samples, turn)
        for indices, samples in zip(by_prompt.values(), answers, strict=True):
            drawn |= dict(zip(indices, samples, strict=True))
    return drawn


def _step(one: _Running[R], drawn: Sample | None, limits: RolloutLimits) -> Eff[_Running[R], Never, R]:
    episode = one.live
    if episode is None or episode.state is None or drawn is None:
        return pure(one)
    prompt = episode.state.observation.prompt
    return attempt(episode.state.step(drawn.tokens)).map(
        lambda result: _Running(
            group=one.group,
            episode=result.bind(lambda step: episode.after(prompt, drawn, step)).bind(_limited(limits)),
        )
    )


def _finished(
    group: EnvironmentGroup[R], place: int, running: Sequence[_Running[R]]
) -> Eff[GroupRollout[EnvironmentFailed], Never, R]:
    results: list[Result[Trajectory, EnvironmentFailed]] = [
        one.episode.map(lambda episode: episode.trajectory) for one in running if one.group == place
    ]
    return finished_group(group, results)
