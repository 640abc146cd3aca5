"""A program that the tests interrupt: a long supervised run on the tiny model.

    python -m tests.kitchen.handlers.torch.killable MODEL ROOT [LARGEST_FILE]

It writes each call it completes to ROOT/calls. With LARGEST_FILE the system refuses, after the first checkpoint, to write
files above that size, as a full disk does.
"""

import resource
import sys
import warnings
from pathlib import Path

from crucible.effects import Failure, TracedCall, trace
from crucible.kitchen import run
from tests.kitchen.handlers.torch.tiny import config_for, on_this_machine, recipe


def main(model: str, root: Path, largest_file: int | None) -> int:
    """Run until the end, which is far away, or until something ends the run."""
    root.mkdir(parents=True)
    with (root / "calls").open("a") as calls:

        def note(call: TracedCall) -> None:
            calls.write(f"{call.call.name}\n")
            calls.flush()
            if largest_file is not None and call.call.name == "TrainingClient.save_checkpoint":
                _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, hard))

        handlers = trace(on_this_machine(root), into=note)
        result = run(recipe(config_for(model, epochs=10_000)), handlers, run_id="run")
    if isinstance(result, Failure):
        sys.stdout.write(f"{result.failure()}\n")
        return 1
    return 0


if __name__ == "__main__":
    warnings.simplefilter("error")
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None))
