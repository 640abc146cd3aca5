"""What a report works out: timelines, effects, differences, configurations, samples, problems."""

from datetime import timedelta
from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Json
from crucible.telemetry.analysis import Span, spans_of
from crucible.telemetry.events import EpisodesFailed, EqualPairs, RunOpened, SampleShown, TelemetryRefused
from crucible.telemetry.loading import LoadedRun
from crucible.telemetry.report import compared_ends, render_report
from crucible.telemetry.report._cards import card_of
from crucible.telemetry.report._configuration import settings_of, surroundings_of
from crucible.telemetry.report._differences import differences, group_comparisons, groups_of
from crucible.telemetry.report._effects import IN_WATERFALL, MOST_KINDS, SLOWEST, calls_of, effects_of
from crucible.telemetry.report._names import short_names
from crucible.telemetry.report._numbers import duration
from crucible.telemetry.report._page import page_of
from crucible.telemetry.report._timeline import MOST_ROWS, boxes, timeline_of
from crucible.telemetry.report._told import problems_of, samples_of
from crucible.telemetry.series import series_of
from crucible.telemetry.types import RunInfo
from tests.telemetry.made import COMPLETED, FAILED, START, UNENDED, at, effect, event, loaded, points

# Timelines


def span(path: str, began: float, seconds: float | None, error: str | None = None) -> Span:
    return Span(name="stage.run", path=path, started=at(began), seconds=seconds, error=error)


def test_the_turns_of_a_loop_share_a_row_and_rows_are_in_the_order_of_their_beginning() -> None:
    spans = [span("sft/load", 0, 1), *(span(f"sft/batches[{i}]/step", 1 + i, 0.5) for i in range(3))]
    timeline = timeline_of(spans, until=at(4))
    assert [(row.inside, row.name, row.count, row.seconds) for row in timeline.rows] == [
        ("", "load", 1, 1.0),
        ("batches[*]/", "step", 3, 1.5),
    ]
    assert timeline.ticks == ("0", "1 s", "2 s", "3 s", "4 s")


def test_what_failed_or_never_ended_is_drawn_apart() -> None:
    timeline = timeline_of([span("sft/a", 0, 1, "broke"), span("sft/b", 2, None)], until=at(4))
    failed, unended = timeline.rows
    assert (failed.failures, failed.says) == (failed.bars, "1 s, 1 failed")
    assert (unended.failures, unended.says) == ("M500 0h500v10h-500z", "2 s, 1 never ended")


def test_rows_are_bounded_and_those_of_the_least_time_are_left_out() -> None:
    spans = [span(f"sft/stage_{number}", number, 1 + number) for number in range(MOST_ROWS + 50)]
    timeline = timeline_of(spans, until=at(1000))
    assert (len(timeline.rows), timeline.num_left_out) == (MOST_ROWS, 50)
    assert timeline.rows[0].name == "stage_50"


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=50))
def test_boxes_lie_in_their_strip_and_never_cross(stretches: list[tuple[float, float]]) -> None:
    drawn = [box.split(" 0h") for box in boxes(stretches, 100.0).split("M")[1:]]
    edges = [(float(left), float(left) + float(rest.partition("v")[0])) for left, rest in drawn]
    assert all(-2.1 <= left < right <= 1001 for left, right in edges)
    assert all(before[1] <= after[0] for before, after in pairwise(edges))


def test_no_spans_are_no_rows() -> None:
    assert timeline_of([], until=START).rows == ()


# Effects


def test_calls_are_summed_by_stage_and_operation_with_their_share() -> None:
    calls = calls_of(
        [
            effect(1, "sft/b[0]/forward/#1", "Training.forward", 0.3),
            effect(2, "sft/b[1]/forward/#1", "Training.forward", 0.5, error="busy"),
            effect(3, "sft/b[1]/step/#1", "Training.step", 0.2, error=None),
        ]
    )
    effects = effects_of(calls)
    assert effects is not None
    assert [(it.stage, it.effect, round(it.seconds, 6), it.num_failed) for it in effects.totals] == [
        ("sft/b[*]/forward", "Training.forward", 0.8, 1),
        ("sft/b[*]/step", "Training.step", 0.2, 0),
    ]
    assert (effects.count, round(effects.totals[0].share, 6)) == (3, 0.8)
    assert effects.slowest[0].error == "busy"
    assert effects.slowest[0].started == at(2) - timedelta(seconds=0.5)


