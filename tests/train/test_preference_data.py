"""Rows to comparisons, comparisons to interleaved data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Failure
from crucible.train.errors import InvalidRequest, SequenceTooLong
from crucible.train.preference_data import build_pairs, comparison_of, pair_of, verdict_example
from crucible.train.renderers import ChatTemplateRenderer
from crucible.train.supervised import DatumRules
from crucible.train.types import ByteTokenizer, Datum, LabeledComparison, Message, Row

TOKENIZER = ByteTokenizer()
RENDERER = ChatTemplateRenderer(TOKENIZER)
RULES = DatumRules(max_length=200)


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


ASKED, GOOD, BAD = turn("user", "2+2?"), turn("assistant", "4"), turn("assistant", "5")
ROWS: list[Row] = [
    {"prompt": "2+2?", "chosen": "4", "rejected": "5"},
    {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]},
    {"prompt": [ASKED], "chosen": "4", "rejected": [BAD]},
    {"prompt": "2+2?", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
    {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
    {"prompt": "2+2?", "completion_a": "4", "completion_b": "5", "label": "A"},
    {"prompt": "2+2?", "completion_a": "5", "completion_b": "4", "label": "B"},
]


def trained_text(datum: Datum) -> str:
    inputs = datum.loss_fn_inputs
    pairs = zip(inputs["target_tokens"].data, inputs["weights"].data, strict=True)
    return TOKENIZER.decode([int(token) for token, weight in pairs if weight])


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_every_shape_gives_the_same_pair(row: Row) -> None:
    judged = comparison_of(row).unwrap()
    assert judged.comparison.prompt == (Message(role="user", content="2+2?"),)
    assert judged.chosen == (Message(role="assistant", content="4"),)
    assert judged.rejected == (Message(role="assistant", content="5"),)
    assert build_pairs([row], RENDERER, RULES) == build_pairs(ROWS[:1], RENDERER, RULES)


texts = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=8)


@given(st.lists(st.tuples(texts, texts, texts), max_size=4))
def test_data_are_chosen_and_rejected_in_turn_and_train_on_the_answers_alone(rows: list[tuple[str, str, str]]) -> None:
    data = build_pairs([{"prompt": p, "chosen": c, "rejected": r} for p, c, r in rows], RENDERER, RULES).unwrap()
    assert [trained_text(datum) for datum in data] == [f"{a}<|im_end|>" for _, c, r in rows for a in (c, r)]


def test_of_a_completion_that_ends_in_a_verdict_the_verdict_alone_can_be_trained_on() -> None:
    asked = turn("user", "Is it right?")
    row: Row = {
        "prompt": "2+2?",
        "chosen": [GOOD, asked, turn("assistant", "yes")],
        "rejected": [BAD, turn("assistant", "yes")],
    }
    whole = build_pairs([row], RENDERER, RULES).unwrap()
    last = build_pairs([row], RENDERER, RULES, last_message_only=True).unwrap()
    assert [datum.model_input for datum in last] == [datum.model_input for datum in whole]
    assert [trained_text(datum) for datum in last] == ["yes<|im_end|>"] * 2
    plain = build_pairs(ROWS, RENDERER, RULES, last_message_only=True)
    assert plain == build_pairs(ROWS, RENDERER, RULES)


def test_every_answer_of_a_longer_completion_is_trained_on() -> None:
    more = [turn("assistant", "4"), turn("user", "sure?"), turn("assistant", "yes")]
    data = build_pairs([{"prompt": "2+2?", "chosen": more, "rejected": "5"}], RENDERER, RULES).unwrap()
    assert trained_text(data[0]) == "4<|im_end|>yes<|im_end|>"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2+2?", "chosen": "4"},
        {"prompt": "2+2?", "completion_a": "4", "completion_b": "5", "label": "C"},
        {"chosen": "4", "rejected": "5"},
        {"chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "2+2?", "chosen": [ASKED], "rejected": [BAD]},
        {"prompt": "2+2?", "chosen": 4, "rejected": "5"},
        {"prompt": "2+2?", "completion_a": "4", "completion_b": "5", "label": "Tie"},
    ],
)
def test_a_row_that_is_no_pair_is_named_by_its_index(row: Row) -> None:
    result = build_pairs([ROWS[0], row], RENDERER, RULES)
    assert isinstance(result, Failure)
    error = result.failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == 1
    assert error.fix


def test_a_row_that_is_too_long_is_an_error_or_cut() -> None:
    row = {"prompt": "2+2?", "chosen": "4", "rejected": "5" * 300}
    assert isinstance(build_pairs([row], RENDERER, RULES).failure(), SequenceTooLong)
    cut = build_pairs([row], RENDERER, DatumRules(max_length=60, truncate=True)).unwrap()
    assert len(cut[1].model_input) == 59
    error = build_pairs([row], RENDERER, DatumRules(max_length=5, truncate=True)).failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == 0


@given(st.sampled_from(["A", "B", "Tie"]))
def test_swapping_keeps_which_answer_is_better(label: str) -> None:
    comparison = comparison_of(ROWS[0]).unwrap().comparison
    judged = LabeledComparison(comparison=comparison, label=label)  # type: ignore[arg-type]  # one of three
    other = judged.swapped()
    assert (other.chosen, other.rejected) == (judged.chosen, judged.rejected)
    assert other.swapped() == judged
    assert judged.is_tie == isinstance(pair_of(judged, RENDERER, RULES), Failure)
    assert verdict_example(judged)[-1].content == label
