"""Rows become data: every shape that is read, what is refused and how, and what the weights mean."""

import math
from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Failure
from crucible.train.errors import InvalidRequest, SequenceTooLong
from crucible.train.renderers import ChatTemplateRenderer, RenderedExample, TrainOnWhat
from crucible.train.supervised import (
    DatumRules,
    build_data,
    build_datum,
    conversation_of,
    datum_of,
    mean_over_tokens,
)
from crucible.train.types import ByteTokenizer, Datum, Row

RENDERER = ChatTemplateRenderer(ByteTokenizer())
RULES = DatumRules(max_length=1000)
ROW: Row = {"prompt": "2+2?", "completion": "4"}


def problem(row: Row, rules: DatumRules = RULES, *, index: int = 7) -> InvalidRequest:
    built = build_datum(row, RENDERER, rules, index=index)
    assert isinstance(built, Failure)
    error = built.failure()
    assert isinstance(error, InvalidRequest)
    return error


def weights_of(datum: Datum) -> tuple[float, ...]:
    return datum.loss_fn_inputs["weights"].data


class TestConversationOf:
    @pytest.mark.parametrize(
        ("row", "asked"),
        [
            ({"prompt": "Q", "completion": "A"}, "Q"),
            ({"instruction": "Q", "response": "A"}, "Q"),
            ({"instruction": "Q", "output": "A"}, "Q"),
            ({"instruction": "Q", "input": "more", "output": "A"}, "Q\n\nmore"),
            ({"instruction": "Q", "input": "", "output": "A"}, "Q"),
            ({"input": "Q", "output": "A"}, "Q"),
            ({"question": "Q", "answer": "A"}, "Q"),
            ({"question": "Q", "answer": "A", "metadata": {"answer": 1}}, "Q"),
            ({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}, "Q"),
            (
                {"messages": ({"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}), "question": 1},
                "Q",
            ),
        ],
    )
    def test_reads_every_shape(self, row: Row, asked: str) -> None:
        user, assistant = conversation_of(row).unwrap()
        assert (user.role, user.content) == ("user", asked)
        assert (assistant.role, assistant.content) == ("assistant", "A")

    @given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.text()), min_size=1))
    def test_keeps_messages_as_they_are(self, turns: list[tuple[str, str]]) -> None:
        row = {"messages": [{"role": role, "content": content} for role, content in turns]}
        read = conversation_of(row).unwrap()
        assert [(message.role, message.content) for message in read] == turns

    @pytest.mark.parametrize(
        "row",
        [
            {},
            {"prompt": "Q"},
            {"prompt": "Q", "completion": 4},
            {"question": None, "answer": "A"},
            {"text": "whole"},
        ],
    )
    def test_names_the_row_its_columns_and_the_shapes_it_could_have(self, row: Row) -> None:
        error = problem(row)
        assert error.index == 7
        assert str(sorted(row)) in error.message
        for shape in ("messages (a list of role and content)", "prompt + completion", "question + answer"):
            assert shape in error.fix

    @pytest.mark.parametrize(
        "messages",
        [
            None,
            "user: hi",
            [],
            ["hi"],
            {"role": "user", "content": "hi"},
            [{"role": "human", "content": "hi"}],
            [{"from": "human", "value": "hi"}],
            [{"role": ["user"], "content": "hi"}],
            [{"role": "user", "content": None}],
            [{"role": "user", "content": "hi"}, {"role": "assistant"}],
        ],
    )
    def test_refuses_messages_that_are_none(self, messages: object) -> None:
        error = problem({"messages": messages})
        assert error.index == 7
        assert "system, user, assistant, tool" in error.fix

    def test_names_the_first_message_that_is_wrong(self) -> None:
        turns = [{"role": "user", "content": "hi"}, {"role": "bot", "content": "hi"}, {"role": "bot", "content": "hi"}]
        assert "message 1" in problem({"messages": turns}).message

    def test_a_message_may_choose_for_itself(self) -> None:
        turns = [
            {"role": "user", "content": "2+2?", "trainable": False},
            {"role": "assistant", "content": "5", "trainable": False},
            {"role": "user", "content": "Sure?", "trainable": False},
            {"role": "assistant", "content": "4", "trainable": True},
        ]
        rules = DatumRules(max_length=1000, train_on=TrainOnWhat.CUSTOMIZED)
        datum = build_datum({"messages": turns}, RENDERER, rules).unwrap()
        assert trained_text(datum) == "4<|im_end|>"


def trained_text(datum: Datum) -> str:
    targets = datum.loss_fn_inputs["target_tokens"].data
    return ByteTokenizer().decode([int(t) for t, w in zip(targets, weights_of(datum), strict=True) if w])


class TestDatumOf:
    @given(st.lists(st.tuples(st.integers(0, 500), st.sampled_from([0.0, 0.5, 1.0])), min_size=2))
    def test_each_token_predicts_the_next(self, pairs: list[tuple[int, float]]) -> None:
        tokens, weights = zip(*pairs, strict=True)
        datum = datum_of(RenderedExample(tokens=tokens, weights=weights))
        targets = datum.loss_fn_inputs["target_tokens"]
        assert len(datum.model_input) == len(tokens) - 1
        for position, target in enumerate(targets.data):
            assert datum.model_input.tokens[position] == tokens[position]
            assert target == tokens[position + 1]
            assert weights_of(datum)[position] == weights[position + 1]
        assert (targets.dtype, targets.shape) == ("int64", (len(tokens) - 1,))

    def test_the_first_token_is_never_predicted(self) -> None:
        rules = DatumRules(max_length=1000, train_on=TrainOnWhat.ALL_TOKENS)
        datum = build_datum(ROW, RENDERER, rules).unwrap()
        assert trained_text(datum) == "user\n2+2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"


