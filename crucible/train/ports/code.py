"""`CodeClient`: the port of everything that runs programs which nobody trusts."""

from abc import abstractmethod

from crucible.effects import Port, Result
from crucible.train.errors import TrainError, Unavailable
from crucible.train.types import CodeProgram, CodeRun


class CodeClient(Port, unanswered=Unavailable.because):
    """Runs programs apart from everything else. Runs share nothing: neither files nor state."""

    @abstractmethod
    async def run(self, program: CodeProgram) -> Result[CodeRun, TrainError]:
        """Run a Python program to its end.

        However a program ends, that is a `CodeRun`. A handler that cannot keep the program within its limits, or away
        from what it must not reach, does not run it: that is Unsupported.
        """