def test_the_waterfall_is_a_turn_of_median_length_of_the_loop_that_took_longest() -> None:
    calls = [effect(0, "sft/load/#1", "Data.load", 0.1)]
    for turn, seconds in enumerate((0.2, 0.9, 0.4)):
        calls += [
            effect(10 * turn + 11, f"sft/b[{turn}]/forward/#1", "Training.forward", seconds),
            effect(10 * turn + 12, f"sft/b[{turn}]/step/#1", "Training.step", 0.1),
        ]
    effects = effects_of(calls_of(calls))
    assert effects is not None
    assert effects.waterfall is not None
    assert effects.waterfall.inside == "sft/b[2]"
    assert [bar.call.effect for bar in effects.waterfall.bars] == ["Training.forward", "Training.step"]
    assert round(effects.waterfall.seconds, 6) == 1.4


def test_thousands_of_calls_are_few_rows() -> None:
    calls = calls_of(effect(number, f"sft/{number}", f"Port.op_{number}", 0.001 * number) for number in range(5000))
    effects = effects_of(calls)
    assert effects is not None
    assert effects.waterfall is not None
    assert (len(effects.totals), len(effects.slowest), effects.num_left_out) == (MOST_KINDS, SLOWEST, 5000 - MOST_KINDS)
    assert len(effects.waterfall.bars) == IN_WATERFALL


def test_a_run_that_told_no_calls_has_none() -> None:
    assert effects_of(()) is None


@pytest.mark.parametrize("seconds", ["long", None, -1.0, float("nan"), float("inf"), 1e300])
def test_a_duration_that_is_none_counts_as_no_time(seconds: Json) -> None:
    [call] = calls_of([event(1, "crucible_kitchen.effect.performed", effect="x", seconds=seconds)])
    assert (call.seconds, call.started) == (0.0, at(1))


# Differences


def seeded(seed: int, learning_rate: float, level: float) -> LoadedRun:
    told = points("loss", [level + 0.01 * seed] * 10)
    config: Json = {"seed": seed, "adapter": {"seed": seed}, "learning_rate": learning_rate}
    return loaded((), told, run_id=f"{learning_rate}_{seed}", config=config)


def test_two_configurations_with_seeds_are_tested_by_run_not_by_step() -> None:
    runs = [seeded(seed, rate, level) for rate, level in ((0.1, 2.0), (0.2, 1.0)) for seed in range(3)]
    page = page_of(runs, title="")
    assert page.groups == ((0, 1, 2), (3, 4, 5))
    [test] = page.tests
    assert (test.name, test.comparison.num_a, test.comparison.num_b) == ("loss", 3, 3)
    assert round(test.comparison.difference, 6) == -1.0


def test_a_run_that_died_at_once_is_no_baseline_and_no_configuration() -> None:
    died = loaded((), (), run_id="died", config={"learning_rate": 0.3})
    runs = [died, *(seeded(seed, rate, level) for rate, level in ((0.1, 2.0), (0.2, 1.0)) for seed in range(3))]
    page = page_of(runs, title="")
    assert (page.baseline, page.groups) == (1, ((1, 2, 3), (4, 5, 6)))
    assert [test.name for test in page.tests] == ["loss"]
    assert round(page.differences[0].from_baseline[4], 6) == -1.0
    html = render_report(runs)
    assert "difference from 0.1_0." in html
    assert "<small>-1</small>" in html


def test_what_was_set_or_counted_makes_no_outcome_less_sure() -> None:
    runs = [seeded(seed, rate, level) for rate, level in ((0.1, 2.0), (0.2, 1.99)) for seed in range(3)]
    alone = page_of(runs, title="").tests
    more = [
        attrs.evolve(
            run,
            points=(
                *run.points,
                *points("rl/learning_rate", [0.1 + index]),
                *points("num_tokens", [4.0 + index]),
                *points("eval/accuracy", [0.5 + index] if index else []),
            ),
        )
        for index, run in enumerate(runs)
    ]
    tests = {test.name: test.comparison for test in page_of(more, title="").tests}
    assert tests.keys() == {"eval/accuracy", "loss"}
    assert (tests["eval/accuracy"].num_a, tests["eval/accuracy"].num_b) == (2, 3)
    assert [tests["loss"].p_value] == [test.comparison.p_value for test in alone]


def test_seeds_of_one_configuration_are_summed_up() -> None:
    html = render_report([seeded(seed, 0.1, 2.0) for seed in range(3)])
    assert "3 seeds, mean ± sd" in html
    assert "2.01 ± 0.01</td>" in html
    assert "mean ± sd" not in render_report([seeded(0, rate, 2.0) for rate in (0.1, 0.2)])


