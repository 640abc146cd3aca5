"""Hugging Face: datasets, the hub, and served models; needs the extra `hf`.

`datasets`, `hub`, `llm` and `embeddings` each handle one port. Nothing is fetched twice, no code of a dataset is run, and a token
is never shown. What takes time is done in threads; a busy server is an `Unavailable` that says how long it asks to wait, and
`effects.retry` is what waits.
"""

from collections.abc import Callable

from crucible.effects import Handlers
from crucible.kitchen.handlers.hf._config import HfConfig, InferenceConfig
from crucible.kitchen.handlers.hf._datasets import HfDatasets
from crucible.kitchen.handlers.hf._embeddings import HfEmbeddings
from crucible.kitchen.handlers.hf._hub import HfHub
from crucible.kitchen.handlers.hf._llm import HfLLM
from crucible.train.ports import DatasetStore, EmbeddingClient, HubClient, LLMClient

__all__ = [
    "HfConfig",
    "HfDatasets",
    "HfEmbeddings",
    "HfHub",
    "HfLLM",
    "InferenceConfig",
    "datasets",
    "embeddings",
    "hub",
    "llm",
]


def datasets(config: HfConfig = HfConfig()) -> Handlers[DatasetStore]:
    """Handle datasets: JSON lines, JSON, Parquet, CSV, TSV, Arrow and text, here or on the hub.

    A name is a file, a folder (of such files, or of what `save_to_disk` wrote), or an id on the hub such as `owner/name`. A
    file has the one split `train`; how a folder or a repository divides, its README says, or the names of its files. A handle
    to a dataset of the hub stands for the commit of that moment, so it reads the same rows for ever.

    `DatasetConfig.options`:

    - `data_files`: patterns that choose files in a folder or repository: one, a list, or a dict from split to those.
    - `shuffle_buffer`: with `streaming`, how many rows a shuffle holds and draws from (1000).

    With `streaming`, files are fetched one by one when reading comes to them, and rows are not counted or selected by number.
    """
    return DatasetStore.handled_by(HfDatasets(config))


def hub(config: HfConfig = HfConfig()) -> Handlers[HubClient]:
    """Handle repositories of the hub. Uploading to one that is there leaves it as private, or as public, as it is."""
    return HubClient.handled_by(HfHub(config))


def llm(
    config: InferenceConfig = InferenceConfig(), *, on_text: Callable[[str], object] | None = None
) -> Handlers[LLMClient]:
    """Handle chats with a served model.

    Args:
        config: which model, where.
        on_text: is called, in a thread, with each piece of an answer's text as it comes. Answers are then streamed; what the
            port gives is the same.
    """
    return LLMClient.handled_by(HfLLM(config, on_text))


def embeddings(config: InferenceConfig = InferenceConfig()) -> Handlers[EmbeddingClient]:
    """Handle embeddings by a served model, 64 texts a request.

    A URL that ends in `/v1` is asked as OpenAI-compatible servers are; another as the hub's own endpoints are.
    """
    return EmbeddingClient.handled_by(HfEmbeddings(config))
