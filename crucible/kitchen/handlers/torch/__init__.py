"""Training and sampling with torch on this machine, over `crucible.engine`; needs the extra `torch`."""

from pathlib import Path
from typing import Literal

from crucible.effects import Handlers
from crucible.kitchen.handlers.torch.backend import TorchBackend
from crucible.kitchen.handlers.torch.sampling import TorchSampling
from crucible.kitchen.handlers.torch.tokenizer import HfTokenizer
from crucible.kitchen.handlers.torch.training import TorchTraining
from crucible.train.ports import CustomLossClient, SamplingClient, TopLogprobsClient, TrainingClient

__all__ = ["HfTokenizer", "TorchBackend", "TorchSampling", "TorchTraining", "local"]


def local(
    root: Path | str, *, dtype: Literal["float32", "bfloat16"] = "float32", num_threads: int | None = None
) -> Handlers[TrainingClient | CustomLossClient | SamplingClient | TopLogprobsClient]:
    """Train, on custom losses too, and sample on this machine; checkpoints and weights go below `root`.

    Training and sampling share each model's frozen weights, and one worker thread. `num_threads` is torch's own number.
    A model is named by a hub id, a local directory or a `.gguf` file.
    """
    backend = TorchBackend(Path(root), dtype=dtype, num_threads=num_threads)
    training, sampling = TorchTraining(backend), TorchSampling(backend)
    return (
        TrainingClient.handled_by(training)
        | CustomLossClient.handled_by(training)
        | SamplingClient.handled_by(sampling)
        | TopLogprobsClient.handled_by(sampling)
    )