def test_names_in_tables_are_told_apart_where_they_differ() -> None:
    ids = [f"sl_basic_run_20261125_2217{second}_abcdef" for second in (19, 23)]
    html = render_report([loaded((), points("loss", [1.0, 2.0]), run_id=run_id) for run_id in ids])
    assert f'title="{ids[0]}"' in html
    assert ">…221719_abcdef<" in html
    assert short_names(["same_but_for_the_middle_1_which_is_cut", "same_but_for_the_middle_2_which_is_cut"]) == (
        "…1_which_is_cut",
        "…2_which_is_cut",
    )
    clash = [f"a-{'m' * 20}{middle}{'n' * 20}" for middle in "yz"]
    assert short_names(clash) == tuple(clash)


def test_a_loss_that_became_nan_is_shown_to_end_as_nan() -> None:
    nan = float("nan")
    series = series_of(points("loss", [4.0, *(1.0 for _ in range(49)), *(nan for _ in range(50))]))
    [headline] = card_of(0, loaded(), series).headlines
    assert (headline.first, headline.last) == ("4", "NaN")
    finite = series_of(points("loss", [2.0] * 9 + [nan, 2.0] + [3.0] * 4))
    assert compared_ends(series["loss"], finite["loss"]).cells == ("loss", "NaN", "3", "NaN", "", "0/3")
    assert differences([series, finite, finite])[0].spread((0, 1, 2)) == (3.0, 0.0)


def test_one_run_of_each_configuration_is_compared_without_a_test() -> None:
    runs = [seeded(0, 0.1, 2.0), seeded(0, 0.2, 1.0)]
    found = differences([series_of(run.points) for run in runs])
    assert [(it.name, it.levels, it.from_baseline) for it in found] == [("loss", (2.0, 1.0), (0.0, -1.0))]
    assert group_comparisons(groups_of(runs), found) == ()


def test_runs_of_which_no_configuration_is_known_are_no_seeds_of_one() -> None:
    assert groups_of([loaded((), points("loss", [1.0]), run_id=run_id) for run_id in "ab"]) == ((0,), (1,))


def test_values_all_alike_and_metrics_of_one_run_only_are_not_tested() -> None:
    alike = [seeded(seed, rate, 1.0 - 0.01 * seed) for rate in (0.1, 0.2) for seed in range(2)]
    extra = loaded((), [*alike[0].points, *points("extra", [1.0], first=50)], config=alike[0].info.metadata["config"])
    page = page_of([extra, *alike[1:]], title="")
    assert [it.name for it in page.differences] == ["loss"]
    assert all(it.comparison.p_value == 1.0 for it in page.tests)


def test_ends_of_series_too_short_or_too_even_have_no_interval() -> None:
    short, even = series_of(points("loss", [1.0, 2.0]))["loss"], series_of(points("loss", [1.0] * 100))["loss"]
    assert compared_ends(short, short).interval is None
    assert compared_ends(even, even).interval is None
    assert compared_ends(even, even).counts == (20, 20)


def test_a_series_of_nothing_finite_has_no_level() -> None:
    odd = series_of(points("loss", [float("nan"), 1e300]))["loss"]
    assert compared_ends(odd, odd).cells == ("loss", "NaN", "NaN", "NaN", "", "0/0")


# Configurations


def test_a_setting_that_one_run_has_not_is_a_difference() -> None:
    configs: list[Json] = [{"x": 1}, {}]
    infos = [RunInfo(run_id="r", metadata={"config": config, "python": "3.11"}) for config in configs]
    assert [(it.key, it.values, it.differs) for it in settings_of(infos)] == [("x", ("1", "—"), True)]
    assert [(it.key, it.differs) for it in surroundings_of(infos)] == [("python", False)]


def test_whole_and_broken_numbers_and_odd_floats_are_told_apart() -> None:
    infos = [RunInfo(run_id="a", metadata={"config": {"x": value}}) for value in (1, 1.0, "1", float("nan"))]
    [setting] = settings_of(infos)
    assert setting.values[:3] == ("1", "1.0", "1")
    assert setting.differs


# Samples and problems


def test_the_first_and_last_samples_are_shown_and_the_others_counted() -> None:
    told = [event(n, SampleShown.NAME, step=n, prompt="p", answer=f"{n} ", expected="7") for n in range(100)]
    samples = samples_of(told)
    assert ([it.step for it in samples.first], samples.num_left_out) == (["0", "1", "2", "3", "4", "5"], 70)
    assert (samples.last[-1].step, len(samples.last)) == ("99", 24)
    assert [it.is_same for it in samples_of(told[6:8]).first] == [False, True]


