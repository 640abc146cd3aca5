"""Packing keeps every token of every sequence, at its position, visible to its own sequence only."""

from hypothesis import given
from hypothesis import strategies as st

from crucible.engine.packing import MIN_SHARED_TOKENS, PackedRow, pack

STEMS = [tuple(range(n)) for n in (0, 3, MIN_SHARED_TOKENS, 40)]
sequences = st.lists(
    st.builds(
        lambda stem, tail: (*stem, *tail), st.sampled_from(STEMS), st.lists(st.integers(0, 2), min_size=1, max_size=12)
    ),
    min_size=1,
    max_size=8,
)


def visible(row: PackedRow, place: int) -> list[int]:
    """List which tokens of the row the one at `place` attends to, in order."""
    found = [segment for segment in row.segments if segment.start <= place < segment.stop]
    assert len(found) == 1
    segment = found[0]
    return [*range(segment.prefix_start, segment.prefix_stop), *range(segment.start, place + 1)]


@given(sequences, st.integers(1, 120), st.booleans())
def test_each_sequence_is_there_and_sees_exactly_itself(
    tokens: list[tuple[int, ...]], capacity: int, packable: bool
) -> None:
    rows = pack(tokens, capacity=capacity, shareable=[len(one) for one in tokens], packable=packable)
    assert sorted(index for row in rows for index in row.members) == list(range(len(tokens)))
    for row in rows:
        for index, places in zip(row.members, row.places, strict=True):
            assert tuple(row.tokens_P[places]) == tokens[index]
            assert list(row.positions_P[places]) == list(range(len(tokens[index])))
            assert visible(row, int(places[-1])) == list(places)


@given(sequences, st.integers(1, 120))
def test_rows_hold_at_most_their_capacity(tokens: list[tuple[int, ...]], capacity: int) -> None:
    for row in pack(tokens, capacity=capacity, shareable=[len(one) for one in tokens]):
        assert len(row.tokens_P) <= capacity or len(row.members) == 1


@given(sequences)
def test_segments_follow_one_another(tokens: list[tuple[int, ...]]) -> None:
    for row in pack(tokens, capacity=60, shareable=[len(one) for one in tokens]):
        ends = [0, *(segment.stop for segment in row.segments)]
        assert [segment.start for segment in row.segments] == ends[:-1]
        assert ends[-1] == len(row.tokens_P)


def test_a_long_common_prefix_is_held_once() -> None:
    prompt = tuple(range(100))
    (row,) = pack([(*prompt, 7), (*prompt, 8, 8), (*prompt, 9)], capacity=1000, shareable=[101, 102, 101])
    assert len(row.tokens_P) == 100 + 1 + 2 + 1


def test_what_may_not_be_shared_is_not() -> None:
    prompt = tuple(range(100))
    (row,) = pack([(*prompt, 7), (*prompt, 8)], capacity=1000, shareable=[50, 101])
    assert len(row.tokens_P) == 50 + 51 + 51
