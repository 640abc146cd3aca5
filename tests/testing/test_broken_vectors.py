"""Each of these vector stores breaks one promise in the way that a real one would, and is found out."""

from collections.abc import Callable, Sequence
from typing import cast

import attrs
import pytest

from crucible.effects import Around, Call, Failure, Proceed, Result, Success
from crucible.kitchen.handlers import noop
from crucible.testing import ContractViolationError, check_vector_store
from crucible.train.errors import InvalidRequest
from crucible.train.types import Condition, Match, VectorRow

Answer = Result[object, object]

LARGEST_SINGLE = 3.4e38


def rows_of(call: Call) -> list[VectorRow]:
    """Give the rows of an upsert."""
    return list(cast("Sequence[VectorRow]", call.arguments[1]))


def with_rows(call: Call, rows: Sequence[VectorRow]) -> Call:
    """Write other rows."""
    return attrs.evolve(call, arguments=(call.arguments[0], rows))


def conditions_of(call: Call) -> list[Condition]:
    """Give the conditions of a query."""
    return list(cast("Sequence[Condition]", call.keywords.get("where", ())))


def with_keywords(call: Call, **changed: object) -> Call:
    """Ask with other keywords."""
    return attrs.evolve(call, keywords={**call.keywords, **changed})


def changed(answer: Answer, change: Callable[[list[Match]], Sequence[Match]]) -> Answer:
    """Change what was found for each vector."""
    return answer.map(
        lambda found: tuple(tuple(change(list(each))) for each in cast("Sequence[Sequence[Match]]", found))
    )


async def the_first_of_two_counts(call: Call, proceed: Proceed) -> Answer:
    if call.name == "VectorStore.upsert":
        call = with_rows(call, list({row.id: row for row in reversed(rows_of(call))}.values()))
    return await proceed(call)


async def one_row_at_a_time(call: Call, proceed: Proceed) -> Answer:
    if call.name != "VectorStore.upsert" or not rows_of(call):
        return await proceed(call)
    answer: Answer = Success(None)
    for index, row in enumerate(rows_of(call)):
        answer = await proceed(with_rows(call, [row]))
        if isinstance(answer, Failure):
            error = answer.failure()
            return Failure(attrs.evolve(error, index=index)) if isinstance(error, InvalidRequest) else answer
    return answer


async def quotes_doubled_twice(call: Call, proceed: Proceed) -> Answer:
    where = [attrs.evolve(it, value=str(it.value).replace("'", "''")) for it in conditions_of(call) if it.key != "year"]
    is_glued = call.name == "VectorStore.query" and any("'" in str(it.value) for it in where)
    return await proceed(with_keywords(call, where=where) if is_glued else call)


async def numbers_in_four_bytes(call: Call, proceed: Proceed) -> Answer:
    if call.name == "VectorStore.upsert":
        rows = [
            attrs.evolve(row, vector=tuple(max(-LARGEST_SINGLE, min(LARGEST_SINGLE, x)) for x in row.vector))
            if all(abs(x) < float("inf") for x in row.vector)
            else row
            for row in rows_of(call)
        ]
        call = with_rows(call, rows)
    return await proceed(call)


async def one_table_for_all(call: Call, proceed: Proceed) -> Answer:
    if call.arguments and isinstance(call.arguments[0], str):
        call = attrs.evolve(call, arguments=(call.arguments[0].removesuffix("-other"), *call.arguments[1:]))
    return await proceed(call)


async def conditions_after_the_cut(call: Call, proceed: Proceed) -> Answer:
    where = conditions_of(call)
    if call.name != "VectorStore.query" or not where:
        return await proceed(call)
    answer = await proceed(with_keywords(call, where=()))
    return changed(answer, lambda found: [it for it in found if all(each.fits(it.row.metadata) for each in where)])


async def ties_by_age(call: Call, proceed: Proceed) -> Answer:
    if call.name != "VectorStore.query":
        return await proceed(call)
    answer = await proceed(with_keywords(call, num_results=99))
    wanted = cast("int", call.keywords.get("num_results", 10))
    by_age = {"west": 0, "east": 1}
    return changed(
        answer,
        lambda found: sorted(found, key=lambda it: (-it.similarity, by_age.get(it.row.id, 2)))[:wanted],
    )


async def true_is_not_one(call: Call, proceed: Proceed) -> Answer:
    answer = await proceed(call)
    if call.name != "VectorStore.query":
        return answer

    def same_types(found: list[Match]) -> list[Match]:
        return [
            it
            for it in found
            if all(
                type(it.row.metadata.get(each.key)) is type(each.value)
                for each in conditions_of(call)
                if each.op == "eq"
            )
        ]

    return changed(answer, same_types)


@pytest.mark.parametrize(
    ("around", "law"),
    [
        (the_first_of_two_counts, "a row written again"),
        (one_row_at_a_time, "bad vectors are refused"),
        (quotes_doubled_twice, "conditions mean what texts say"),
        (numbers_in_four_bytes, "compared by direction"),
        (one_table_for_all, "a collection knows nothing of another"),
        (conditions_after_the_cut, "conditions leave out"),
        (ties_by_age, "the most similar rows come first"),
        (true_is_not_one, "conditions leave out"),
    ],
)
def test_a_broken_vector_store_is_found_out_by_its_law(around: Around, law: str) -> None:
    with pytest.raises(ContractViolationError, match=law):
        check_vector_store(lambda: noop.vectors().wrap(around))
