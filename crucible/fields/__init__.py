"""What fields may hold: by their types and their limits, declared once, checked by value, and said in the same words everywhere."""

from crucible.fields.checked import InvalidField, checked
from crucible.fields.limits import (
    ABOVE_0,
    AT_LEAST_0,
    AT_LEAST_1,
    FRACTION,
    NOT_EMPTY,
    SOME_UNIQUE,
    UNIQUE,
    Limits,
    limits_of,
    within,
)
from crucible.fields.problems import Problem, joined
from crucible.fields.values import (
    alternatives,
    choice_problems,
    field_types,
    fix_of_kind,
    nearest,
    no_tuple,
    plain_problems,
    said,
    shown_kind,
    value_problems,
    wrong,
)

__all__ = [
    "ABOVE_0",
    "AT_LEAST_0",
    "AT_LEAST_1",
    "FRACTION",
    "NOT_EMPTY",
    "SOME_UNIQUE",
    "UNIQUE",
    "InvalidField",
    "Limits",
    "Problem",
    "alternatives",
    "checked",
    "choice_problems",
    "field_types",
    "fix_of_kind",
    "joined",
    "limits_of",
    "nearest",
    "no_tuple",
    "plain_problems",
    "said",
    "shown_kind",
    "value_problems",
    "within",
    "wrong",
]
