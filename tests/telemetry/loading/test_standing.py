"""How a run stands is read off its events: the outermost workflow decides, and a resumed run goes on."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.telemetry.events import (
    RunOpened,
    StageFailed,
    StageStarted,
    StageStopped,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowStopped,
)
from crucible.telemetry.loading import standing_of
from crucible.telemetry.types import EventRecord
from tests.telemetry.made import COMPLETED, FAILED, UNENDED, at, event


def test_a_run_that_told_nothing_is_open_and_has_no_start() -> None:
    standing = standing_of([])
    assert (standing.state, standing.started, standing.seconds) == ("open", None, 0.0)


def test_a_completed_run() -> None:
    standing = standing_of(COMPLETED)
    assert (standing.state, standing.path, standing.error, standing.seconds) == ("completed", "", "", 4.0)


def test_a_failed_run_names_the_stage_that_failed_not_what_was_undone_after_it() -> None:
    standing = standing_of(FAILED)
    assert (standing.state, standing.path, standing.error) == ("failed", "sft/load", "no rows in 'talk'")


def test_of_stages_within_stages_the_innermost_is_named() -> None:
    failing = [
        event(1, WorkflowStarted.NAME),
        event(2, StageFailed.NAME, "sft/try/early", error="passed by"),
        event(3, StageFailed.NAME, "sft/outer/inner", error="e"),
        event(4, StageFailed.NAME, "sft/outer", error="e"),
        event(5, WorkflowFailed.NAME, error="e"),
    ]
    assert standing_of(failing).path == "sft/outer/inner"


def test_a_workflow_within_the_workflow_does_not_end_the_run() -> None:
    nested = [
        event(1, WorkflowStarted.NAME),
        event(2, WorkflowStarted.NAME, "sft/warm_up"),
        event(3, WorkflowStopped.NAME, "sft/warm_up"),
    ]
    assert standing_of(nested).state == "open"


def test_an_open_run_is_in_the_stage_that_began_last_and_did_not_end() -> None:
    begun = [
        *UNENDED,
        event(3, StageStopped.NAME, "sft/load", stage="load"),
        event(4, StageStarted.NAME, "sft/loop", stage="loop"),
        event(5, StageStarted.NAME, "sft/loop/step", stage="step"),
        event(6, StageStopped.NAME, "sft/loop/step", stage="step"),
    ]
    assert standing_of(begun).path == "sft/loop"
    assert standing_of(begun[:-1]).path == "sft/loop/step"


def test_a_run_opened_again_goes_on_and_what_was_begun_before_is_forgotten() -> None:
    resumed = [*FAILED, event(100, RunOpened.NAME, "", writer=1)]
    standing = standing_of(resumed)
    assert (standing.state, standing.path, standing.error, standing.num_writers) == ("open", "", "", 2)
    again = [attrs.evolve(it, sequence=it.sequence + 200, timestamp=at(it.sequence + 200)) for it in COMPLETED]
    assert standing_of([*resumed, *again]).state == "completed"


def test_a_completed_run_that_is_repeated_from_its_journal_stays_completed_until_it_begins_anew() -> None:
    repeated = [*COMPLETED, event(100, RunOpened.NAME, "", writer=1)]
    assert (standing_of(repeated).state, standing_of(repeated).num_writers) == ("completed", 2)
    [start] = [it for it in COMPLETED if it.name == WorkflowStarted.NAME]
    begun = attrs.evolve(start, sequence=101, timestamp=at(101))
    assert standing_of([*repeated, begun]).state == "open"


@pytest.mark.parametrize("before", [UNENDED, FAILED, COMPLETED[:3]])
def test_a_run_that_goes_on_from_its_journal_ends_without_its_start_being_told_again(before: list[EventRecord]) -> None:
    resumed = [
        *before,
        event(100, RunOpened.NAME, "", writer=1),
        event(101, WorkflowStarted.NAME, "sft/inner"),
        event(102, WorkflowStopped.NAME, "sft/inner"),
    ]
    assert standing_of(resumed).state == "open"
    assert standing_of([*resumed, event(103, WorkflowStopped.NAME)]).state == "completed"
    failed = standing_of([*resumed, event(103, WorkflowFailed.NAME, error="no room")])
    assert (failed.state, failed.error) == ("failed", "no room")
    elsewhere = [*before, event(100, RunOpened.NAME, "", writer=1), event(101, WorkflowStarted.NAME, "dpo")]
    assert standing_of([*elsewhere, event(102, WorkflowStopped.NAME, "dpo")]).state == "completed"


@given(st.permutations(FAILED))
def test_the_order_in_which_events_are_given_does_not_matter(events: list) -> None:  # type: ignore[type-arg]  # of records
    assert standing_of(events) == standing_of(FAILED)
