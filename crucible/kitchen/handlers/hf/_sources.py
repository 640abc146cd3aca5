"""Where the rows of a dataset are: which files hold a split, here or on a hub, and how they are read."""

import dataclasses
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from crucible.kitchen.handlers.hf._config import HfConfig
from crucible.kitchen.handlers.hf._csv import check_csv
from crucible.kitchen.handlers.hf._errors import Refused, http_error
from crucible.kitchen.handlers.hf._hub import hub_cache, info_of
from crucible.kitchen.handlers.hf._session import api_of
from crucible.train.errors import InvalidRequest, NotFound, StorageFailed, Unsupported
from crucible.train.types import DatasetConfig, HubRepo, is_blob_path

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder

_SUFFIXES: Mapping[str, tuple[str, Mapping[str, object]]] = {
    ".jsonl": ("json", {}),
    ".json": ("json", {}),
    ".ndjson": ("json", {}),
    ".parquet": ("parquet", {}),
    ".csv": ("csv", {}),
    ".tsv": ("csv", {"sep": "\t"}),
    ".arrow": ("arrow", {}),
    ".txt": ("text", {}),
}
_KINDS = ("json", "parquet", "csv", "arrow", "text")
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_DESCRIPTIONS = ("README.md", ".huggingface.yaml")
_NUM_DOWNLOADS = 8  # files that are fetched at once


@attrs.frozen(kw_only=True)
class Source:
    """The files of a split, how they are read, and how each becomes a local one."""

    kind: str
    files: tuple[str, ...]
    reading: Mapping[str, object] = attrs.field(factory=dict)
    fetch: Callable[[str], str] = str

    @property
    def is_lines(self) -> bool:
        """Whether the files are text whose lines are rows, with nothing said of how else to read them."""
        return self.kind in {"json", "text"} and not self.reading

    def local_files(self) -> list[str]:
        """Have all files here, several fetched at once."""
        with ThreadPoolExecutor(_NUM_DOWNLOADS) as pool:
            return list(pool.map(self.fetch, self.files))

    def builder(self, split: str, files: Sequence[str], cache: Path | None = None) -> "DatasetBuilder":
        """Give what reads local files, as rows of `split`. Raises: Refused, where a file is damaged."""
        if self.kind == "csv" and self.reading.keys() <= {"sep"}:
            for file in files:
                check_csv(file, divider=str(self.reading.get("sep", ",")))
        from datasets.packaged_modules.arrow.arrow import Arrow
        from datasets.packaged_modules.csv.csv import Csv
        from datasets.packaged_modules.json.json import Json
        from datasets.packaged_modules.parquet.parquet import Parquet
        from datasets.packaged_modules.text.text import Text

        builders = {"arrow": Arrow, "csv": Csv, "json": Json, "parquet": Parquet, "text": Text}
        cache_dir = None if cache is None else str(cache)
        return builders[self.kind](data_files={split: list(files)}, cache_dir=cache_dir, **self.reading)


def pinned(config: DatasetConfig, hf: HfConfig) -> DatasetConfig:
    """Give a configuration that will always mean the same rows: on a hub, that of the commit that it means now."""
    if local_path(config) is not None:
        return config
    return attrs.evolve(config, revision=info_of(api_of(hf), _repo(config)).commit)


def local_path(config: DatasetConfig) -> Path | None:
    """Give the file or folder here that is meant; None for a hub's dataset."""
    path = Path(config.name).expanduser() if config.name.startswith("~/") else Path(config.name)
    if path.exists():
        return path
    if not _HUB_ID.fullmatch(config.name) or _kind_of(path) is not None:
        fix = "give a file or folder that exists, or a hub's id such as 'owner/name'"
        raise Refused(NotFound(kind="dataset", name=config.name, fix=fix))
    return None


def saved_split(config: DatasetConfig) -> "Dataset | None":
    """Open what `save_to_disk` wrote: a dataset, or a split of a dict of them. None when the name is no such folder."""
    path = local_path(config)
    if path is None or not any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return None
    from datasets import DatasetDict, load_from_disk

    with reading(config.name):
        saved = load_from_disk(str(path))
    splits = saved if isinstance(saved, DatasetDict) else {str(saved.split or "train"): saved}
    return splits[_known(config, splits)]


