"""The routes, and what every request goes through: the key, the record, the script of faults."""

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import anyio
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # its stubs are another package
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from tinker.proto import tinker_public_pb2 as pb

from crucible.testing.tinker_server import _models, _runs, _samplers, _saving, _sessions, _training
from crucible.testing.tinker_server._promises import Wire
from crucible.testing.tinker_server._state import RefusedError
from crucible.testing.tinker_server._work import Ask, Work
from crucible.testing.tinker_server.faults import Delay, Drop, Expire, Faults, Misfortune, Refuse
from crucible.testing.tinker_server.record import Record

Endpoint: TypeAlias = Callable[[Work, Ask], Awaitable[Wire]]

CHECKPOINT = "training_runs/{run}/checkpoints/{kind}/{name}"

ENDPOINTS: Mapping[str, Endpoint] = {
    "POST client/config": _sessions.client_config,
    "POST client/dynamic_config": _sessions.client_dynamic_config,
    "POST telemetry": _sessions.telemetry,
    "GET get_server_capabilities": _sessions.get_server_capabilities,
    "POST create_session": _sessions.create_session,
    "POST session_heartbeat": _sessions.session_heartbeat,
    "POST sessions/{session}/finish": _sessions.finish_session,
    "PUT sessions/{session}/project": _sessions.assign_project,
    "GET sessions": _sessions.list_sessions,
    "GET sessions/{session}": _sessions.get_session,
    "POST retrieve_future": _sessions.retrieve_future,
    "POST cancel_future": _sessions.cancel_future,
    "POST create_model": _models.create_model,
    "POST load_weights": _models.load_weights,
    "POST get_info": _models.get_info,
    "POST forward_backward": _training.forward_backward,
    "POST optim_step": _training.optim_step,
    "POST save_weights": _saving.save_weights,
    "POST save_weights_for_sampler": _saving.save_weights_for_sampler,
    "POST save_weights_external": _saving.save_weights_external,
    "POST create_sampling_session": _samplers.create_sampling_session,
    "GET samplers/{sampler}": _samplers.get_sampler,
    "POST asample": _samplers.asample,
    "POST weights_info": _runs.weights_info,
    "GET training_runs": _runs.list_runs,
    "GET training_runs/{run}": _runs.get_run,
    "GET training_runs/{run}/checkpoints": _runs.list_run_checkpoints,
    "GET checkpoints": _runs.list_checkpoints,
    f"DELETE {CHECKPOINT}": _runs.delete_checkpoint,
    f"POST {CHECKPOINT}/publish": _runs.publish,
    f"DELETE {CHECKPOINT}/publish": _runs.unpublish,
    f"PUT {CHECKPOINT}/ttl": _runs.set_ttl,
    f"GET {CHECKPOINT}/external_weights_urls": _runs.external_weights_urls,
}


LAST = {"Connection": "close"}
"""Sent with every answer: the SDK leaves some of its connections open for ever, and a test that ends would warn of them."""


class Dropped(Response):
    """An answer that is broken off: the connection closes when all of it is still to come."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin an answer of one byte, and go."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})


def make_app(work: Work, *, api_key: str, record: Record, faults: Faults) -> Starlette:
    """Make the application: all endpoints below /api/v1, behind the key, and the files of signed URLs."""
    door = _Door(work, api_key=api_key, record=record, faults=faults)
    routes = [
        Route(f"/api/v1/{path}", door.to(endpoint), methods=[method])
        for (method, path), endpoint in ((name.split(" "), endpoint) for name, endpoint in ENDPOINTS.items())
    ]

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def file(request: Request) -> Response:
        found = work.signed(request.path_params["secret"])
        return Response(status_code=403) if found is None else FileResponse(found)

    return Starlette(routes=[*routes, Route("/api/v1/healthz", healthz), Route("/files/{secret}", file)])


class _Door:
    """What every request goes through."""

    def __init__(self, work: Work, *, api_key: str, record: Record, faults: Faults) -> None:
        self._work = work
        self._api_key = api_key
        self._record = record
        self._faults = faults

    def to(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """Put the door before an endpoint."""

        async def enter(request: Request) -> Response:
            body = await request.body()
            route, detail = _summary(endpoint.__name__, request, body)
            number = self._record.add(route=route, method=request.method, path=request.url.path, detail=detail)
            if not hmac.compare_digest(request.headers.get("x-api-key", "").encode(), self._api_key.encode()):
                self._record.change(number, status=401)
                return JSONResponse({"detail": "the API key is not valid"}, status_code=401, headers=LAST)
            met = self._faults.next(route)
            if met is not None:
                self._record.change(number, fault=str(met))
            ask = Ask(
                body=body,
                words=request.path_params,
                options=request.query_params,
                key=request.headers.get("x-idempotency-key", ""),
                misfortune=met,
            )
            response = await self._answer(endpoint, ask, detail)
            self._work.came(route)
            response.headers.update(LAST)
            self._record.change(number, status=0 if isinstance(response, Dropped) else response.status_code)
            return response

        return enter

    async def _answer(self, endpoint: Endpoint, ask: Ask, detail: Mapping[str, object]) -> Response:
        early = self._before(ask.misfortune, detail)
        if early is not None:
            return early
        try:
            answer = await endpoint(self._work, ask)
        except RefusedError as error:
            return JSONResponse(error.body, status_code=error.status)
        except (ValidationError, DecodeError) as error:
            return JSONResponse({"detail": str(error)}, status_code=422)
        if isinstance(ask.misfortune, Drop):
            return Dropped()
        if isinstance(ask.misfortune, Delay):
            await anyio.sleep(ask.misfortune.seconds)
        if isinstance(answer, bytes):
            return Response(answer, media_type="application/x-protobuf")
        return JSONResponse(answer)

    def _before(self, met: Misfortune | None, detail: Mapping[str, object]) -> Response | None:
        """Give the answer that the script puts in the place of the work."""
        if isinstance(met, Refuse):
            after = {} if met.retry_after_seconds is None else {"Retry-After": f"{met.retry_after_seconds:g}"}
            return JSONResponse({"detail": "injected fault"}, status_code=met.status, headers=after)
        if met == Drop("before"):
            return Dropped()
        if isinstance(met, Expire):
            self._work.expire(detail)
        return None


def _summary(name: str, request: Request, body: bytes) -> tuple[str, dict[str, object]]:
    """Name a request and say what is in it; a training batch is counted, not copied."""
    if name == "forward_backward":
        try:
            message = pb.ForwardBackwardRequest.FromString(body)
        except DecodeError:
            return name, {}
        tokens = sum(len(chunk.encoded_text.tokens) // 4 for datum in message.data for chunk in datum.model_input)
        return "forward" if message.forward_only else name, {
            "model_id": message.model_id,
            "seq_id": message.seq_id,
            "loss_fn": message.loss_fn,
            "loss_fn_config": dict(message.loss_fn_config),
            "num_data": len(message.data),
            "num_tokens": tokens,
        }
    try:
        detail = json.loads(body or b"{}")
    except ValueError:
        detail = {}
    return name, {**request.path_params, **(detail if isinstance(detail, dict) else {})}
