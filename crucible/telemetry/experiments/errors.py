"""`LifecycleError`: what an experiment cannot do, and what to do instead."""

from typing import TypeAlias

import attrs


@attrs.frozen(kw_only=True)
class UnknownExperiment:
    """The store has no experiment of that id."""

    experiment_id: str

    def __str__(self) -> str:
        return (
            f"experiment {self.experiment_id!r} is not in this store: "
            "check the id (list_experiments gives them all), or start it"
        )


@attrs.frozen(kw_only=True)
class IdTaken:
    """The store has a run or an experiment of that id already."""

    experiment_id: str

    def __str__(self) -> str:
        return f"{self.experiment_id!r} is in this store already: start the experiment under another id"


@attrs.frozen(kw_only=True)
class WrongStatus:
    """An experiment of this status cannot do that.

    Args:
        action: what was asked: `pause`, `resume`.
        status: what the experiment is: `running`, `paused`, `stopped`, `archived`.
        fix: what to do instead.
    """

    experiment_id: str
    action: str
    status: str
    fix: str

    def __str__(self) -> str:
        return f"cannot {self.action} experiment {self.experiment_id!r}, it is {self.status}: {self.fix}"


@attrs.frozen(kw_only=True)
class SampleComplete:
    """The experiment has as many runs as it was started for."""

    experiment_id: str
    sample_size: int

    def __str__(self) -> str:
        return (
            f"experiment {self.experiment_id!r} has its {self.sample_size} runs: "
            "stop it, or start another with a larger sample_size"
        )


LifecycleError: TypeAlias = UnknownExperiment | IdTaken | WrongStatus | SampleComplete
"""The closed union of what an experiment refuses."""