def source_of(config: DatasetConfig, hf: HfConfig) -> Source:
    """Find the files of a split."""
    path = local_path(config)
    if path is None:
        return _on_hub(config, hf)
    if path.is_dir():
        return _in_folder(config, path)
    found = _kind_of(path)
    if found is None:
        fix = f"known endings: {', '.join(_SUFFIXES)}"
        raise Refused(Unsupported(feature=f"files such as {path.name!r}", backend="hf.datasets", fix=fix))
    _known(config, {"train": path})
    return Source(kind=found[0], reading=found[1], files=(str(path.resolve()),))


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Say of rows that cannot be read that they are broken, or that they are not there; a hub's refusals pass."""
    from datasets.exceptions import DatasetsError

    try:
        yield
    except FileNotFoundError as error:
        if not isinstance(error, DatasetsError):  # also what says that a hub could not be asked
            raise
        raise Refused(NotFound(kind="dataset", name=name, fix=str(error))) from error
    except (Refused, OSError, http_error()):
        raise
    except Exception as error:  # each reader of a format raises what it likes at a damaged file
        cause = error.__cause__ or error
        why = " ".join(str(cause).split()) or type(cause).__name__
        fix = "mend the file, or download it again"
        raise Refused(StorageFailed(path=name, message=f"the rows cannot be read: {why}", fix=fix)) from error


def _in_folder(config: DatasetConfig, folder: Path) -> Source:
    """Find the files of a split in a folder: the library knows how folders and their README divide into splits."""
    from datasets import load_dataset_builder
    from datasets.exceptions import DatasetsError

    try:
        builder = load_dataset_builder(str(folder), name=config.config, data_files=config.options.get("data_files"))
    except DatasetsError as error:
        raise Refused(NotFound(kind="dataset", name=config.name, fix=str(error))) from error
    except RuntimeError as error:
        fix = "convert it to files of rows"
        raise Refused(Unsupported(feature="datasets that are programs", backend="hf.datasets", fix=fix)) from error
    except ValueError as error:
        if "onfig" not in str(error):
            raise
        raise Refused(NotFound(kind="configuration", name=f"{config.name}/{config.config}", fix=str(error))) from error
    if builder.name not in _KINDS:
        fix = f"it reads {', '.join(_KINDS)}"
        raise Refused(Unsupported(feature=f"{builder.name} files", backend="hf.datasets", fix=fix))
    files = {str(split): tuple(map(str, some)) for split, some in (builder.config.data_files or {}).items()}
    return Source(kind=builder.name, files=files[_known(config, files)], reading=_options_of(builder.config))


def _on_hub(config: DatasetConfig, hf: HfConfig) -> Source:
    """Find the files of a split in a repository.

    The library decides by names and by the README which files they are; so it is shown a folder of that README and of empty
    files with those names, and only what it chooses is fetched.
    """
    api, repo = api_of(hf), _repo(config)
    info = info_of(api, repo)

    def fetch(path: str) -> str:
        cache = hub_cache(hf)
        return str(api.hf_hub_download(repo.id, path, repo_type="dataset", revision=info.commit, cache_dir=cache))

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        for path in filter(is_blob_path, info.files):
            if path == "dataset_infos.json":  # sizes and features of old, which the library would want to read
                continue
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            if path in _DESCRIPTIONS:
                shutil.copyfile(fetch(path), folder / path)
            else:
                (folder / path).touch()
        source = _in_folder(config, folder)
        files = tuple(Path(path).relative_to(folder).as_posix() for path in source.files)
    return attrs.evolve(source, files=files, fetch=fetch)


def _repo(config: DatasetConfig) -> HubRepo:
    return HubRepo(id=config.name, type="dataset", revision=config.revision)


def _kind_of(path: Path) -> tuple[str, Mapping[str, object]] | None:
    return next((_SUFFIXES[suffix] for suffix in map(str.lower, path.suffixes) if suffix in _SUFFIXES), None)


def _known(config: DatasetConfig, splits: Mapping[str, object]) -> str:
    if config.split not in splits:
        fix = f"it has {', '.join(splits)}"
        raise Refused(NotFound(kind="split", name=f"{config.name}/{config.split}", fix=fix))
    return config.split


def _options_of(config: object) -> Mapping[str, object]:
    """Give what a README says of how its files are read: the fields of the library's configuration that were set."""
    from datasets import BuilderConfig

    assert isinstance(config, BuilderConfig)
    common = {field.name for field in dataclasses.fields(BuilderConfig)}
    found = {field.name: (getattr(config, field.name), field.default) for field in dataclasses.fields(config)}
    return {name: value for name, (value, default) in found.items() if name not in common and value != default}


def checked_options(config: DatasetConfig) -> DatasetConfig:
    """Refuse options that nobody reads."""
    from difflib import get_close_matches

    known = ("data_files", "shuffle_buffer")
    for name in config.options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            fix = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise Refused(InvalidRequest(message=f"hf.datasets has no option {name!r}", fix=fix))
    buffer = config.options.get("shuffle_buffer", 1)
    if not isinstance(buffer, int) or buffer < 1:
        raise Refused(InvalidRequest(message=f"shuffle_buffer must be a number of rows from 1 on, not {buffer!r}"))
    return config
