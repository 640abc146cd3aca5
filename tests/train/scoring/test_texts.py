"""Scorers of text: laws, and an oracle for F1."""

import re
import string
from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.scoring import (
    Scorer,
    all_of,
    any_of,
    contains,
    exact_match,
    last_number,
    matches_pattern,
    mean_of,
    normalize,
    numeric_match,
    token_f1,
)

SCORERS: list[Scorer] = [exact_match, contains, token_f1, partial(exact_match, ignore_case=True, strip=False)]
words = st.lists(st.sampled_from(["the", "cat", "a", "dog!", "An,", "x"]), max_size=6).map(" ".join)
texts = words | st.text(max_size=20)
finite = st.floats(-1e12, 1e12)


@given(texts, texts)
def test_every_score_is_from_0_to_1(answer: str, expected: str) -> None:
    assert all(0.0 <= scorer(answer, expected) <= 1.0 for scorer in SCORERS)


@given(texts)
def test_a_text_is_itself(text: str) -> None:
    assert [scorer(text, text) for scorer in SCORERS] == [1.0] * len(SCORERS)


@given(texts, texts)
def test_what_matches_exactly_is_contained_and_has_the_same_words(answer: str, expected: str) -> None:
    if exact_match(answer, expected):
        assert contains(answer, expected) == 1.0
        assert token_f1(answer, expected) == 1.0


def test_an_empty_expectation_is_not_met_by_everything() -> None:
    assert contains("anything", " ") == 0.0
    assert contains(" ", "") == 1.0


@given(texts, texts, texts)
def test_and_or_are_a_lattice(answer: str, expected: str, other: str) -> None:
    a, b, c = exact_match, contains, token_f1

    def same(left: Scorer, right: Scorer) -> bool:
        return all(left(x, expected) == right(x, expected) for x in (answer, other, expected))

    assert same(all_of(a, a), a)
    assert same(all_of(a, b), all_of(b, a))
    assert same(all_of(a, all_of(b, c)), all_of(a, b, c))
    assert same(any_of(a, all_of(a, b)), a)
    assert same(all_of(a, any_of(b, c)), any_of(all_of(a, b), all_of(a, c)))
    low, mean, high = (how(a, b, c)(answer, expected) for how in (all_of, mean_of, any_of))
    assert low - 1e-12 <= mean <= high + 1e-12


@pytest.mark.parametrize("how", [all_of, any_of, mean_of])
def test_a_composition_of_nothing_is_refused(how: "partial[Scorer]") -> None:
    with pytest.raises(ValueError, match="at least one scorer"):
        how()


def official_f1(answer: str, expected: str) -> float:
    """Score as the evaluation script of SQuAD 2.0 does (compute_f1)."""

    def tokens(text: str) -> list[str]:
        text = "".join(character for character in text.lower() if character not in set(string.punctuation))
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    gold, given_ = tokens(expected), tokens(answer)
    if not gold or not given_:
        return float(gold == given_)
    num_same = sum((Counter(gold) & Counter(given_)).values())
    if num_same == 0:
        return 0.0
    precision, recall = num_same / len(given_), num_same / len(gold)
    return (2 * precision * recall) / (precision + recall)


@given(texts, texts)
def test_f1_is_that_of_squad(answer: str, expected: str) -> None:
    assert token_f1(answer, expected) == pytest.approx(official_f1(answer, expected), abs=1e-12)
    assert token_f1(answer, expected) == token_f1(expected, answer)
    assert normalize(normalize(answer)) == normalize(answer)


@given(finite)
def test_a_number_is_read_back(number: float) -> None:
    assert last_number(f"so x = {number!r} apples") == number
    assert last_number(f"costs ${number:,.2f}.") == float(f"{number:.2f}")


@given(finite, finite, st.floats(0, 1))
def test_a_number_scores_by_its_distance(answer: float, expected: float, tolerance: float) -> None:
    distance = abs(answer - expected) / max(abs(expected), 1.0)
    score = numeric_match(repr(answer), repr(expected), tolerance=tolerance)
    partial_score = numeric_match(repr(answer), repr(expected), tolerance=tolerance, partial=True)
    assert score == float(distance <= tolerance)
    assert partial_score == (1.0 if distance <= tolerance else max(0.0, 1.0 - distance))


def test_no_number_is_wrong_and_no_expected_number_is_an_error() -> None:
    assert numeric_match("many", "3") == 0.0
    assert numeric_match("1e999", "3") == 0.0
    with pytest.raises(ValueError, match="'many' holds none"):
        numeric_match("3", "many")


@given(st.text(max_size=20), st.text(max_size=10))
def test_an_escaped_text_is_found_where_it_is_contained(answer: str, part: str) -> None:
    assert matches_pattern(answer, re.escape(part)) == float(part in answer)
    assert matches_pattern(answer, re.escape(answer), whole=True) == 1.0


def test_a_pattern_that_is_none_raises() -> None:
    with pytest.raises(re.error):
        matches_pattern("a", "(")
