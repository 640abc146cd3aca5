"""What is written is what is read: every spec, in every format."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from crucible.effects import Success
from crucible.ir import Experiment, Format, decode, dumps, encode, fingerprint, loads, problems_of
from tests.ir.specs import any_spec, specs

FORMATS: tuple[Format, ...] = ("json", "toml", "yaml")
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(
    QUICK, max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)  # shrinking one takes minutes


@QUICK
@given(any_spec())
def test_a_spec_comes_back_from_plain_data(spec: Any) -> None:
    assert problems_of(spec) == ()
    assert decode(encode(spec), type(spec)) == Success(spec)


@FEW
@given(specs(Experiment))
def test_an_experiment_comes_back_from_plain_data(spec: Experiment) -> None:
    assert problems_of(spec) == ()
    assert decode(encode(spec)) == Success(spec)


@pytest.mark.parametrize("form", FORMATS)
@QUICK
@given(st.data())
def test_a_spec_comes_back_from_a_text(form: Format, data: st.DataObject) -> None:
    spec = data.draw(any_spec(nulls=form != "toml"))
    text = dumps(spec, form).unwrap()
    text.encode("utf-8")
    assert loads(text, form, type(spec)) == Success(spec)


@pytest.mark.parametrize("form", FORMATS)
@FEW
@given(st.data())
def test_an_experiment_comes_back_from_a_text(form: Format, data: st.DataObject) -> None:
    spec = data.draw(specs(Experiment, nulls=form != "toml"))
    assert loads(dumps(spec, form).unwrap(), form) == Success(spec)


@FEW
@given(specs(Experiment, nulls=False))
def test_every_format_gives_the_same_fingerprint(spec: Experiment) -> None:
    prints = {fingerprint(loads(dumps(spec, form).unwrap(), form).unwrap()) for form in FORMATS}
    assert prints == {fingerprint(spec)}


@QUICK
@given(any_spec())
def test_types_of_numbers_and_times_are_kept(spec: Any) -> None:
    again = decode(encode(spec), type(spec)).unwrap()
    assert repr(encode(again)) == repr(encode(spec))
