"""What calls to models cost, before and after."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Budget, Failure, OverBudget, Success, expecting, perform, spend
from crucible.kitchen import Context
from crucible.kitchen.handlers import costs, noop
from crucible.kitchen.ports import Completer, CompletionOptions
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows import supervised
from crucible.train.ports import EmbeddingClient, LLMClient, SamplingClient
from crucible.train.types import (
    ChatOptions,
    DatasetConfig,
    Message,
    ModelInput,
    SamplingConfig,
    SamplingParams,
    SessionConfig,
)

asked = [Message(role="user", content="How far is the moon?")]
prompts = st.lists(
    st.lists(st.integers(0, 255), min_size=1, max_size=9).map(ModelInput.from_tokens), min_size=1, max_size=3
)


class TestTokens:
    @given(prompts, st.integers(1, 20), st.integers(1, 3))
    def test_of_samples_are_those_read_and_those_written(
        self, prompts: list[ModelInput], max_tokens: int, num_samples: int
    ) -> None:
        budget = Budget(10_000, costs.tokens())
        handlers = spend(noop.sampling(), budget)
        session = handlers.run(perform(SamplingClient.start_session, SamplingConfig(model="noop"))).unwrap()
        assert budget.spent == 0
        params = SamplingParams(max_tokens=max_tokens)
        groups = handlers.run(
            perform(SamplingClient.sample, session, prompts, params, num_samples=num_samples)
        ).unwrap()
        written = sum(len(sample.tokens) for group in groups for sample in group)
        assert budget.spent == sum(map(len, prompts)) + written
        handlers.run(perform(SamplingClient.compute_logprobs, session, prompts)).unwrap()
        assert budget.spent == 2 * sum(map(len, prompts)) + written

    @given(st.text(max_size=50), st.integers(1, 99))
    def test_of_a_chat_are_those_that_the_answer_tells_and_never_more_than_was_foretold(
        self, text: str, most: int
    ) -> None:
        budget = Budget(10_000, costs.tokens())
        question = [Message(role="user", content=text)]
        answer = spend(noop.llm(), budget).run(perform(LLMClient.chat, question, ChatOptions(max_tokens=most))).unwrap()
        assert budget.spent == answer.usage.total_tokens
        tight = Budget(answer.usage.total_tokens - 1, costs.tokens())
        refused = spend(noop.llm(), tight).run(
            expecting(perform(LLMClient.chat, question, ChatOptions(max_tokens=most)), OverBudget)
        )
        assert isinstance(refused.failure(), OverBudget)

    def test_of_an_answer_without_a_limit_are_foretold_as_told(self) -> None:
        for most, enough in ((10, True), (10_000, False)):
            handlers = spend(noop.llm(), Budget(1000, costs.tokens(most_of_an_answer=most)))
            result = handlers.run(expecting(perform(LLMClient.chat, asked), OverBudget))
            assert isinstance(result, Success) == enough

    def test_of_completions_and_embeddings_are_counted_too(self) -> None:
        budget = Budget(100_000, costs.tokens())
        handlers = spend(noop.completer() | noop.embeddings(), budget)
        one = handlers.run(perform(Completer.complete, asked)).unwrap()
        assert budget.spent == one.usage.total_tokens
        handlers.run(perform(Completer.complete_batch, [asked, asked], CompletionOptions(max_tokens=9))).unwrap()
        before = budget.spent
        handlers.run(perform(EmbeddingClient.embed_texts, ["moon", "é"])).unwrap()
        assert budget.spent == before + 6

    def test_of_a_failed_chat_are_none(self) -> None:
        budget = Budget(100_000, costs.tokens())
        assert isinstance(spend(noop.llm(), budget).run(perform(LLMClient.chat, [])), Failure)
        assert budget.spent == 0

    def test_of_training_stop_a_workflow(self) -> None:
        config = SupervisedConfig(session=SessionConfig(model="noop"), dataset=DatasetConfig(name="conversations"))
        budget = Budget(1e9, costs.tokens())
        spend(noop.all(), budget).run(supervised(Context.start(config))).unwrap()
        assert budget.spent > 0
        half = Budget(budget.spent / 2, costs.tokens())
        stopped = spend(noop.all(), half).run(expecting(supervised(Context.start(config)), OverBudget))
        assert isinstance(stopped.failure(), OverBudget)
        assert 0 < half.spent <= half.limit


class TestMoney:
    def test_is_counted_at_the_price_of_the_operation(self) -> None:
        budget = Budget(1, costs.money(costs.Price(LLMClient.chat, read=1, written=3), currency="EUR"))
        handlers = spend(noop.llm() | noop.embeddings(), budget)
        usage = handlers.run(perform(LLMClient.chat, asked)).unwrap().usage
        assert budget.spent == pytest.approx((usage.prompt_tokens + 3 * usage.completion_tokens) / 1e6)
        before = budget.spent
        handlers.run(perform(EmbeddingClient.embed_texts, ["free"])).unwrap()
        assert budget.spent == before
        assert "EUR" in repr(budget)