def test_an_answer_to_which_nothing_was_expected_is_neither_right_nor_wrong() -> None:
    [sample] = samples_of([event(1, SampleShown.NAME, step=1, prompt="p", answer="x" * 5000, expected="")]).first
    assert sample.is_same is None
    assert sample.answer.endswith("… (3,000 more characters)")


def test_names_and_paths_break_where_they_have_joints() -> None:
    effects = [effect(10, "sft/b[0]/forward_backward/#1", "TrainingClient.forward_backward", 0.1)]
    html = render_report([loaded([*FAILED, *effects], points("eval/num_examples", [1.0, 2.0]))])
    assert "TrainingClient.<wbr>forward_<wbr>backward</th>" in html
    assert "eval/<wbr>num_<wbr>examples</span>" in html
    assert "stage sft/<wbr>load failed" in html


def test_problems_are_said_once_with_how_often() -> None:
    refused = [event(20 + n, TelemetryRefused.NAME, problem="the disk is full") for n in range(2)]
    lost = [
        *(event(40 + n, EpisodesFailed.NAME, error="down", num_failed=2.0, row=n, shown="{'q': 1}") for n in range(2)),
        event(50, EpisodesFailed.NAME, error="odd", num_failed=1.0, row=None),
        event(51, EqualPairs.NAME, dataset="d", split="s", num_equal=1.0, num_cut=0.0, num_pairs=9.0, row=3),
    ]
    events = [
        *FAILED,
        *refused,
        *lost,
        *(effect(10 + n, f"sft/b[{n}]/f/#1", "T.f", 0.1, error="busy") for n in range(3)),
    ]
    series = series_of(points("loss", [1.0, float("nan"), float("inf")]))
    assert problems_of(events, calls_of(events), series) == (
        "workflow sft failed: no rows in 'talk'",
        "stage sft/load failed: no rows",
        "stage sft/undo failed: nothing to undo",
        "T.f in sft/b[*]/f failed 3 times: busy",
        "1 of 9 pairs of d, split s (first row 3): left out, their two answers are equal",
        "4 episodes failed, first on row 0 {'q': 1}: down",
        "1 episodes failed: odd",
        "telemetry: the disk is full",
        "loss: 2 of 3 values are not finite, first at step 1",
    )


# Cards


@pytest.mark.parametrize(
    ("events", "state"), [(COMPLETED, "completed"), (FAILED, "failed"), (UNENDED, "never ended"), ((), "never ended")]
)
def test_a_card_says_how_the_run_stands(events: tuple, state: str) -> None:  # type: ignore[type-arg]  # of records
    assert card_of(0, loaded(events), {}).state == state


def test_a_card_says_what_the_run_was_made_of() -> None:
    about: dict[str, Json] = {
        "recipe": "talk",
        "git": {"revision": "0123456789abcdef", "changed": True},
        "fingerprint": "f00d",
        "python": "3.11.7",
        "packages": {"torch": "2.6"},
    }
    series = series_of(points("eval/accuracy", [0.0, 0.5], step=4))
    card = card_of(0, loaded((*UNENDED, event(4, RunOpened.NAME, "")), points("loss", [1.0]), about=about), series)
    assert dict(card.facts) == {
        "recipe": "talk",
        "started": "2026-01-01 00:00:00 UTC",
        "last heard of after": "4 s",
        "steps": "4",
        "git": "0123456789 with changes",
        "configuration": "f00d",
        "resumed": "once",
        "versions": "Python 3.11.7, torch 2.6",
    }
    assert [(it.name, it.first, it.last) for it in card.headlines] == [("eval/accuracy", "0", "0.5")]


def test_a_report_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a run"):
        page_of([], title="")


def test_metrics_that_never_change_are_words_not_charts() -> None:
    told = [*points("loss", [2.0, 1.0]), *points("num_tokens", [16.0, 16.0], first=10)]
    page = page_of([loaded((), told)], title="")
    assert [chart.name for chart in page.charts] == ["loss"]
    assert page.constants == ("num_tokens 16",)


@given(st.floats(0, 1e9))
def test_any_duration_is_written_shortly(seconds: float) -> None:
    assert len(duration(seconds)) <= 13


def test_spans_of_a_run_are_what_the_timeline_draws() -> None:
    assert [row.name for row in page_of([loaded(COMPLETED)], title="").details[0].timeline.rows] == ["load"]
    assert len(spans_of(COMPLETED)) == 2
