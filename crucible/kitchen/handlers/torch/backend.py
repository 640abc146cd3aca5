"""`TorchBackend`: the models of this machine, the thread they work in, and the folder they save to."""

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import Future as ThreadFuture
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import anyio
import anyio.to_thread

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.torch.errors import error_of
from crucible.kitchen.handlers.torch.tokenizer import HfTokenizer, tokenizer_from
from crucible.train.errors import BackendFailed, InvalidRequest, MissingExtra, SessionClosed, TrainError, Unsupported
from crucible.train.finite import finite_data
from crucible.train.types import Datum, ImageChunk

if TYPE_CHECKING:
    from crucible.engine import Example, LoadedModel

T = TypeVar("T")


class TorchBackend:
    """Loads each model once and runs all work on it in one thread, in the order it was submitted.

    `root` is where checkpoints and weights are saved. `num_threads` is torch's own; None leaves it as it is.
    """

    def __init__(
        self, root: Path, *, dtype: Literal["float32", "bfloat16"] = "float32", num_threads: int | None = None
    ) -> None:
        self.root = root
        self._dtype = dtype
        self._num_threads = num_threads
        self._worker: ThreadPoolExecutor | None = None
        self._models: dict[str, LoadedModel] = {}

    def submit(self, work: Callable[[], T], *, about: str = "") -> "ThreadFuture[Result[T, TrainError]]":
        """Queue work for the thread; what the engine raises becomes an error value."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(
                max_workers=1, thread_name_prefix="crucible-torch", initializer=self._set_up
            )
        return self._worker.submit(_guarded, work, about)

    async def do(self, work: Callable[[], T], *, about: str = "") -> Result[T, TrainError]:
        """Queue work and wait for it; the event loop stays free."""
        return await self.wait(self.submit(work, about=about))

    async def wait(
        self, future: "ThreadFuture[Result[T, TrainError]]", *, session_id: str = ""
    ) -> Result[T, TrainError]:
        """Wait for queued work. Being cancelled stops the waiting, never the work.

        Fails: SessionClosed when the work was dropped before it began, because its session was closed.
        """
        try:
            return await anyio.to_thread.run_sync(future.result, abandon_on_cancel=True)
        except CancelledError:
            return Failure(SessionClosed(session_id=session_id))

    async def load(self, source: str) -> "Result[LoadedModel, TrainError]":
        """Give a model, loaded at its first use."""
        missing = _missing_extra()
        if missing is not None:
            return Failure(missing)
        return await self.do(lambda: self._load(source), about=source)

    def _load(self, source: str) -> "LoadedModel":
        from crucible.engine import load_model

        if source not in self._models:
            self._models[source] = load_model(source, dtype=self._dtype)
        return self._models[source]

    def _set_up(self) -> None:
        import torch

        if self._num_threads is not None:
            torch.set_num_threads(self._num_threads)


def tokenizer_of(loaded: "LoadedModel") -> Result[HfTokenizer, TrainError]:
    """Give a model's tokenizer as a value."""
    return checked_arguments(lambda: tokenizer_from(loaded.tokenizer, ends=loaded.eos_ids))


def checked_name(name: str) -> Result[str, TrainError]:
    """Give a name that is safe as a folder's: no path in it, and not hidden, as half-written folders are.

    >>> checked_name("step_000100").value_or(None), checked_name("../other").value_or(None)
    ('step_000100', None)
    """
    if name and Path(name).name == name and not name.startswith(".") and name.isprintable():
        return Success(name)
    fix = "use a plain name, without slashes or a dot in front, such as 'step_000100'"
    return Failure(InvalidRequest(message=f"{name!r} cannot be the name of something saved", fix=fix))


def unused(path: Path) -> Path:
    """Give the path, or the first of `path~2`, `path~3` and so on where there is nothing yet."""
    numbered = (path.with_name(f"{path.name}~{number}") for number in count(2))
    return next(free for free in chain([path], numbered) if not free.exists())


def within(path: Path, folder: Path) -> Result[Path, TrainError]:
    """Give the path when it is of something directly in the folder, and not hidden."""
    if path.resolve().parent == folder.resolve() and not path.name.startswith("."):
        return Success(path)
    return Failure(
        InvalidRequest(message=f"{path} was not saved in {folder}", fix="give what save_sampler_weights gave")
    )


def checked_arguments(make: Callable[[], T]) -> Result[T, TrainError]:
    """Make a value of the engine's; what it finds wrong with its arguments becomes an error value."""
    try:
        return Success(make())
    except ValueError as error:
        return Failure(InvalidRequest(message=str(error)))


def examples_of(data: Sequence[Datum]) -> "Result[list[Example], TrainError]":
    """Give a batch as the engine takes it; fails with Unsupported where there is an image, NonFiniteLoss where a NaN is."""
    from crucible.engine import Example

    finite = finite_data(data)
    if isinstance(finite, Failure):
        return finite
    examples = []
    for index, datum in enumerate(data):
        if any(isinstance(chunk, ImageChunk) for chunk in datum.model_input.chunks):
            return Failure(Unsupported(feature=f"images (item {index})", backend="the torch handler"))
        inputs = {name: tensor.data for name, tensor in datum.loss_fn_inputs.items()}
        examples.append(Example(tokens=datum.model_input.tokens, loss_inputs=inputs))
    return Success(examples)


def _guarded(work: Callable[[], T], about: str) -> Result[T, TrainError]:
    from crucible.engine import EngineError

    try:
        return Success(work())
    except EngineError as error:
        return Failure(error_of(error, about))
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return Failure(BackendFailed(message=f"out of memory ({error}): use a smaller batch_size or max_length"))


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Tell memory from other trouble: torch raises a RuntimeError, and on a CPU it has no class of its own."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _missing_extra() -> MissingExtra | None:
    import importlib.util

    for package in ("torch", "transformers", "safetensors"):
        if importlib.util.find_spec(package) is None:
            return MissingExtra(extra="torch", package=package)
    return None
