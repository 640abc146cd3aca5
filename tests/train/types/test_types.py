"""Laws of the values that the training ports take and give."""

from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from crucible.train.types import ByteTokenizer, Condition, Message, is_blob_path, permutation

values = st.text(max_size=3) | st.integers() | st.floats(allow_nan=False) | st.booleans()


@given(st.integers(0, 200), st.integers())
def test_a_permutation_has_every_index_once(length: int, seed: int) -> None:
    order = permutation(length, seed=seed)
    assert sorted(order) == list(range(length))
    assert order == permutation(length, seed=seed)


def test_a_permutation_is_the_same_in_every_version() -> None:
    assert permutation(10, seed=42) == (5, 7, 1, 3, 0, 6, 9, 4, 2, 8)


@given(st.text())
def test_a_blob_path_stays_in_its_store(path: str) -> None:
    if is_blob_path(path):
        whole = PurePosixPath("/store") / path
        assert whole.is_relative_to("/store")
        assert ".." not in whole.parts
        assert str(PurePosixPath(path)) == path


@given(values, values)
def test_conditions_are_each_others_opposites(found: str | int | float, wanted: str | int | float) -> None:
    metadata = {"key": found}

    def fits(op: str) -> bool:
        return Condition(key="key", op=op, value=wanted).fits(metadata)  # type: ignore[arg-type]  # one of six

    assert fits("eq") != fits("ne")
    if isinstance(found, str) == isinstance(wanted, str):
        assert fits("lt") != fits("ge")
        assert fits("gt") != fits("le")
        assert (fits("le") and fits("ge")) == fits("eq")
    else:
        assert not any(map(fits, ("lt", "le", "gt", "ge", "eq")))
    assert not Condition(key="other", op="ne", value=wanted).fits(metadata)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_byte_tokens_give_the_text_back(text: str) -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert all(0 <= token < tokenizer.vocab_size for token in tokenizer.encode(text))


def test_turns_are_marked_by_one_token_each() -> None:
    tokenizer = ByteTokenizer()
    text = tokenizer.render_chat([Message(role="user", content="hi")], add_generation_prompt=True)
    assert tokenizer.encode(text).count(257) == 2
    assert tokenizer.encode(text).count(tokenizer.eos_token) == 1
