"""The card of a model as a hub shows it: Markdown for people, with metadata in front for programs."""

import json
import math
import re
from collections.abc import Mapping, Sequence

from crucible.train.types.hub import ModelCard

README = "README.md"
"""The name of the file that a hub takes for the card."""

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_UNPRINTABLE = re.compile("[\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff\u2028\u2029]")


def model_card_text(card: ModelCard) -> str:
    """Write the card: metadata, then what the model is, its data, configuration, metrics and lineage.

    >>> print(
    ...     model_card_text(
    ...         ModelCard(title="Adder", base_model="org/small", data=("chain_sum",), metrics={"accuracy": 0.9})
    ...     )
    ... )
    ---
    library_name: "peft"
    base_model: "org/small"
    model-index: [{"name": "Adder", "results": [{"task": {"type": "text-generation"}, "dataset": ...}]}]
    ---
    <BLANKLINE>
    # Adder
    <BLANKLINE>
    Trained from `org/small` with [Crucible](https://pypi.org/project/crucible-llm/).
    <BLANKLINE>
    ## Data
    <BLANKLINE>
    - `chain_sum`
    <BLANKLINE>
    ## Metrics
    <BLANKLINE>
    | name | value |
    |---|---|
    | accuracy | 0.9 |
    <BLANKLINE>
    """
    written = "\n".join(f"{key}: {_yaml(value)}" for key, value in _metadata(card).items() if value)
    origin = f"Trained from `{card.base_model}` with" if card.base_model else "Trained with"
    sections = [
        f"# {_line(card.title)}",
        card.summary,
        f"{origin} [Crucible](https://pypi.org/project/crucible-llm/).",
        *_section("Data", [f"- `{_line(one)}`" for one in card.data]),
        *_section("Configuration", _table(card.configuration)),
        *_section("Metrics", _table(card.metrics)),
        *_section("Lineage", [f"{place}. `{_line(one)}`" for place, one in enumerate(card.lineage, start=1)]),
    ]
    return f"---\n{written}\n---\n\n" + "\n\n".join(part for part in sections if part) + "\n"


def _metadata(card: ModelCard) -> Mapping[str, object]:
    """Give what programs read. A hub takes only its own ids for a base model and for data."""
    base = card.base_model if card.base_model and _HUB_ID.fullmatch(card.base_model) else None
    return {
        "library_name": card.library,
        "license": card.license,
        "base_model": base,
        "datasets": [one for one in card.data if _HUB_ID.fullmatch(one)],
        "tags": list(card.tags),
        "model-index": _model_index(card),
    }


def _model_index(card: ModelCard) -> Sequence[object]:
    finite = {name: value for name, value in card.metrics.items() if math.isfinite(value)}
    if not finite:
        return []
    data = card.data[0] if card.data else "unknown"
    metrics = [{"type": name, "name": name, "value": value} for name, value in finite.items()]
    result = {"task": {"type": "text-generation"}, "dataset": {"type": data, "name": data}, "metrics": metrics}
    return [{"name": card.title, "results": [result]}]


def _section(title: str, lines: Sequence[str]) -> Sequence[str]:
    return (f"## {title}", "\n".join(lines)) if lines else ()


def _table(values: Mapping[str, object]) -> Sequence[str]:
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in values.items()]
    return ["| name | value |", "|---|---|", *rows] if rows else []


def _cell(value: object) -> str:
    return _line(str(value)).replace("|", "\\|")


def _line(text: str) -> str:
    """Put a text in one line, without characters that cannot be written."""
    return " ".join(text.encode("utf-8", "replace").decode().split())


def _yaml(value: object) -> str:
    """Write a value in one line: JSON is YAML, but for characters that YAML wants escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
