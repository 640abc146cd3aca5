"""Votes are counted, ties broken by order, and a cascade stops when, and only when, nothing can change any more."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Failure, Handlers, Result, Success, TracedCall, fold, perform, trace
from crucible.kitchen.handlers import ensemble
from crucible.kitchen.handlers.ensemble import Mode, Voting
from crucible.kitchen.handlers.ensemble._voting import Vote
from crucible.train.errors import BackendFailed, InvalidRequest, TrainError, Unavailable
from crucible.train.ports import LLMClient
from crucible.train.types import ChatOptions, ChatResponse, FinishReason, Message, TokenUsage, ToolCall, text_of

ASKED = [Message(role="user", content="Is it so?")]
NAMES = ("a", "b", "c", "d", "e")


@attrs.frozen
class Says(LLMClient):
    """Gives what it is told to give, for 10 tokens read and 1 written."""

    said: str | TrainError | Exception
    calls: tuple[ToolCall, ...] = ()

    async def chat(
        self, messages: Sequence[Message], options: ChatOptions = ChatOptions()
    ) -> Result[ChatResponse, TrainError]:
        if isinstance(self.said, Exception):
            raise self.said
        if not isinstance(self.said, str):
            return Failure(self.said)
        message = Message(role="assistant", content=self.said, tool_calls=self.calls)
        usage = TokenUsage(prompt_tokens=10, completion_tokens=1)
        reason: FinishReason = "tool_calls" if self.calls else "stop"
        return Success(ChatResponse(message=message, finish_reason=reason, usage=usage, model=self.said))


DOWN = Unavailable(message="503", retry_after_seconds=3)
Said = str | TrainError


def members(*said: Said) -> dict[str, Handlers[LLMClient]]:
    return {name: LLMClient.handled_by(Says(each)) for name, each in zip(NAMES, said, strict=False)}


def ask(said: Sequence[Said], voting: Voting = Voting()) -> Result[ChatResponse, TrainError]:
    return ensemble.of(members(*said), voting).run(perform(LLMClient.chat, ASKED))


def text(result: Result[ChatResponse, TrainError]) -> str:
    return text_of(result.unwrap().message)


class TestMajority:
    def test_takes_what_most_say(self) -> None:
        assert text(ask(["no", "yes", "yes"])) == "yes"

    def test_takes_the_words_of_the_first_of_them(self) -> None:
        assert text(ask(["no", "Yes ", "yes"])) == "Yes "

    def test_takes_of_equals_the_one_declared_first(self) -> None:
        assert text(ask(["x", "yes", "no", "no", "yes"])) == "yes"

    def test_counts_as_the_same_what_it_is_told_to(self) -> None:
        by_first_letter = Voting(same=lambda answer: answer[0])
        assert text(ask(["no", "yes", "yep"], by_first_letter)) == "yes"

    def test_adds_up_the_tokens_of_all(self) -> None:
        assert ask(["a", "b", DOWN, "a"]).unwrap().usage == TokenUsage(prompt_tokens=30, completion_tokens=3)

    def test_tells_tool_calls_apart_by_name_and_arguments(self) -> None:
        def calls(arguments: str, name: str = "add") -> Handlers[LLMClient]:
            return LLMClient.handled_by(Says("", (ToolCall(name=name, arguments=arguments, id=arguments),)))

        three = {"a": calls('{"x": 2}'), "b": calls('{"x": 1, "y": 2}'), "c": calls('{"y":2,"x":1}')}
        answer = ensemble.of(three).run(perform(LLMClient.chat, ASKED)).unwrap()
        assert answer.message.tool_calls[0].arguments == '{"x": 1, "y": 2}'
        three = {"a": calls("{", "del"), "b": calls("{"), "c": calls("{")}
        assert ensemble.of(three).run(perform(LLMClient.chat, ASKED)).unwrap().message.tool_calls[0].name == "add"


class TestAgreement:
    def test_too_little_is_an_error_that_names_the_votes(self) -> None:
        error = ask(["yes", "no", "no", "x" * 50], Voting(min_agreement=0.6)).failure()
        assert str(error) == (
            f"the members do not agree: 'no' from b, c; 'yes' from a; '{'x' * 40}...' from d; "
            "the first has 0.50 of the votes, and 0.6 is needed"
        )
        assert isinstance(error, BackendFailed)

    def test_just_enough_is_enough(self) -> None:
        assert text(ask(["a", "a", "a", "b", "c"], Voting(min_agreement=0.6))) == "a"

    def test_is_of_the_votes_cast(self) -> None:
        assert text(ask(["a", "a", DOWN], Voting(min_agreement=1.0))) == "a"

    def test_unanimous_is_all_of_them(self) -> None:
        assert text(ask(["a", "A", "a"], Voting(strategy="unanimous"))) == "a"
        assert isinstance(ask(["a", "a", "b"], Voting(strategy="unanimous")).failure(), BackendFailed)


class TestWeights:
    def test_decide(self) -> None:
        weighted = Voting(strategy="weighted", weights={"a": 0.4, "b": 0.3, "c": 0.2})
        assert text(ask(["x", "y", "y"], weighted)) == "y"

    def test_are_added_as_they_are_written(self) -> None:
        """0.1 + 0.2 is 0.3, so that it is a tie, and the first is taken."""
        weighted = Voting(strategy="weighted", weights={"a": 0.3, "b": 0.1, "c": 0.2})
        assert text(ask(["x", "y", "y"], weighted)) == "x"

    def test_may_be_0_for_one_that_only_listens(self) -> None:
        weighted = Voting(strategy="weighted", weights={"a": 0, "b": 1})
        assert text(ask(["x", "y"], weighted)) == "y"
        assert text(ask(["x", DOWN], attrs.evolve(weighted, quorum=1))) == "x"

    @pytest.mark.parametrize(
        ("voting", "message"),
        [
            (Voting(strategy="weighted"), "the weights are of nobody, the members are a, b"),
            (Voting(strategy="weighted", weights={"a": 1, "z": 1}), "the weights are of a, z"),
            (Voting(strategy="weighted", weights={"a": 1, "b": -1}), "at least 0, these are a 1, b -1"),
            (Voting(strategy="weighted", weights={"a": 1, "b": float("inf")}), "finite"),
            (Voting(strategy="weighted", weights={"a": 0, "b": 0}), "one weight at least is above 0"),
            (Voting(weights={"a": 1, "b": 1}), "weights are for the strategy 'weighted', not for 'majority'"),
            (Voting(quorum=3), "a quorum of 3 is more than the 2 members"),
        ],
    )
    def test_and_quorum_must_fit_the_members(self, voting: Voting, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ensemble.of(members("x", "y"), voting)

    def test_need_members(self) -> None:
        with pytest.raises(ValueError, match="at least one member"):
            ensemble.of({})

    @pytest.mark.parametrize("field", [{"strategy": "loudest"}, {"mode": "x"}, {"min_agreement": 1.1}, {"quorum": 0}])
    def test_and_the_rest_of_voting_are_checked(self, field: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=next(iter(field))):
            Voting(**field)  # type: ignore[arg-type]  # wrong on purpose


class TestTooFew:
    def test_is_an_error_that_names_the_failures_and_may_pass_where_one_of_them_may(self) -> None:
        error = ask(["a", DOWN, BackendFailed(message="no")]).failure()
        assert error == Unavailable(
            message="1 of 3 members answered, and 2 are needed: b: 503 (try again in 3 s); c: no",
            retry_after_seconds=3,
        )

    def test_will_stay_where_none_of_them_passes(self) -> None:
        error = ask(["a", BackendFailed(message="no"), InvalidRequest(message="bad")]).failure()
        assert error == BackendFailed(message="1 of 3 members answered, and 2 are needed: b: no; c: bad")

    def test_is_the_error_that_all_have(self) -> None:
        assert ask([DOWN, Unavailable(message="504"), DOWN]) == Failure(DOWN)

    def test_is_what_the_quorum_says(self) -> None:
        assert text(ask(["a", DOWN, DOWN], Voting(quorum=1))) == "a"
        assert isinstance(ask(["a", "a", DOWN], Voting(quorum=3)).failure(), Unavailable)

    @pytest.mark.parametrize("mode", ensemble.MODES)
    def test_is_no_matter_for_a_defect_which_is_raised_as_itself(self, mode: Mode) -> None:
        broken = {**members("a", "a"), "z": LLMClient.handled_by(Says(ZeroDivisionError("bug")))}
        voting = Voting(mode=mode, strategy="unanimous")
        with pytest.raises(ZeroDivisionError, match="bug"):
            ensemble.of(broken, voting).run(perform(LLMClient.chat, ASKED))


said = st.lists(st.sampled_from(["x", "y", "z", DOWN]), min_size=1, max_size=5)
weights = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0])


@st.composite
def votings(draw: st.DrawFn, count: int) -> Voting:
    strategy = draw(st.sampled_from(ensemble.STRATEGIES))
    drawn = draw(st.lists(weights, min_size=count, max_size=count).filter(any))
    return Voting(
        strategy=strategy,
        weights=dict(zip(NAMES, drawn, strict=False)) if strategy == "weighted" else {},
        min_agreement=draw(st.sampled_from([0.0, 0.3, 0.5, 0.6, 1.0])),
        quorum=draw(st.none() | st.integers(1, count)),
    )


class TestModes:
    @given(st.data(), said)
    def test_give_the_same_answer(self, data: st.DataObject, said: list[Said]) -> None:
        voting = data.draw(votings(len(said)))
        parallel, sequential, cascade = (ask(said, attrs.evolve(voting, mode=mode)) for mode in ensemble.MODES)
        assert parallel == sequential
        assert cascade.map(text_of_answer) == parallel.map(text_of_answer) or isinstance(parallel, Failure)
        assert isinstance(cascade, Failure) == isinstance(parallel, Failure)
        if isinstance(cascade, Success):
            assert cascade.unwrap().usage.total_tokens <= parallel.unwrap().usage.total_tokens

    @given(st.data(), st.lists(st.sampled_from(["x", "y", "z", None]), min_size=1, max_size=5).filter(any))
    def test_cascade_stops_when_nothing_can_change_and_not_before(
        self, data: st.DataObject, said: list[str | None]
    ) -> None:
        """Against every way in which those who wait may answer, something new or a failure among them."""
        names = NAMES[: min(5, len(said) + data.draw(st.integers(0, 3)))]
        drawn = data.draw(st.lists(weights, min_size=len(names), max_size=len(names)).filter(any))
        rule: Vote[str] = Vote(
            weights={name: Fraction(str(weight)) for name, weight in zip(names, drawn, strict=True)},
            min_agreement=Fraction(data.draw(st.sampled_from(["0", "0.3", "0.5", "0.6", "1"]))),
            ballot=lambda answer: answer,
        )
        answers = {name: answer for name, answer in zip(names, said, strict=False) if answer is not None}
        waiting = names[len(said) :]
        outcomes = set[str | None]()
        for rest in product(["x", "y", "z", *(f"new {name}" for name in waiting), None], repeat=len(waiting)):
            more = {name: answer for name, answer in zip(waiting, rest, strict=True) if answer is not None}
            every = {**answers, **more}
            outcomes.add(fold(rule.choose(every), every.__getitem__, lambda error: None))
        assert rule.is_decided(answers, waiting) == (len(outcomes) == 1)

    @pytest.mark.parametrize(
        ("said", "voting", "asked"),
        [
            (["x", "x", "y", "y", "y"], Voting(), 5),
            (["x", "x", "x", "y", "y"], Voting(), 3),
            (["x", "x", "x", "x"], Voting(), 3),
            (["x", "y", "x"], Voting(strategy="unanimous"), 2),
            (["x", "x", "x"], Voting(strategy="unanimous"), 3),
            (["x", "y", "z"], Voting(strategy="weighted", weights={"a": 5, "b": 1, "c": 1}, quorum=1), 1),
            ([DOWN, DOWN, "x"], Voting(), 2),
        ],
    )
    def test_cascade_leaves_the_others_alone(self, said: list[Said], voting: Voting, asked: int) -> None:
        calls: list[TracedCall] = []
        traced = {name: trace(member, into=calls.append) for name, member in members(*said).items()}
        ensemble.of(traced, attrs.evolve(voting, mode="cascade")).run(perform(LLMClient.chat, ASKED))
        assert len(calls) == asked


def text_of_answer(response: ChatResponse) -> str:
    return text_of(response.message)
