"""The contract of `Completer`, as a suite that any handler can be put through."""

import json
from collections.abc import Callable
from typing import TypeAlias

from crucible.effects import Do, Handlers, do, perform
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.ports import Completer, CompletionOptions
from crucible.testing._laws import obey, refused, require, require_equal
from crucible.train.errors import InvalidRequest
from crucible.train.types import Message

Law: TypeAlias = Do[KitchenError, Completer, None]

CONVERSATIONS = (
    (Message(role="user", content="Name a colour."),),
    (Message(role="system", content="Be brief."), Message(role="user", content="Name an animal.")),
)


def check_completer(make: Callable[[], Handlers[Completer]], *, json_mode: bool = True, logprobs: bool = True) -> None:
    """Put the handlers that `make` gives through the contract of `Completer`.

    Args:
        make: gives the handlers; it is called once for each law, and may give the same ones again.
        json_mode: whether the model can keep to JSON.
        logprobs: whether the model tells log-probabilities.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    laws = {
        "a conversation is completed, and the tokens counted": _completing(),
        "a batch is completed as each of its conversations is": _batches(),
        "a completion keeps to its limits": _limits(),
        "an empty conversation is refused": _empty(),
    }
    laws |= {"in JSON mode the text is JSON": _json_mode()} if json_mode else {}
    laws |= {"there is one log-probability for each token, if asked for": _logprobs()} if logprobs else {}
    obey(make, laws)


@do
def _completing() -> Law:
    for messages in CONVERSATIONS:
        done = yield from perform(Completer.complete, messages, CompletionOptions(seed=1))
        require(bool(done.text.strip()) and done.finish_reason in {"stop", "length"}, f"the completion is {done}")
        require(done.usage.prompt_tokens > 0 and done.usage.completion_tokens > 0, f"the usage is {done.usage}")
        require_equal((done.logprobs, done.tool_calls), (None, ()), "what was not asked for")
        again = yield from perform(Completer.complete, messages, CompletionOptions(seed=1))
        require_equal(again, done, "what the same seed gave")


@do
def _batches() -> Law:
    options = CompletionOptions(seed=2, max_tokens=32)
    batch = yield from perform(Completer.complete_batch, CONVERSATIONS, options)
    require_equal(len(batch), len(CONVERSATIONS), "the number of completions")
    for messages, done in zip(CONVERSATIONS, batch, strict=True):
        require_equal(done, (yield from perform(Completer.complete, messages, options)), "one completion of the batch")
    require_equal((yield from perform(Completer.complete_batch, ())), (), "the completions of no conversation")


@do
def _limits() -> Law:
    done = yield from perform(Completer.complete, CONVERSATIONS[0], CompletionOptions(max_tokens=1, temperature=0))
    require(done.usage.completion_tokens <= 1, f"{done.usage.completion_tokens} tokens, at most 1 was asked for")
    whole = yield from perform(Completer.complete, CONVERSATIONS[0], CompletionOptions(temperature=0))
    stop = whole.text.strip()[-1]
    options = CompletionOptions(temperature=0, stop_sequences=(stop,))
    done = yield from perform(Completer.complete, CONVERSATIONS[0], options)
    require_equal(done.text, whole.text[: whole.text.index(stop)], f"the text that ends before {stop!r}")
    require_equal(done.finish_reason, "stop", "how it ended")


@do
def _empty() -> Law:
    yield from refused("an empty conversation", perform(Completer.complete, ()), InvalidRequest)
    batch = perform(Completer.complete_batch, [CONVERSATIONS[0], ()])
    yield from refused("a batch with an empty conversation", batch, InvalidRequest)


@do
def _json_mode() -> Law:
    done = yield from perform(Completer.complete, CONVERSATIONS[0], CompletionOptions(json_mode=True))
    json.loads(done.text)


@do
def _logprobs() -> Law:
    done = yield from perform(Completer.complete, CONVERSATIONS[0], CompletionOptions(logprobs=True, max_tokens=8))
    logprobs = done.logprobs or ()
    require_equal(len(logprobs), done.usage.completion_tokens, "the number of log-probabilities")
    require(all(logprob <= 0 for logprob in logprobs), f"{logprobs} are no log-probabilities")
