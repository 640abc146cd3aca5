"""What makes answers reliable keeps the type of the handlers: the program does not know of it."""

from typing import assert_type

from crucible.effects import Handlers, Hedging, SlowerThan, hedge
from crucible.kitchen.handlers import ensemble, noop
from crucible.kitchen.handlers.guardrails import Check, guarded, matching, personal_data, prompt_injection
from crucible.kitchen.ports import Completer
from crucible.train.ports import EmbeddingClient, LLMClient

voted = ensemble.of({"a": noop.llm(), "b": noop.llm(seed=1)}, ensemble.Voting(strategy="unanimous", mode="cascade"))
assert_type(voted, Handlers[LLMClient])

surest = ensemble.most_confident({"a": noop.completer(), "b": noop.completer(seed=1)})
assert_type(surest, Handlers[Completer])

policy = Hedging(after_seconds=SlowerThan(95), most_share=0.05)
quick = hedge(voted | noop.embeddings(), policy, operations=[LLMClient.chat, EmbeddingClient.embed_texts])
assert_type(quick, Handlers[LLMClient | EmbeddingClient])

project = Check(name="project", find=matching(r"Project \w+"), does="redact")
assert_type(
    guarded(quick, [*personal_data(), *prompt_injection("tell"), project]), Handlers[LLMClient | EmbeddingClient]
)
