"""Prompts with the answers to others: what KTO measures how far a policy went on."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.mismatched import mismatched
from crucible.train.preference_data import build_pairs
from crucible.train.renderers import ChatTemplateRenderer
from crucible.train.supervised import DatumRules
from crucible.train.types import ByteTokenizer, Datum, EncodedTextChunk, ImageChunk, ModelInput

RENDERER = ChatTemplateRenderer(ByteTokenizer())
PROMPT, ANSWER = ("prompt", "answer")

texts = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=6)
triples = st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=6)


def pairs_of(rows: list[tuple[str, str, str]], *, max_length: int = 400) -> tuple[Datum, ...]:
    made = [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in rows]
    return build_pairs(made, RENDERER, DatumRules(max_length=max_length, truncate=True)).unwrap()


def halves(datum: Datum) -> dict[str, tuple[int, ...]]:
    """Take a datum apart: what is read before the first trained token, and the trained tokens."""
    targets, weights = (datum.loss_fn_inputs[name].data for name in ("target_tokens", "weights"))
    first = next(place for place, weight in enumerate(weights) if weight)
    assert datum.model_input.tokens[1:] == tuple(map(int, targets[:-1]))
    trained = tuple(int(token) for token, weight in zip(targets, weights, strict=True) if weight)
    return {PROMPT: datum.model_input.tokens[: first + 1], ANSWER: trained}


@given(triples)
def test_each_prompt_stands_with_the_answer_to_another_prompt_on_the_same_side(
    rows: list[tuple[str, str, str]],
) -> None:
    data = pairs_of(rows)
    made = mismatched(data, max_length=400)
    if len({prompt for prompt, _, _ in rows}) == 1:
        assert made == ()
        return
    assert len(made) == len(data)
    for index, (datum, other) in enumerate(zip(data, made, strict=True)):
        assert halves(other)[PROMPT] == halves(datum)[PROMPT]
        found = [
            halves(candidate)[PROMPT]
            for candidate in data[index % 2 :: 2]
            if halves(candidate)[ANSWER] == halves(other)[ANSWER]
        ]
        assert any(prompt != halves(datum)[PROMPT] for prompt in found)


def test_equal_prompts_in_a_row_are_passed_over_and_the_last_takes_of_the_first() -> None:
    data = pairs_of([("a", "1", "2"), ("a", "3", "4"), ("b", "5", "6")])
    answers = [halves(datum)[ANSWER] for datum in data]
    assert [halves(datum)[ANSWER] for datum in mismatched(data, max_length=400)] == [
        *answers[4:],
        *answers[4:],
        *answers[:2],
    ]


@given(triples, st.integers(60, 90))
def test_what_becomes_too_long_is_cut_and_still_has_a_token_to_score(
    rows: list[tuple[str, str, str]], limit: int
) -> None:
    data = pairs_of([(p, c * 30, r) for p, c, r in rows], max_length=limit)
    whole, cut = (mismatched(data, max_length=length) for length in (10_000, limit))
    for long, short in zip(whole, cut, strict=True):
        size = len(short.model_input)
        assert size == min(len(long.model_input), limit - 1)
        assert short.model_input.tokens == long.model_input.tokens[:size]
        assert short.num_loss_tokens > 0


@pytest.mark.parametrize("place", [0, 1])
def test_images_of_a_prompt_stay_where_they_are(place: int) -> None:
    image = ImageChunk(data=b"png", format="png", expected_tokens=3)
    data = list(pairs_of([("a", "1", "2"), ("b", "3", "4")]))
    for side in (0, 1):
        text = data[2 * place + side]
        tokens = text.model_input.tokens
        chunks = (EncodedTextChunk(tokens=tokens[:1]), image, EncodedTextChunk(tokens=tokens[4:]))
        data[2 * place + side] = attrs.evolve(text, model_input=ModelInput(chunks=chunks))
    made = mismatched(data, max_length=400)
    assert [image in one.model_input.chunks for one in made] == [place == 0] * 2 + [place == 1] * 2
    assert all(len(one.model_input) == len(one.loss_fn_inputs["weights"]) for one in made)
