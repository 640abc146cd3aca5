"""TensorBoard as a sink: its own readers find what was written."""

import struct
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from crucible.effects import Failure
from crucible.kitchen.handlers import tensorboard
from crucible.testing import check_sink
from crucible.testing.sinks import sink_point
from tests.kitchen.handlers.tensorboard.reading import read_hyperparameters, read_run


def as_float32(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return float("-inf") if value < 0 else float("inf")


def test_keeps_the_contract_in_32_bits(tmp_path: Path) -> None:
    check_sink(
        lambda: tensorboard.sink(tmp_path),
        lambda run_id: read_run(tmp_path, run_id),
        rounded=as_float32,
        patience_seconds=0,
    )


def test_metadata_is_hyperparameters_too(tmp_path: Path) -> None:
    run = tensorboard.sink(tmp_path).open("run").unwrap()
    run.describe({"recipe": "sft", "config": {"rate": 0.5, "fast": True, "adam": {"beta": 2}}})
    run.close("completed")
    assert read_hyperparameters(tmp_path, "run") == {"recipe": "sft", "rate": 0.5, "fast": True, "adam.beta": 2.0}


def test_what_a_resumed_run_does_again_hides_what_it_did_before(tmp_path: Path) -> None:
    for start, stop in ((0, 6), (4, 8), (2, 4)):
        run = tensorboard.sink(tmp_path).open("run").unwrap()
        for step in range(start, stop):
            run.write([sink_point(step, 100.0 * start + step, step=step)], [])
        run.close("interrupted")
    expected = [(0, 0.0), (1, 1.0), (2, 202.0), (3, 203.0)]
    assert list(read_run(tmp_path, "run").points["loss"]) == expected
    app = EventAccumulator(
        str(tmp_path / "run"), tensor_size_guidance={"scalars": 0}
    ).Reload()  # what the web page reads with
    assert [(each.step, each.tensor_proto.float_val[0]) for each in app.Tensors("loss")] == expected


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    opened = tensorboard.sink(tmp_path / "file").open("run")
    assert isinstance(opened, Failure)
    assert "NotADirectoryError" in str(opened.failure())


def test_what_the_sdk_raises_is_an_error(tmp_path: Path) -> None:
    run = tensorboard.sink(tmp_path).open("run").unwrap()
    assert not isinstance(run.close("completed"), Failure)
    for result in (run.write([sink_point(0, 1.0, step=0)], []), run.flush()):
        assert isinstance(result, Failure)
        assert "closed file" in str(result.failure())


def test_needs_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ModuleNotFoundError, match=r"crucible-llm\[tensorboard\]"):
        tensorboard.sink(tmp_path)
