"""Equal specs have one fingerprint, everywhere; what is computed differently has another."""

import subprocess
import sys
from typing import Any

import attrs
import pytest

from crucible.ir import NOT_COUNTED, Experiment, LoraSpec, ModelRef, decode, encode, fingerprint
from tests.ir.examples import EVERYTHING
from tests.sources import ROOT

EXAMPLE = EVERYTHING["supervised"]
PROGRAM = """
from crucible.ir import fingerprint, load
for name in ("supervised.yaml", "preference.toml", "reinforcement.json"):
    print(fingerprint(load(f"tests/ir/golden/{name}").unwrap()))
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_another_process_gives_the_same(seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    methods = ("supervised", "preference", "reinforcement")
    assert done.stdout.split() == [fingerprint(EVERYTHING[method]) for method in methods]


def test_the_order_of_keys_does_not_count() -> None:
    def reversed_keys(data: Any) -> Any:
        if isinstance(data, dict):
            return {key: reversed_keys(data[key]) for key in reversed(data)}
        return [reversed_keys(item) for item in data] if isinstance(data, list) else data

    again = decode(reversed_keys(encode(EXAMPLE))).unwrap()
    assert list(again.model.options) == list(EXAMPLE.model.options)
    assert fingerprint(again) == fingerprint(EXAMPLE)


def test_a_default_written_out_does_not_count() -> None:
    short = decode({"schema": 1, "id": "m"}, ModelRef).unwrap()
    whole = decode(
        {"schema": 1, "id": "m", "provider": "huggingface", "revision": None, "options": {}}, ModelRef
    ).unwrap()
    assert fingerprint(short) == fingerprint(whole)


def test_a_whole_number_counts_as_the_number_it_is() -> None:
    assert fingerprint(LoraSpec(alpha=8)) == fingerprint(LoraSpec(alpha=8.0))
    assert fingerprint(ModelRef(id="m", options={"a": 1})) == fingerprint(ModelRef(id="m", options={"a": 1.0}))


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(Experiment)])
def test_every_field_counts_but_those_that_do_not(name: str) -> None:
    data = encode(EXAMPLE)
    other = attrs.evolve(EXAMPLE, **{name: _OTHER[name]})
    assert encode(other) != data
    assert (fingerprint(other) == fingerprint(EXAMPLE)) is (name in NOT_COUNTED)


_REST = EVERYTHING["reinforcement"]
_OTHER: dict[str, Any] = {
    "id": "b",
    "description": "b",
    "owner": "b",
    "tags": (),
    "metadata": {},
    "experiment_type": "ablation",
    "model": ModelRef(id="b"),
    "dataset": None,
    "backend": attrs.evolve(EXAMPLE.backend, id="noop"),
    "evaluator": None,
    "training": _REST.training,
    "pipeline": (),
    "reliability": attrs.evolve(EXAMPLE.reliability, budget=None),
    "deployment": None,
    "feedback": None,
    "outputs": (),
    "baseline": None,
    "seed": 12,
    "created_at": None,
}


def test_another_class_with_the_same_fields_has_another() -> None:
    assert fingerprint(EVERYTHING["supervised"].model) != fingerprint(EVERYTHING["supervised"])
