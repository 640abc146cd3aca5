"""An ensemble is an `LLMClient`, or a `Completer`, like any other."""

import math
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Budget,
    Fault,
    Handlers,
    InjectedCrash,
    OverBudget,
    Result,
    Success,
    TimedOut,
    TracedCall,
    crashing,
    deadline,
    delayed,
    expecting,
    failing,
    hanging,
    inject,
    perform,
    spend,
    timeout,
    trace,
)
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers import costs, ensemble, noop
from crucible.kitchen.handlers.ensemble import Mode, Voting
from crucible.kitchen.ports import Completer, Completion, CompletionOptions
from crucible.testing.completer import check_completer
from crucible.testing.llm import check_llm_client
from crucible.train.errors import BackendFailed, Unavailable
from crucible.train.ports import LLMClient
from crucible.train.types import Message, TokenUsage

ASKED = [Message(role="user", content="Is it so?")]
DOWN = Fault(failing(Unavailable(message="503")))


def one_of_three_llms() -> dict[str, Handlers[LLMClient]]:
    """Only one answers, so that the tokens of the answer are those of one."""
    return {"a": inject(noop.llm(), DOWN), "b": noop.llm(), "c": inject(noop.llm(), DOWN)}


class TestTheContract:
    @pytest.mark.parametrize("mode", ensemble.MODES)
    def test_of_chats_is_kept(self, mode: Mode) -> None:
        check_llm_client(lambda: ensemble.of({"a": noop.llm()}, Voting(mode=mode)), deterministic=True)
        voting = Voting(mode=mode, quorum=1)
        check_llm_client(lambda: ensemble.of(one_of_three_llms(), voting), deterministic=True)

    def test_of_chats_is_kept_by_a_cascade_that_one_decides(self) -> None:
        three = {name: noop.llm(seed=seed) for seed, name in enumerate("abc")}
        voting = Voting(strategy="weighted", weights={"a": 3, "b": 1, "c": 1}, mode="cascade", quorum=1)
        check_llm_client(lambda: ensemble.of(three, voting), deterministic=True)

    @pytest.mark.parametrize("mode", ensemble.MODES)
    def test_of_completions_is_kept(self, mode: Mode) -> None:
        three = {"a": inject(noop.completer(), DOWN), "b": noop.completer(), "c": inject(noop.completer(), DOWN)}
        check_completer(lambda: ensemble.completers(three, Voting(mode=mode, quorum=1)))
        check_completer(lambda: ensemble.most_confident({"a": noop.completer()}, mode=mode))


def test_members_are_asked_side_by_side() -> None:
    members = {name: inject(noop.llm(), Fault(delayed(0.1))) for name in "abcd"}
    began = time.monotonic()
    assert isinstance(ensemble.of(members).run(perform(LLMClient.chat, ASKED)), Success)
    assert time.monotonic() - began < 0.35


@pytest.mark.anyio
async def test_a_member_that_hangs_costs_its_vote_after_its_deadline() -> None:
    members = {"a": deadline(inject(noop.llm(), Fault(hanging())), seconds=0.02), "b": noop.llm(), "c": noop.llm()}
    assert isinstance(await ensemble.of(members).arun(perform(LLMClient.chat, ASKED)), Success)


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ensemble.MODES)
async def test_members_are_cancelled_with_the_call(mode: Mode) -> None:
    calls: list[TracedCall] = []
    members = {name: trace(inject(noop.llm(), Fault(hanging())), into=calls.append) for name in "abc"}
    ask = timeout(perform(LLMClient.chat, ASKED), seconds=0.02)
    result = await ensemble.of(members, Voting(mode=mode)).arun(ask)
    assert isinstance(result.failure(), TimedOut)
    assert len(calls) == (3 if mode == "parallel" else 1)


@pytest.mark.anyio
async def test_a_defect_of_one_stops_the_others() -> None:
    calls: list[TracedCall] = []
    hangs = trace(inject(noop.llm(), Fault(hanging())), into=calls.append)
    members = {"a": hangs, "b": inject(noop.llm(), Fault(crashing())), "c": hangs}
    with pytest.raises(InjectedCrash):
        await ensemble.of(members).arun(perform(LLMClient.chat, ASKED))
    assert [call.result for call in calls] == [None, None]


