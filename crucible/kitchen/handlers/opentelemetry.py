"""Traces of OpenTelemetry: a span for each stage and each call; needs the extra `otel`."""

import importlib.util
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from crucible.effects import Call, Failure, Handlers, Hooks, Path, Proceed, Result, show_path
from crucible.train.errors import MissingExtra

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

R = TypeVar("R")


def traced(handlers: Handlers[R], tracer: "Tracer | None" = None) -> Handlers[R]:
    """Make a span of each call, and of each named part of the computation (a stage, a pass of a loop) around its calls.

    A span that failed has the status ERROR and the error's text; that of a call has its class as `error.type`, and its place
    as `crucible.path`. While a call is made its span is the current one, so the spans of an SDK stand below it.

    Args:
        handlers: whose calls are traced.
        tracer: of the provider that the spans go to; that of the global provider when None.

    Raises: ModuleNotFoundError when the extra `otel` is not installed.
    """
    if importlib.util.find_spec("opentelemetry") is None:
        raise ModuleNotFoundError(str(MissingExtra(extra="otel", package="opentelemetry-sdk")))
    from opentelemetry import trace

    spans = trace.get_tracer("crucible") if tracer is None else tracer

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        with _span(spans, call.name, call.path) as span:
            result = await proceed(call)
            if isinstance(result, Failure):
                error = result.failure()
                span.set_attribute("error.type", type(error).__qualname__)
                _fail(span, str(error))
            return result

    def around_scope(path: Path) -> AbstractContextManager[object]:
        return _span(spans, path[-1], path)

    return handlers.wrap(around, Hooks(around_scope=around_scope))


@contextmanager
def _span(tracer: "Tracer", name: str, path: Path) -> "Iterator[Span]":
    """Make a span the current one; whatever leaves it is its error, a typed failure and a cancellation too."""
    attributes = {"crucible.path": show_path(path)}
    with tracer.start_as_current_span(name, attributes=attributes, set_status_on_exception=False) as span:
        try:
            yield span
        except BaseException as error:
            _fail(span, str(error) or type(error).__qualname__)
            raise


def _fail(span: "Span", text: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, text))
