"""`checked`: an attrs class whose fields are checked by value, from their own types and limits, when one is made."""

from typing import Any

import attrs

from crucible.fields.limits import limits_of
from crucible.fields.problems import Problem
from crucible.fields.values import field_types, value_problems


class InvalidField(ValueError):  # noqa: N818  # a value that a field cannot hold, in the words of a problem
    """A field of a value that is just made cannot hold what it was given: which class, and the problem with its path in it."""

    def __init__(self, owner: type, problem: Problem) -> None:
        super().__init__(f"{owner.__name__}.{problem}")
        self.owner = owner
        self.problem = problem


@attrs.frozen
class Checked:
    """The validator of a checked field; `then` is the one that the field was declared with."""

    then: "attrs._ValidatorType[Any] | None"  # Any: attrs validators are generic over the class they sit in

    def __call__(self, instance: object, field: "attrs.Attribute[Any]", value: object) -> None:
        """Check a value against the type and the limits of its field.

        Raises: InvalidField with what is wrong first.
        """
        kind: type = type(instance)
        for problem in value_problems(value, field_types(kind)[field.name], limits_of(field)):
            raise InvalidField(kind, problem.below(field.name))
        if self.then is not None:
            self.then(instance, field, value)


def checked(cls: type, fields: "list[attrs.Attribute[Any]]") -> "list[attrs.Attribute[Any]]":
    """Have every field of an attrs class checked when it is made, inherited ones too.

    >>> from typing import Literal
    >>> from crucible.fields import Limits, within
    >>> @attrs.frozen(kw_only=True, field_transformer=checked)
    ... class Oven:
    ...     degrees: int = attrs.field(default=200, metadata=within(Limits(at_least=50)))
    ...     mode: Literal["fan", "grill"] = "fan"
    >>> Oven(mode="gril")
    Traceback (most recent call last):
    crucible.fields.checked.InvalidField: Oven.mode: must be fan or grill, not the text 'gril' (did you mean grill?)

    Args:
        cls: the class; its annotations are read when the first value is made, so they may name what is defined later.
        fields: as attrs found them.
    """
    return [
        field if isinstance(field.validator, Checked) else field.evolve(validator=Checked(field.validator))
        for field in fields
    ]