def test_one_budget_for_all_members_counts_what_each_of_them_takes() -> None:
    budget = Budget(30_000, costs.tokens())
    handlers = ensemble.of({name: spend(noop.llm(), budget) for name in "abc"})
    answer = handlers.run(perform(LLMClient.chat, ASKED)).unwrap()
    assert budget.spent == answer.usage.total_tokens > 0
    poor = Budget(10, costs.tokens())
    stopped = ensemble.of({name: spend(noop.llm(), poor) for name in "abc"})
    assert isinstance(stopped.run(expecting(perform(LLMClient.chat, ASKED), OverBudget)).failure(), OverBudget)


class TestABatch:
    CONVERSATIONS = tuple((Message(role="user", content=text),) for text in ("one", "two", "three"))

    def test_is_asked_as_a_batch_and_voted_on_one_by_one(self) -> None:
        calls: list[TracedCall] = []
        odd = noop.completer(answer=lambda asked: "odd" if asked[0].content == "two" else str(asked[0].content))
        same = noop.completer(answer=lambda asked: str(asked[0].content))
        members = {name: trace(each, into=calls.append) for name, each in [("a", odd), ("b", same), ("c", same)]}
        batch = ensemble.completers(members).run(perform(Completer.complete_batch, self.CONVERSATIONS)).unwrap()
        assert [completion.text for completion in batch] == ["one", "two", "three"]
        assert len(calls) == 3

    def test_asks_in_a_cascade_only_what_is_not_decided(self) -> None:
        calls: list[TracedCall] = []
        odd = noop.completer(answer=lambda asked: "odd" if asked[0].content == "two" else str(asked[0].content))
        same = noop.completer(answer=lambda asked: str(asked[0].content))
        members = {name: trace(each, into=calls.append) for name, each in [("a", odd), ("b", same), ("c", same)]}
        handlers = ensemble.completers(members, Voting(mode="cascade"))
        batch = handlers.run(perform(Completer.complete_batch, self.CONVERSATIONS)).unwrap()
        assert [completion.text for completion in batch] == ["one", "two", "three"]
        assert [len(call.call.by_name["conversations"]) for call in calls] == [3, 3, 1]  # type: ignore[arg-type]  # object


class Sure(Completer):
    """Says its text, and how sure it is of each of two tokens."""

    def __init__(self, text: str, probability: float | None) -> None:
        self._text = text
        self._probability = probability

    async def complete(
        self, messages: Sequence[Message], options: CompletionOptions = CompletionOptions()
    ) -> Result[Completion, KitchenError]:
        told = self._probability is not None and options.logprobs
        usage = TokenUsage(prompt_tokens=5, completion_tokens=2)
        logprobs = (math.log(self._probability or 1.0),) * 2 if told else None
        return Success(Completion(text=self._text, finish_reason="stop", usage=usage, logprobs=logprobs))

    async def complete_batch(
        self, conversations: Sequence[Sequence[Message]], options: CompletionOptions = CompletionOptions()
    ) -> Result[tuple[Completion, ...], KitchenError]:
        return Success(tuple([(await self.complete(each, options)).unwrap() for each in conversations]))


def sure(*probabilities: float | None) -> dict[str, Handlers[Completer]]:
    return {f"m{n}": Completer.handled_by(Sure(f"t{n}", each)) for n, each in enumerate(probabilities)}


class TestTheMostConfident:
    @given(st.lists(st.floats(0.01, 1), min_size=1, max_size=5), st.booleans())
    def test_is_taken_and_its_log_probabilities_shown_where_asked(
        self, sureness: list[float], shown: bool
    ) -> None:  # drawn
        ask = perform(Completer.complete, ASKED, CompletionOptions(logprobs=shown))
        completion = ensemble.most_confident(sure(*sureness)).run(ask).unwrap()
        assert math.isclose(sureness[int(completion.text[1:])], max(sureness), rel_tol=1e-12)
        assert (completion.logprobs is not None) == shown
        assert completion.usage.total_tokens == 7 * len(sureness)

    def test_ends_a_cascade_when_it_is_sure_enough(self) -> None:
        handlers = ensemble.most_confident(sure(0.5, 0.8, 0.99), mode="cascade", enough=0.75)
        completion = handlers.run(perform(Completer.complete, ASKED)).unwrap()
        assert (completion.text, completion.usage.total_tokens) == ("t1", 14)

    def test_is_not_known_among_those_that_do_not_tell(self) -> None:
        error = ensemble.most_confident(sure(0.5, None)).run(perform(Completer.complete, ASKED)).failure()
        assert error == BackendFailed(message="m1 gave no log-probabilities: nobody knows how sure they are")
