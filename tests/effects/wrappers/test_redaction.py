"""`redact` keeps secrets from who needs none, `reveal` gives them to who does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Eff,
    Failure,
    Handlers,
    Journal,
    Result,
    Success,
    TracedCall,
    attempt,
    fold_stream,
    gather,
    perform,
    pure,
    record,
    redact,
    replay,
    reveal,
    timeout,
    trace,
)
from tests.effects.fakes import Work, Worker, hang, refuse, say
from tests.effects.programs import Program, programs
from tests.effects.recordable import Outer, values

SECRETS = {"API_KEY": "sk-12345", "LONGER": "sk-12345-and-more", "ODD": "ключ-\n"}
texts = st.lists(st.one_of(st.text("abc<>_", max_size=4), st.sampled_from(list(SECRETS.values()))), max_size=5).map(
    "".join
)


def between(worker: Work, journal: Journal, calls: list[TracedCall]) -> Handlers[Work]:
    """A journal and a trace that see no secret, before a worker who needs them."""
    inside = reveal(Work.handled_by(worker), SECRETS)
    return redact(trace(record(inside, journal), into=calls.append), SECRETS)


def assert_hidden(shown: object) -> None:
    assert not [secret for secret in SECRETS.values() if secret in str(shown) or repr(secret)[1:-1] in str(shown)]


class TestRedact:
    @given(texts)
    def test_hides_from_those_between_and_gives_to_those_behind(self, text: str) -> None:
        worker, journal, calls = Worker(), Journal(), list[TracedCall]()
        eff = gather([say(text), attempt(refuse(text)).map(str)])
        result = between(worker, journal, calls).run(eff)
        assert worker.log == [text, f"refuse {text}"]
        for shown in (*calls, *journal, result):
            assert_hidden(shown)

    @given(programs(crashing=False))
    def test_changes_nothing_where_no_secret_is(self, eff: Program) -> None:
        assert between(Worker(), Journal(), []).run(eff) == Work.handled_by(Worker()).run(eff)

    @given(values)
    def test_keeps_every_value_that_holds_no_secret_the_same_object(self, value: object) -> None:
        seen: list[object] = []

        class Seeing(Worker):
            async def say(self, word: str) -> Result[str, str]:
                seen.append(word)
                return Success(word)

        odd: Eff[object, str, Work] = perform(Work.say, value)  # type: ignore[arg-type]  # any value
        result = redact(Work.handled_by(Seeing()), SECRETS).run(odd)
        assert seen[0] is value
        assert result.unwrap() is value

    def test_finds_a_secret_wherever_it_stands(self) -> None:
        deep = Outer(
            inner={"a": [("x", b"..sk-12345..")]}, items=({"sk-12345"}, Success("sk-12345"), Failure(["sk-12345"]))
        )

        class Answering(Worker):
            async def say(self, word: str) -> Result[str, str]:
                return Success(deep)  # type: ignore[arg-type]  # what the test is about

        result = redact(Work.handled_by(Answering()), SECRETS).run(say("a"))
        assert_hidden(result)
        assert str(result).count("<API_KEY>") == 4

    def test_hides_what_a_handler_raises(self) -> None:
        class LeakError(Exception):
            def __init__(self, text: str) -> None:
                super().__init__(text)
                self.header = text

        class Leaking(Worker):
            async def say(self, word: str) -> Result[str, str]:
                try:
                    raise ValueError("sk-12345")
                except ValueError as error:
                    raise LeakError("key sk-12345") from error

        with pytest.raises(LeakError, match="key <API_KEY>") as caught:
            redact(Work.handled_by(Leaking()), SECRETS).run(say("a"))
        assert caught.value.header == "key <API_KEY>"
        assert str(caught.value.__cause__) == "<API_KEY>"

    def test_a_journal_so_kept_is_replayed_by_the_same_program(self) -> None:
        journal, eff = Journal(), say("Bearer sk-12345")
        result = between(Worker(), journal, []).run(eff)
        assert redact(replay(journal), SECRETS).run(eff) == result == Success("Bearer <API_KEY>")

    def test_refuses_a_secret_that_could_be_any_text(self) -> None:
        with pytest.raises(ValueError, match="the secret PIN is shorter than 4 characters"):
            redact(Work.handled_by(Worker()), {"PIN": "123"})


@pytest.mark.anyio
async def test_holds_in_a_stream_and_lets_go_of_what_is_cancelled() -> None:
    worker = Worker(1)
    journal, calls = Journal(), list[TracedCall]()
    eff = fold_stream(
        lambda _, index: say("sk-12345") if index < 3 else pure(None),
        lambda total, _, item: say(item).map(lambda word: total + len(word)),
        0,
        buffer=2,
    )
    handlers = between(worker, journal, calls)
    assert await handlers.arun(eff) == Success(3 * len("<API_KEY>"))
    assert worker.log == ["sk-12345"] * 6
    await between(worker, Journal(), []).arun(timeout(hang("sk-12345"), seconds=0.01))
    assert worker.log[-1] == "sk-12345 is cancelled"
