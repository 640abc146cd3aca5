"""Spans of stages and calls, nested as they ran."""

import sys
from collections.abc import Mapping

import pytest
from anyio.lowlevel import checkpoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer, get_current_span

from crucible.effects import Failure, Result, Success, attempt, fold_stream, gather, pure, scoped, timeout
from crucible.kitchen import Context
from crucible.kitchen.handlers import noop
from crucible.kitchen.handlers.opentelemetry import traced
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows import supervised
from crucible.train.types import DatasetConfig, SessionConfig
from tests.effects.fakes import CrashError, Work, Worker, add, crash, hang, refuse, say

pytestmark = pytest.mark.anyio


class Spans:
    """What was exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = provider.get_tracer("test")

    @property
    def finished(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    @property
    def places(self) -> list[str]:
        """Each span by the names of those that it stands in, sorted."""
        by_id = {span.context.span_id: span for span in self.finished if span.context is not None}

        def place(span: ReadableSpan) -> str:
            above = "" if span.parent is None else place(by_id[span.parent.span_id])
            return f"{above}/{span.name}"

        return sorted(map(place, self.finished))

    def errors(self) -> Mapping[str, str | None]:
        return {
            span.name: span.status.description for span in self.finished if span.status.status_code is StatusCode.ERROR
        }


@pytest.fixture
def spans() -> Spans:
    return Spans()


async def test_stand_in_the_scopes_they_were_made_in(spans: Spans) -> None:
    handlers = traced(Work.handled_by(Worker(2)), spans.tracer)
    branches = gather([scoped(f"branch {n}", add(n, 0).bind(lambda n: scoped("inner", add(n, 1)))) for n in range(2)])
    assert await handlers.arun(scoped("outer", branches)) == Success([1, 2])
    assert spans.places == sorted(
        [
            "/outer",
            *(f"/outer/branch {n}{rest}" for n in range(2) for rest in ("", "/Work.add", "/inner", "/inner/Work.add")),
        ]
    )
    places = {(span.attributes or {})["crucible.path"] for span in spans.finished}
    assert "outer/gather/[1]/branch 1/inner/#1" in places


async def test_of_a_workflow_stand_in_its_stages(spans: Spans) -> None:
    config = SupervisedConfig(session=SessionConfig(model="noop"), dataset=DatasetConfig(name="conversations"))
    workflow = supervised(Context.start(config))
    result = await traced(noop.all(), spans.tracer).arun(workflow)
    assert result == await noop.all().arun(workflow)
    step = "/supervised/epochs[0]/batches[0]/optim_step/TrainingClient.optim_step"
    assert step in spans.places
    assert len({span.context.trace_id for span in spans.finished if span.context is not None}) == 1


async def test_say_how_a_call_failed_and_what_failed_with_it(spans: Spans) -> None:
    handlers = traced(Work.handled_by(Worker()), spans.tracer)
    assert await handlers.arun(scoped("a", refuse("no"))) == Failure("no")
    assert spans.errors() == {"a": "no", "Work.refuse": "no"}
    assert [(span.attributes or {}).get("error.type") for span in spans.finished] == ["str", None]


async def test_record_what_a_handler_raised(spans: Spans) -> None:
    with pytest.raises(CrashError):
        await traced(Work.handled_by(Worker()), spans.tracer).arun(scoped("a", crash("bang")))
    assert spans.errors() == {"a": "bang", "Work.crash": "bang"}
    assert [[event.name for event in span.events] for span in spans.finished] == [["exception"]] * 2


async def test_end_when_they_are_cancelled_and_leave_none_open(spans: Spans) -> None:
    handlers = traced(Work.handled_by(Worker()), spans.tracer)
    await handlers.arun(attempt(timeout(scoped("a", hang("b")), seconds=0.01)).bind(lambda _: say("c")))
    assert spans.places == ["/Work.say", "/a", "/a/Work.hang"]
    assert set(spans.errors()) == {"a", "Work.hang"}
    assert not get_current_span().get_span_context().is_valid


async def test_of_a_stream_stand_in_its_scope(spans: Spans) -> None:
    eff = fold_stream(
        lambda _, i: add(i, 0) if i < 2 else pure(None), lambda total, _, n: scoped("use", add(total, n)), 0, buffer=1
    )
    assert await traced(Work.handled_by(Worker(1)), spans.tracer).arun(scoped("s", eff)) == Success(1)
    assert spans.places == [
        "/s",
        "/s/Work.add",
        "/s/Work.add",
        "/s/use",
        "/s/use",
        "/s/use/Work.add",
        "/s/use/Work.add",
    ]


async def test_are_current_while_the_handler_works_and_below_the_callers(spans: Spans) -> None:
    class Looking(Worker):
        async def say(self, word: str) -> Result[str, str]:
            await checkpoint()
            with spans.tracer.start_as_current_span("sdk"):
                return Success(word)

    with spans.tracer.start_as_current_span("service"):
        await traced(Work.handled_by(Looking()), spans.tracer).arun(say("a"))
    assert spans.places == ["/service", "/service/Work.say", "/service/Work.say/sdk"]


async def test_go_to_the_global_provider_unless_told_otherwise() -> None:
    assert await traced(Work.handled_by(Worker())).arun(add(1, 2)) == Success(3)


def test_need_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ModuleNotFoundError, match=r"crucible-llm\[otel\]"):
        traced(Work.handled_by(Worker()))
