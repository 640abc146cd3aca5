"""Policies that say what they are told to, and a renderer over bytes that knows tools."""

from collections.abc import Callable
from typing import Never

from crucible.effects import Eff, Handlers, fail, pure
from crucible.train.environments import Environment, EnvironmentFailed, RolloutLimits, StopCondition, rollout
from crucible.train.renderers import LayoutRenderer, Qwen3
from crucible.train.types import ByteTokenizer, ModelInput, Sample
from crucible.train.types.trajectories import Trajectory

TOKENIZER = ByteTokenizer()
RENDERER = LayoutRenderer(TOKENIZER, Qwen3(thinking="never"))
NOTHING = Handlers.none()

Policy = Callable[[ModelInput, StopCondition], Eff[Sample, str, Never]]


def sample_of(text: str, *, ended: bool = True) -> Sample:
    tokens = TOKENIZER.encode(text + (TOKENIZER.END if ended else ""))
    return Sample(tokens=tokens, logprobs=(-0.5,) * len(tokens), stop_reason="stop" if ended else "length")


def always(text: str, *, ended: bool = True) -> Policy:
    return lambda prompt, stop: pure(sample_of(text, ended=ended))


def in_turn(*texts: str) -> Policy:
    """Say one text after the other, told apart by the turns that the prompt holds."""

    def sample(prompt: ModelInput, stop: StopCondition) -> Eff[Sample, str, Never]:
        turn = shown(prompt).count(f"{TOKENIZER.START}assistant") - 1
        return pure(sample_of(texts[turn])) if turn < len(texts) else fail("nothing more to say")

    return sample


def shown(prompt: ModelInput) -> str:
    return TOKENIZER.decode(prompt.tokens)


def played(environment: Environment[Never], policy: Policy, limits: RolloutLimits = RolloutLimits()) -> Trajectory:
    return NOTHING.run(rollout(environment, policy, limits)).unwrap()


def lost(environment: Environment[Never], policy: Policy, limits: RolloutLimits = RolloutLimits()) -> object:
    error: str | EnvironmentFailed = NOTHING.run(rollout(environment, policy, limits)).failure()
    return error
