"""The endpoints around the work: sessions, what the server can do, and the results of what was promised."""

from tinker import types as wire

from crucible.effects import Failure
from crucible.testing.tinker_server._promises import Wire
from crucible.testing.tinker_server._state import RefusedError, Session
from crucible.testing.tinker_server._work import Ask, Json, Work
from crucible.train.ports import SamplingClient
from crucible.train.types import SamplingConfig

POLL_SECONDS = 20.0
"""How long a request for a result waits for it; the SDK gives up after 45 s, and asks again at once when told to."""


async def client_config(work: Work, ask: Ask) -> Json:
    """Tell the SDK to use its plain transport, and to give up on a bill that is not paid after its first wait."""
    return {"use_pyqwest_transport": False, "billing_exception_max_pause_duration_sec": 0}


async def client_dynamic_config(work: Work, ask: Ask) -> Json:
    """Tell the SDK to cancel samples that nobody waits for."""
    return {"sample_cancel_enabled": True}


async def telemetry(work: Work, ask: Ask) -> Json:
    """Take what the SDK tells of itself, and forget it."""
    return {"status": "accepted"}


async def get_server_capabilities(work: Work, ask: Ask) -> Json:
    """List the models that the server was started for, with the limits that the handlers give."""
    models = []
    for name in work.models:
        opened = await work.call(SamplingClient.start_session, SamplingConfig(model=name))
        if isinstance(opened, Failure):
            raise RefusedError.of(opened.failure())
        session = opened.unwrap()
        await work.call(SamplingClient.close_session, session)
        models.append(
            {"model_name": name, "max_context_length": session.max_length, "trainable": True, "sampleable": True}
        )
    return {"supported_models": models, "version": work.version}


async def create_session(work: Work, ask: Ask) -> Json:
    """Begin a client's stay; a request that is sent again begins no second one."""
    request = wire.CreateSessionRequest.model_validate_json(ask.body)
    made = work.session_id(ask.key)
    if made not in work.state.sessions:
        work.state.sessions[made] = Session(
            id=made,
            user_metadata={name: str(value) for name, value in (request.user_metadata or {}).items()},
            display_name=request.display_name,
            project_id=request.project_id,
        )
    return {"type": "create_session", "session_id": made}


async def session_heartbeat(work: Work, ask: Ask) -> Json:
    """Keep a session alive."""
    work.state.session(wire.SessionHeartbeatRequest.model_validate_json(ask.body).session_id)
    return {"type": "session_heartbeat"}


async def finish_session(work: Work, ask: Ask) -> Json:
    """End a session; the first reason counts."""
    session = work.state.session(ask.words["session"])
    session.finished = session.finished or str(ask.json("reason", "type"))
    return {}


async def list_sessions(work: Work, ask: Ask) -> Json:
    """List the sessions, the newest first."""
    names = list(reversed(work.state.sessions))
    return {"sessions": names[ask.offset : ask.offset + ask.limit]}


async def get_session(work: Work, ask: Ask) -> Json:
    """Say what a session made."""
    session = work.state.sessions.get(ask.words["session"])
    if session is None:
        raise RefusedError(404, f"session {ask.words['session']} was not found")
    return {
        "training_run_ids": [model.id for model in work.state.models.values() if model.session_id == session.id],
        "sampler_ids": session.samplers,
        "user_metadata": session.user_metadata,
        "display_name": session.display_name,
    }


async def assign_project(work: Work, ask: Ask) -> Json:
    """Put a session into a project."""
    work.state.session(ask.words["session"]).project_id = str(ask.json("project_id"))
    return {}


async def retrieve_future(work: Work, ask: Ask) -> Wire:
    """Give a result when it is there; after a while of waiting, tell the client to ask again."""
    request = wire.FutureRetrieveRequest.model_validate_json(ask.body)
    promise = work.promises.find(request.request_id)
    if promise is None:
        raise RefusedError(404, f"request {request.request_id} was not found")
    work.state.session(promise.session_id)
    answer = await promise.ready(POLL_SECONDS)
    if answer is None:
        raise RefusedError(
            408, "try_again", body={"type": "try_again", "request_id": request.request_id, "queue_state": "active"}
        )
    return answer


async def cancel_future(work: Work, ask: Ask) -> Json:
    """Let nobody wait for a result any more."""
    promise = work.promises.find(str(ask.json("request_id")))
    if promise is not None:
        promise.keep({"error": "the request was cancelled", "category": "user"})
        promise.release()
    return {}
