"""Measures over many answers, against what defines them."""

import math
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.scoring import (
    accuracy,
    class_metrics,
    macro_metrics,
    mean_nll,
    mean_pass_at_k,
    pass_at_k,
    perplexity,
)

pairs = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=12)
logprobs = st.lists(st.lists(st.floats(-50, 0), min_size=1, max_size=5), min_size=1, max_size=5)


@given(st.integers(1, 8), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(combinations([True] * c + [False] * (n - c), k))
    exact = Fraction(sum(any(subset) for subset in subsets), len(subsets))
    assert pass_at_k(n, c, k) == float(exact)


@given(st.integers(1, 300), st.data())
def test_pass_at_k_is_rounded_once(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    exact = 1 - Fraction(math.comb(n - c, k), math.comb(n, k))
    assert pass_at_k(n, c, k) == float(exact)
    stable = 1.0 if n - c < k else 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))  # the paper's listing
    assert pass_at_k(n, c, k) == pytest.approx(stable, abs=1e-10)
    assert pass_at_k(n, c, 1) == c / n
    assert pass_at_k(n, c, n) == float(c > 0)


def test_pass_at_k_holds_where_floats_would_not() -> None:
    assert pass_at_k(100_000, 1, 1) == 1e-5
    assert pass_at_k(10_000, 5_000, 5_000) == 1.0
    assert mean_pass_at_k([(4, 1), (4, 0), (4, 4)], 2) == pytest.approx(0.5)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, -1, 1), (5, 2, 0), (5, 2, 6), (0, 0, 1)])
def test_pass_at_k_of_what_cannot_be_is_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        pass_at_k(n, c, k)
    with pytest.raises(ValueError, match=r"cannot be|no problem"):
        mean_pass_at_k([(n, c)], k)


def test_no_problem_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="no problem"):
        mean_pass_at_k([], 1)


def test_the_example_of_scikit_learn() -> None:
    # The example of sklearn.metrics.precision_recall_fscore_support and of its siblings: 0.22, 0.33, 0.26 (zero_division=0).
    actual, predicted = [0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 0, 1]
    found = macro_metrics(predicted, actual)
    assert found.precision == pytest.approx(2 / 9)
    assert found.recall == pytest.approx(1 / 3)
    assert found.f1 == pytest.approx(4 / 15)
    assert found.support == 6


@given(pairs)
def test_each_measure_is_what_its_formula_says(both: list[tuple[str, str]]) -> None:
    predicted, actual = zip(*both, strict=True)
    assert accuracy(predicted, actual) == sum(p == a for p, a in both) / len(both)
    f1s = []
    for label in set(predicted) | set(actual):
        tp = both.count((label, label))
        fp = sum(p == label != a for p, a in both)
        fn = sum(a == label != p for p, a in both)
        found = class_metrics(predicted, actual, positive=label)
        assert found.precision == (tp / (tp + fp) if tp + fp else 0.0)
        assert found.recall == (tp / (tp + fn) if tp + fn else 0.0)
        p, r = found.precision, found.recall
        assert found.f1 == pytest.approx(2 * p * r / (p + r) if p + r else 0.0)
        assert found.support == actual.count(label)
        f1s.append(found.f1)
    assert macro_metrics(predicted, actual).f1 == pytest.approx(sum(f1s) / len(f1s))


def test_a_class_that_is_nowhere_measures_0() -> None:
    found = class_metrics(["a"], ["a"], positive="z")
    assert (found.precision, found.recall, found.f1, found.support) == (0.0, 0.0, 0.0, 0)


@pytest.mark.parametrize("measure", [accuracy, macro_metrics])
def test_nothing_and_uneven_lists_are_refused(measure: "type[object]") -> None:
    for predicted, actual in (([], []), (["a"], ["a", "b"])):
        with pytest.raises(ValueError, match=r"nothing|predictions for"):
            measure(predicted, actual)  # type: ignore[call-arg]  # both take two lists


@given(logprobs)
def test_nll_is_the_mean_over_tokens(sequences: list[list[float]]) -> None:
    flat = [value for sequence in sequences for value in sequence]
    assert mean_nll(sequences) == pytest.approx(-sum(flat) / len(flat))
    assert mean_nll(sequences) == pytest.approx(mean_nll([flat]))
    assert mean_nll(sequences) >= 0
    assert perplexity(mean_nll(sequences)) >= 1


@given(logprobs, st.data())
def test_a_token_of_weight_0_does_not_count(sequences: list[list[float]], data: st.DataObject) -> None:
    weights = [[data.draw(st.sampled_from([0.0, 1.0])) for _ in sequence] for sequence in sequences]
    kept = [
        value
        for sequence, theirs in zip(sequences, weights, strict=True)
        for value, weight in zip(sequence, theirs, strict=True)
        if weight
    ]
    if kept:
        assert mean_nll(sequences, weights) == pytest.approx(mean_nll([kept]))
    else:
        with pytest.raises(ValueError, match="no token counts"):
            mean_nll(sequences, weights)


def test_an_impossible_token_that_does_not_count_is_no_nan() -> None:
    assert mean_nll([[-math.inf, -1.0]], [[0.0, 1.0]]) == 1.0
    assert mean_nll([[-math.inf]]) == math.inf
    assert math.copysign(1.0, mean_nll([[0.0]])) == 1.0


@pytest.mark.parametrize("weights", [[[1.0]], [[1.0, -1.0]], [[1.0, 1.0], []]])
def test_weights_of_another_shape_and_negative_ones_are_refused(weights: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer|below 0"):
        mean_nll([[-1.0, -2.0]], weights)
