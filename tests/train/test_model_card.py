"""The card of a model: what people read in it, and what programs do."""

import math

import yaml
from huggingface_hub import ModelCard as HubModelCard
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.model_card import model_card_text
from crucible.train.types import ModelCard

CARD = ModelCard(
    title="Adder",
    summary="It adds.",
    base_model="org/small",
    data=("org/sums@v1", "org/sums", "chain_sum"),
    configuration={"rank": 16, "schedule": "a|b"},
    metrics={"accuracy": 0.75, "loss": math.nan},
    lineage=("runs/1/step_000100", "runs/1/step_000200"),
    license="apache-2.0",
    tags=("arithmetic",),
)


def test_people_read_data_configuration_metrics_and_lineage() -> None:
    text = model_card_text(CARD)
    order = ["# Adder", "It adds.", "`org/small`", "## Data", "`chain_sum`", "## Configuration", "| rank | 16 |"]
    order += [r"| schedule | a\|b |", "## Metrics", "| loss | nan |", "## Lineage", "2. `runs/1/step_000200`"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_the_hub_reads_its_metadata() -> None:
    data = HubModelCard(model_card_text(CARD)).data.to_dict()  # type: ignore[no-untyped-call]  # the SDK gives it no types
    assert (data["base_model"], data["datasets"], data["license"]) == ("org/small", ["org/sums"], "apache-2.0")
    assert (data["library_name"], data["tags"]) == ("peft", ["arithmetic"])
    (model,) = data["model-index"]
    assert model["name"] == "Adder"
    assert [(one["type"], one["value"]) for one in model["results"][0]["metrics"]] == [("accuracy", 0.75)]


def test_a_path_is_no_base_model_of_the_hub() -> None:
    card = ModelCard(title="x", base_model="/models/small.gguf")
    data = HubModelCard(model_card_text(card)).data.to_dict()  # type: ignore[no-untyped-call]  # the SDK gives it no types
    assert "base_model" not in data


@given(text=st.text(min_size=1), value=st.floats(), name=st.text())
def test_any_text_can_stand_in_it(text: str, value: float, name: str) -> None:
    card = ModelCard(title=text, tags=(text,), data=(text,), metrics={name: value}, configuration={name: text})
    written = model_card_text(card)
    written.encode()
    front = yaml.safe_load(written.split("\n---\n")[0])
    assert front["tags"] == [text]
