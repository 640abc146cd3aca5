"""What is scripted to go wrong goes wrong so, and the SDK copes as it does with the service."""

import concurrent.futures
import json
import threading
import urllib.error
import urllib.request

import pytest
import tinker
from hypothesis import given
from hypothesis import strategies as st

from crucible.kitchen.handlers import noop
from crucible.testing import tinker_server
from crucible.testing.tinker_server import Delay, Drop, Expire, Fail, Fault, Hold, Misfortune, Refuse, Server
from crucible.testing.tinker_server.faults import Faults
from tests.testing.tinker_server.clients import ADAM, DATA, GREEDY, SECONDS, done, model, prompt, rest, served


def post(server: Server, path: str, body: bytes, *, key: str | None = None) -> tuple[int, object]:
    """Ask without the SDK."""
    headers = {"X-API-Key": server.api_key if key is None else key}
    request = urllib.request.Request(f"{server.url}/api/v1/{path}", data=body, headers=headers)  # http
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # http
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.mark.parametrize(
    ("misfortune", "statuses"),
    [
        (Refuse(429, retry_after_seconds=0.01), [429, 200]),
        (Refuse(503, retry_after_seconds=0.01), [503, 200]),
        (Drop("before"), [0, 200]),
        (Drop("after"), [0, 200]),
        (Delay(0.05), [200]),
    ],
)
def test_a_request_that_is_sent_again_trains_once(misfortune: Misfortune, statuses: list[int]) -> None:
    with served() as (_, client):
        trained = model(client)
        done(trained.forward_backward(DATA, "cross_entropy"))
        done(trained.optim_step(ADAM))
        expected = done(trained.forward(DATA, "cross_entropy")).metrics
    with served(Fault("optim_step", misfortune, nth=(1,))) as (server, client):
        trained = model(client)
        passed, stepped = trained.forward_backward(DATA, "cross_entropy"), trained.optim_step(ADAM)
        done(passed)
        metrics = done(stepped).metrics
        assert metrics is not None
        assert metrics["step"] == 1
        assert done(trained.forward(DATA, "cross_entropy")).metrics == expected
        asked = server.asked("optim_step")
    assert [one.status for one in asked] == statuses
    assert {one.seq_id for one in asked} == {2}
    assert asked[0].fault == str(misfortune)


def test_a_session_is_begun_once_when_its_answer_is_lost() -> None:
    with served(Fault("create_session", Drop("after"), nth=(1,))) as (server, client):
        model(client)
        assert len(server.asked("create_session")) == 2
        assert len(done(rest(server).list_sessions()).sessions) == 1


def test_a_future_fails_as_scripted_and_its_work_is_not_done() -> None:
    with served(Fault("forward_backward", Fail("no luck", "unknown"), nth=(1,))) as (_, client):
        trained = model(client)
        with pytest.raises(tinker.RequestFailedError, match="no luck") as caught:
            done(trained.forward_backward(DATA, "cross_entropy"))
        assert caught.value.category.value == "unknown"
        assert done(trained.forward_backward(DATA, "cross_entropy")).metrics["loss:sum"] > 0


def test_a_future_that_is_held_is_never_ready_and_is_cancelled_when_nobody_waits() -> None:
    with served(Fault("asample", Hold())) as (server, client):
        opened = client.create_sampling_client(base_model="any").result(timeout=SECONDS)
        future = opened.sample(prompt(5), 1, GREEDY)
        with pytest.raises(concurrent.futures.TimeoutError):
            future.result(timeout=0.2)
        future.future().cancel()
        deadline = threading.Event()
        while not server.asked("cancel_future") and not deadline.wait(0.01):
            pass
        assert [one.status for one in server.asked("asample")] == [200]


def test_an_expired_session_is_gone_for_good() -> None:
    with tinker_server.serve(noop.all(), faults=[Fault("optim_step", Expire())]) as server:
        client = tinker.ServiceClient(base_url=server.url, api_key=server.api_key)
        trained = model(client)
        done(trained.forward_backward(DATA, "cross_entropy"))
        with pytest.raises(tinker.APIStatusError) as caught:
            done(trained.optim_step(ADAM))
        assert caught.value.status_code == 410
        session = trained.model_id.partition(":")[0]
        assert post(server, "session_heartbeat", json.dumps({"session_id": session}).encode())[0] == 410
        client.holder.close()


def test_a_bill_that_is_not_paid_is_an_error_of_its_own() -> None:
    with tinker_server.serve(noop.all(), faults=[Fault("get_server_capabilities", Refuse(402))]) as server:
        assert post(server, "telemetry", b"{}") == (200, {"status": "accepted"})
        client = tinker.ServiceClient(base_url=server.url, api_key=server.api_key)
        with pytest.raises(tinker.BillingError):
            client._check_accessible()  # the one call of the SDK that does not wait for the bill


def test_the_wrong_key_is_refused() -> None:
    with tinker_server.serve(noop.all(), api_key="tml-right") as server:
        with pytest.raises(tinker.AuthenticationError):
            done(tinker.RestClient(base_url=server.url, api_key="tml-wrong").list_sessions())
        assert post(server, "create_session", b"{}", key="")[0] == 401
        assert "tml-" not in repr(server.requests)
        assert {one.status for one in server.requests} == {401}
        with urllib.request.urlopen(f"{server.url}/api/v1/healthz", timeout=SECONDS) as answer:
            assert answer.status == 200


NONSENSE = [
    ("create_session", b"{}", 422),
    ("create_session", b"not json", 422),
    ("forward_backward", b"\xff\xff", 422),
    ("retrieve_future", b'{"request_id": "no"}', 404),
    ("cancel_future", b'{"request_id": "no"}', 200),
    ("get_info", b'{"model_id": "no"}', 404),
    ("session_heartbeat", b'{"session_id": "no"}', 404),
    ("asample", b'{"prompt": {"chunks": []}, "sampling_params": {}, "sampling_session_id": "no"}', 404),
    ("weights_info", b'{"tinker_path": "no"}', 404),
]


def test_nonsense_is_refused() -> None:
    with tinker_server.serve(noop.all()) as server:
        for path, body, status in NONSENSE:
            assert post(server, path, body)[0] == status, path


@given(
    seed=st.integers(0, 1000),
    share=st.floats(0, 1),
    routes=st.lists(st.sampled_from(["asample", "optim_step", "telemetry"]), max_size=40),
)
def test_drawn_faults_are_the_same_for_the_same_seed_and_meet_only_their_route(
    seed: int, share: float, routes: list[str]
) -> None:
    def played() -> list[Misfortune | None]:
        faults = Faults([Fault("asample", Drop(), share=share), Fault("*", Refuse(500), nth=(3,))], seed=seed)
        return [faults.next(route) for route in routes]

    met = played()
    assert met == played()
    for place, (route, misfortune) in enumerate(zip(routes, met, strict=True)):
        allowed = {None} | ({Drop()} if route == "asample" else set()) | ({Refuse(500)} if place == 2 else set())
        assert misfortune in allowed
        assert misfortune is not None or (place != 2 and (route != "asample" or share < 1))
