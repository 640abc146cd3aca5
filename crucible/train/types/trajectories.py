"""What policies did in environments: transitions, trajectories, groups, and the data that are made of them.

Letters: T transitions of a trajectory, G trajectories of a group, N positions of a datum.
"""

from collections.abc import Mapping

import attrs

from crucible.train.types.inputs import Datum, ModelInput, TensorData, TokenId

_POLICY_INPUTS = {"target_tokens", "logprobs", "advantages"}


@attrs.frozen(kw_only=True)
class TokensWithLogprobs:
    """Tokens and, where they are known, the log-probability with which each was sampled.

    >>> TokensWithLogprobs(tokens=(5, 6), maybe_logprobs=(-0.5, -0.1)).logprobs
    (-0.5, -0.1)
    """

    tokens: tuple[TokenId, ...]
    maybe_logprobs: tuple[float, ...] | None = None

    def __attrs_post_init__(self) -> None:
        if self.maybe_logprobs is not None and len(self.maybe_logprobs) != len(self.tokens):
            raise ValueError(f"{len(self.maybe_logprobs)} log-probabilities for {len(self.tokens)} tokens")

    @property
    def logprobs(self) -> tuple[float, ...]:
        """One log-probability for each token. Raises: ValueError when they are not known."""
        if self.maybe_logprobs is None:
            raise ValueError("these tokens carry no log-probabilities: sample them with a backend that gives them")
        return self.maybe_logprobs


@attrs.frozen(kw_only=True)
class Transition:
    """What a policy saw, what it did, and what came of it."""

    observation: ModelInput
    action: TokensWithLogprobs
    reward: float = 0.0
    episode_done: bool = False
    metrics: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Trajectory:
    """One episode: its transitions in order, and what was seen at the end."""

    transitions: tuple[Transition, ...]
    final_observation: ModelInput = ModelInput(chunks=())

    @property
    def total_reward(self) -> float:
        """The sum of the rewards of all steps."""
        return sum((transition.reward for transition in self.transitions), 0.0)

    @property
    def num_action_tokens(self) -> int:
        """Count the tokens that the policy sampled."""
        return sum(len(transition.action.tokens) for transition in self.transitions)


@attrs.frozen(kw_only=True)
class TrajectoryGroup:
    """Trajectories from one start, compared with each other; the group may add a reward and metrics to each.

    Raises: ValueError when there is not one final reward, and one set of metrics, for each trajectory.
    """

    trajectories_G: tuple[Trajectory, ...]
    final_rewards_G: tuple[float, ...] = attrs.field()
    metrics_G: tuple[Mapping[str, float], ...] = attrs.field()

    @final_rewards_G.default
    def _no_rewards(self) -> tuple[float, ...]:
        return (0.0,) * len(self.trajectories_G)

    @metrics_G.default
    def _no_metrics(self) -> tuple[Mapping[str, float], ...]:
        return tuple({} for _ in self.trajectories_G)

    def __attrs_post_init__(self) -> None:
        sizes = len(self.trajectories_G), len(self.final_rewards_G), len(self.metrics_G)
        if len(set(sizes)) != 1:
            raise ValueError(
                f"a group of {sizes[0]} trajectories has {sizes[1]} rewards and {sizes[2]} sets of metrics"
            )

    @property
    def total_rewards(self) -> tuple[float, ...]:
        """The reward of each trajectory: that of its steps and that of the group.

        >>> group = TrajectoryGroup(trajectories_G=(Trajectory(transitions=()),) * 2, final_rewards_G=(0.0, 1.0))
        >>> group.total_rewards
        (0.0, 1.0)
        """
        pairs = zip(self.trajectories_G, self.final_rewards_G, strict=True)
        return tuple(trajectory.total_reward + final for trajectory, final in pairs)


@attrs.frozen(kw_only=True)
class PolicyDatum:
    """A datum for a policy loss, and what only we need to know of it.

    Args:
        datum: target_tokens, logprobs and advantages: what a backend takes, and nothing else.
        mask_N: 1.0 where the target is a token that the policy sampled, else 0.0. Backends never see it.
        group: which group it comes from, by its place in what was given.
        trajectory: which trajectory of that group.
    """

    datum: Datum
    mask_N: tuple[float, ...]
    group: int = 0
    trajectory: int = 0

    def __attrs_post_init__(self) -> None:
        if len(self.mask_N) != len(self.datum.model_input):
            raise ValueError(f"a mask of {len(self.mask_N)} for {len(self.datum.model_input)} positions")
        if set(self.datum.loss_fn_inputs) != _POLICY_INPUTS:
            raise ValueError(f"a policy datum has {sorted(_POLICY_INPUTS)}, not {sorted(self.datum.loss_fn_inputs)}")

    @property
    def logprobs(self) -> tuple[float, ...]:
        """The log-probability of each sampled token, 0.0 elsewhere."""
        return self.datum.loss_fn_inputs["logprobs"].data

    @property
    def advantages(self) -> tuple[float, ...]:
        """The advantage of each sampled token, 0.0 elsewhere."""
        return self.datum.loss_fn_inputs["advantages"].data

    @property
    def scored(self) -> Datum:
        """The datum of a custom loss: its targets, with weight 1 where one was sampled, so that only those are scored."""
        inputs = {
            "target_tokens": self.datum.loss_fn_inputs["target_tokens"],
            "weights": TensorData.floats(self.mask_N),
        }
        return attrs.evolve(self.datum, loss_fn_inputs=inputs)

    def with_advantages(self, advantages_N: tuple[float, ...]) -> "PolicyDatum":
        """Give the same datum with other advantages."""
        inputs = {**self.datum.loss_fn_inputs, "advantages": TensorData.floats(advantages_N)}
        return attrs.evolve(self, datum=attrs.evolve(self.datum, loss_fn_inputs=inputs))
