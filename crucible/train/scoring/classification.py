"""Accuracy, precision, recall and F1.

Where a share has nothing to be a share of, it is 0: no positive prediction gives precision 0, no positive example recall 0,
and where both are 0 so is F1. That is what scikit-learn gives with `zero_division=0`.
"""

from collections.abc import Hashable, Sequence
from typing import TypeVar

import attrs

L = TypeVar("L", bound=Hashable)


@attrs.frozen(kw_only=True)
class ClassMetrics:
    """How well one class is told from the rest, and the number of examples that are of it.

    Averaged over classes, `support` is the number of all examples.
    """

    precision: float
    recall: float
    f1: float
    support: int


def accuracy(predicted: Sequence[Hashable], actual: Sequence[Hashable]) -> float:
    """Give the share of predictions that are right.

    >>> accuracy("abc", "abd")
    0.6666666666666666

    Raises: ValueError when there are none, or not as many of both.
    """
    _paired(predicted, actual)
    return sum(p == a for p, a in zip(predicted, actual, strict=True)) / len(actual)


def class_metrics(predicted: Sequence[L], actual: Sequence[L], *, positive: L) -> ClassMetrics:
    """Measure how well the class `positive` is told from all others.

    P = tp / (tp + fp), R = tp / (tp + fn), F1 = 2 tp / (2 tp + fp + fn).

    >>> class_metrics([True, True, False, False], [True, False, True, False], positive=True)
    ClassMetrics(precision=0.5, recall=0.5, f1=0.5, support=2)

    Raises: ValueError when there are none, or not as many of both.
    """
    _paired(predicted, actual)
    hits = sum(p == positive and a == positive for p, a in zip(predicted, actual, strict=True))
    named, there = sum(p == positive for p in predicted), sum(a == positive for a in actual)
    return ClassMetrics(
        precision=_share(hits, named), recall=_share(hits, there), f1=_share(2 * hits, named + there), support=there
    )


def macro_metrics(predicted: Sequence[L], actual: Sequence[L]) -> ClassMetrics:
    """Give the plain mean of each measure over all classes that were predicted or are there; each class counts the same.

    F1 is the mean of the classes' F1, not the F1 of the mean precision and recall.

    >>> macro_metrics("aab", "abb").f1
    0.6666666666666666

    Raises: ValueError when there are none, or not as many of both.
    """
    classes = dict.fromkeys([*actual, *predicted])
    each = [class_metrics(predicted, actual, positive=label) for label in classes]
    _paired(predicted, actual)
    return ClassMetrics(
        precision=sum(one.precision for one in each) / len(each),
        recall=sum(one.recall for one in each) / len(each),
        f1=sum(one.f1 for one in each) / len(each),
        support=len(actual),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _paired(predicted: Sequence[object], actual: Sequence[object]) -> None:
    if len(predicted) != len(actual):
        raise ValueError(f"{len(predicted)} predictions for {len(actual)} examples")
    if not actual:
        raise ValueError("nothing was predicted, so nothing can be measured")