class TestTheLengthLimit:
    size = len(RENDERER.tokenizer.encode("<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"))

    def test_an_example_of_exactly_the_limit_fits(self) -> None:
        assert (
            build_datum(ROW, RENDERER, DatumRules(max_length=self.size)).unwrap()
            == build_datum(ROW, RENDERER, RULES).unwrap()
        )

    def test_one_token_more_is_an_error_that_names_the_row(self) -> None:
        result = build_data([ROW, {"prompt": "2+2??", "completion": "4"}], RENDERER, DatumRules(max_length=self.size))
        assert result.failure() == SequenceTooLong(index=1, length=self.size + 1, limit=self.size)
        assert str(result.failure()).startswith(f"item 1 has {self.size + 1} tokens, and at most {self.size} are taken")

    def test_truncation_cuts_the_end(self) -> None:
        rules = DatumRules(max_length=self.size - 2, truncate=True)
        datum = build_datum(ROW, RENDERER, rules).unwrap()
        whole = build_datum(ROW, RENDERER, RULES).unwrap()
        assert datum.model_input.tokens == whole.model_input.tokens[: self.size - 3]
        assert trained_text(datum) == "4"

    @pytest.mark.parametrize("max_length", [2, 20])
    def test_truncation_that_leaves_nothing_to_train_on_is_an_error(self, max_length: int) -> None:
        error = problem(ROW, DatumRules(max_length=max_length, truncate=True))
        assert error.message == "the row has no token to train on"
        assert "raise max_length" in error.fix

    def test_a_limit_below_two_is_refused(self) -> None:
        with pytest.raises(ValueError, match="max_length"):
            DatumRules(max_length=1)


class TestBuildDatum:
    def test_nothing_to_train_on_says_what_to_change(self) -> None:
        error = problem({"messages": [{"role": "user", "content": "hi"}]})
        assert error.index == 7
        assert "something else than last_assistant_message" in error.fix

    def test_what_the_renderer_refuses_names_the_row(self) -> None:
        error = problem(ROW, attrs.evolve(RULES, train_on=TrainOnWhat.CUSTOMIZED))
        assert error.index == 7
        assert "`trainable`" in error.message

    def test_half_a_surrogate_pair_names_the_row(self) -> None:
        assert problem({"prompt": "\udc00", "completion": "4"}).index == 7

    def test_tool_calls_are_not_left_out_silently(self) -> None:
        call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
        turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
        assert problem({"messages": turns}).index == 7

    @given(st.integers(0, 5), st.integers(1, 3))
    def test_the_first_row_that_cannot_be_used_is_the_error(self, good: int, bad: int) -> None:
        error = build_data([ROW] * good + [{"text": ""}] * bad, RENDERER, RULES).failure()
        assert isinstance(error, InvalidRequest)
        assert error.index == good

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9), max_size=4))
    def test_data_are_in_the_order_of_the_rows(self, answers: list[str]) -> None:
        rows = [{"prompt": "?", "completion": answer} for answer in answers]
        data = build_data(rows, RENDERER, RULES).unwrap()
        assert [trained_text(datum).removesuffix("<|im_end|>") for datum in data] == [
            ByteTokenizer().decode(ByteTokenizer().encode(answer)) for answer in answers
        ]


def batch_of(weights: Sequence[Sequence[float]]) -> list[Datum]:
    return [datum_of(RenderedExample(tokens=(0,) * (len(row) + 1), weights=(0.0, *row))) for row in weights]


positive = st.lists(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=5), min_size=1, max_size=5)


class TestMeanOverTokens:
    @given(positive)
    def test_weights_sum_to_one_and_keep_their_proportions(self, weights: list[list[float]]) -> None:
        scaled = [weights_of(datum) for datum in mean_over_tokens(batch_of(weights))]
        assert math.fsum(map(math.fsum, scaled)) == pytest.approx(1.0)
        total = math.fsum(map(math.fsum, weights))
        for row, before in zip(scaled, weights, strict=True):
            assert row == pytest.approx([weight / total for weight in before])

    @given(positive)
    def test_a_second_time_changes_nothing(self, weights: list[list[float]]) -> None:
        once = mean_over_tokens(batch_of(weights))
        for left, right in zip(mean_over_tokens(once), once, strict=True):
            assert weights_of(left) == pytest.approx(weights_of(right))

    def test_changes_nothing_but_the_weights(self) -> None:
        batch = [build_datum(ROW, RENDERER, RULES).unwrap()]
        [scaled] = mean_over_tokens(batch)
        assert scaled.model_input == batch[0].model_input
        assert scaled.loss_fn_inputs["target_tokens"] == batch[0].loss_fn_inputs["target_tokens"]
        assert scaled.num_loss_tokens == batch[0].num_loss_tokens
        assert batch[0] == build_datum(ROW, RENDERER, RULES).unwrap()

    def test_an_untrained_batch_stays_untrained(self) -> None:
        batch = batch_of([[0.0, 0.0]])
        assert mean_over_tokens(batch) == tuple(batch)
        assert mean_over_tokens([]) == ()
