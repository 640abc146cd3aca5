"""Served models over HTTP: chats, streamed or not, and embeddings, on whatever speaks OpenAI's protocol or the hub's."""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from crucible.effects import Failure, Handlers, Result, gather, perform, retry
from crucible.kitchen.handlers import hf
from crucible.testing import check_embedding_client, check_llm_client
from crucible.train.errors import (
    AccessDenied,
    BackendFailed,
    InvalidRequest,
    MissingExtra,
    NotFound,
    TrainError,
    Unavailable,
    is_transient,
)
from crucible.train.ports import DatasetStore, EmbeddingClient, HubClient, LLMClient
from crucible.train.types import (
    ChatOptions,
    ChatResponse,
    DatasetConfig,
    HubRepo,
    ImagePart,
    Message,
    TextPart,
    ToolCall,
    ToolSpec,
    text_of,
    thinking_of,
)
from tests.kitchen.handlers.hf.conftest import CANARY
from tests.kitchen.handlers.hf.model_server import ANSWER, ModelSite
from tests.kitchen.handlers.hf.servers import Answer, Asked, Site, of_json, serving

HELLO = (Message(role="user", content="Hello"),)
SCHEMA = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}


def config(model: ModelSite, **changes: object) -> hf.InferenceConfig:
    options: dict[str, object] = {"url": f"{model.url}/v1", "model": "small", "timeout_seconds": 5.0, **changes}
    return hf.InferenceConfig(**options)  # type: ignore[arg-type]  # options by name


def chat(handlers: Handlers[LLMClient], options: ChatOptions = ChatOptions()) -> ChatResponse:
    return handlers.run(perform(LLMClient.chat, HELLO, options)).unwrap()


def refused(handlers: Handlers[LLMClient], options: ChatOptions = ChatOptions()) -> TrainError:
    return handlers.run(perform(LLMClient.chat, HELLO, options)).failure()


def unread(text: str) -> None:
    """Read along, and do nothing."""


MAKERS: list[Callable[[hf.InferenceConfig], Handlers[LLMClient]]] = [
    hf.llm,
    lambda asked: hf.llm(asked, on_text=unread),
]
both_ways = pytest.mark.parametrize("make", MAKERS, ids=["whole", "streamed"])
Make = Callable[[hf.InferenceConfig], Handlers[LLMClient]]


@both_ways
def test_the_contract_of_chats(model: ModelSite, make: Make) -> None:
    check_llm_client(lambda: make(config(model)), deterministic=True)


@pytest.mark.parametrize("path", ["/v1", "/v1/", ""])
def test_the_contract_of_embeddings(model: ModelSite, path: str) -> None:
    check_embedding_client(lambda: hf.embeddings(config(model, url=f"{model.url}{path}")))


class TestAChat:
    @both_ways
    def test_sends_what_was_asked_for(self, model: ModelSite, make: Make) -> None:
        tool = ToolSpec(name="look", description="Look.", parameters={"type": "object"})
        options = ChatOptions(
            model="large",
            temperature=0,
            max_tokens=50,
            top_p=0.5,
            stop=("\n",),
            seed=7,
            tools=(tool,),
            output_schema=SCHEMA,
        )
        chat(make(config(model)), options)
        sent = model.asked[-1].json
        assert sent["model"] == "large"
        assert (sent["temperature"], sent["max_tokens"], sent["top_p"]) == (0, 50, 0.5)
        assert (sent["stop"], sent["seed"], sent["tool_choice"]) == (["\n"], 7, "auto")
        wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
        assert sent["response_format"] == wanted

    def test_sends_images_calls_and_results(self, model: ModelSite) -> None:
        image = ImagePart(data=b"\x89PNG", format="png")
        conversation = (
            Message(role="user", content=(TextPart(text="What is this?"), image)),
            Message(role="assistant", content="", tool_calls=(ToolCall(name="look", arguments='{"at": 1}', id="c1"),)),
            Message(role="tool", content="a cat", tool_call_id="c1", name="look"),
        )
        hf.llm(config(model)).run(perform(LLMClient.chat, conversation)).unwrap()
        sent = model.asked[-1].json["messages"]
        assert sent == [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                ],
            },
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
                ],
            },
            {"role": "tool", "content": "a cat", "tool_call_id": "c1", "name": "look"},
        ]

    @both_ways
    def test_gives_calls_with_their_arguments(self, model: ModelSite, make: Make) -> None:
        options = ChatOptions(tools=(ToolSpec(name="look"), ToolSpec(name="hear")), tool_choice="hear")
        response = chat(make(config(model)), options)
        assert response.message.tool_calls == (ToolCall(name="hear", arguments='{"a": 1}', id="call-7"),)
        assert response.finish_reason == "tool_calls"

    def test_gives_thinking_apart_from_the_answer(self, model: ModelSite) -> None:
        message = {"role": "assistant", "content": "4", "reasoning_content": "2 + 2"}
        choices = [{"index": 0, "message": message, "finish_reason": "eos_token"}]
        model.fail("POST", "/chat", of_json({"model": "m", "choices": choices, "usage": None}))
        response = chat(hf.llm(config(model)))
        assert (text_of(response.message), thinking_of(response.message)) == ("4", "2 + 2")
        assert (response.finish_reason, response.usage.total_tokens, response.model) == ("stop", 0, "m")

    def test_is_read_along_piece_by_piece(self, model: ModelSite) -> None:
        pieces: list[str] = []
        response = chat(hf.llm(config(model), on_text=pieces.append))
        assert len(pieces) > 5
        assert "".join(pieces) == text_of(response.message) == ANSWER
        assert response == chat(hf.llm(config(model)))

    @both_ways
    @pytest.mark.parametrize(
        ("schema", "kind", "says"),
        [
            ({**SCHEMA, "required": ["size"]}, BackendFailed, "'size' is a required property"),
            ({"type": "array"}, BackendFailed, "no JSON"),
            ({"type": "none such", "properties": {}}, InvalidRequest, "no JSON Schema"),
        ],
    )
    def test_that_does_not_fit_its_schema_is_no_answer(
        self, model: ModelSite, make: Make, schema: dict[str, object], kind: type, says: str
    ) -> None:
        if kind is InvalidRequest:
            model.text = "{}"
        error = refused(make(config(model)), ChatOptions(output_schema=schema))
        assert isinstance(error, kind)
        assert says in str(error)

    def test_with_a_schema_needs_the_extra(self, model: ModelSite, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "jsonschema", None)
        error = refused(hf.llm(config(model)), ChatOptions(output_schema=SCHEMA))
        assert error == MissingExtra(extra="hf", package="jsonschema")

    def test_with_a_tool_that_is_not_there_is_refused(self, model: ModelSite) -> None:
        for options in (ChatOptions(tool_choice="look"), ChatOptions(tool_choice="required")):
            assert isinstance(refused(hf.llm(config(model)), options), InvalidRequest)
        assert model.asked == []

    @pytest.mark.anyio
    async def test_waits_for_its_turn(self) -> None:
        slow = ModelSite(is_meeting=True)
        with serving(slow):
            asked = gather([perform(LLMClient.chat, HELLO) for _ in range(6)])
            handlers = hf.llm(config(slow, limit=2))
            assert len((await handlers.arun(asked)).unwrap()) == 6
        assert slow.most_at_once == 2


class TestTheirRefusals:
    @both_ways
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, InvalidRequest),
            (401, AccessDenied),
            (404, NotFound),
            (422, InvalidRequest),
            (429, Unavailable),
            (500, Unavailable),
        ],
    )
    def test_are_errors_of_the_port(self, model: ModelSite, make: Make, status: int, kind: type) -> None:
        model.fail("POST", "/chat", of_json({"error": f"no, {CANARY}"}, status, **{"Retry-After": "7"}))
        error = refused(make(config(model, token=CANARY)))
        assert isinstance(error, kind)
        assert "no, ***" in str(error)
        if isinstance(error, Unavailable):
            assert error.retry_after_seconds == 7

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (Answer(200, b"<html>"), BackendFailed),
            (of_json({}), Unavailable),
            (Answer(200, b'{"choices"', {"Content-Type": "application/json"}, cut_at=5), Unavailable),
        ],
    )
    def test_are_told_from_broken_answers(self, model: ModelSite, answer: Answer, kind: type) -> None:
        model.fail("POST", "/chat", answer)
        assert isinstance(refused(hf.llm(config(model))), kind)

    @pytest.mark.parametrize(
        ("said", "kind"),
        [
            ({"error": "too many", "error_type": "overloaded"}, Unavailable),
            ({"error": "bad input", "error_type": "validation"}, InvalidRequest),
            ({"error": "lost", "error_type": "generation"}, BackendFailed),
            ({"choices": [{"index": 0, "delta": {"content": "The"}, "finish_reason": None}]}, Unavailable),
        ],
    )
    def test_can_come_in_the_middle_of_a_stream(self, model: ModelSite, said: dict[str, object], kind: type) -> None:
        piece = b"data: " + json.dumps(said).encode() + b"\n\n"
        model.fail("POST", "/chat", Answer(headers={"Content-Type": "text/event-stream"}, pieces=(piece,)))
        assert isinstance(refused(hf.llm(config(model), on_text=unread)), kind)

    def test_come_in_time(self, model: ModelSite) -> None:
        model.fail("POST", "/", Answer(wait_seconds=1.0), times=2)
        assert isinstance(refused(hf.llm(config(model, timeout_seconds=0.05))), Unavailable)
        handlers = hf.embeddings(config(model, timeout_seconds=0.05))
        assert isinstance(handlers.run(perform(EmbeddingClient.embed_texts, ["a"])).failure(), Unavailable)

    def test_that_pass_are_waited_for_by_retry(self, model: ModelSite) -> None:
        model.fail("POST", "/chat", of_json({}, 503))
        patient = retry(hf.llm(config(model)), attempts=2, when=is_transient, wait_seconds=lambda attempt, error: 0.0)
        assert text_of(chat(patient).message) == ANSWER

    def test_of_no_model_at_all_are_made_here(self) -> None:
        nothing = hf.InferenceConfig()
        assert isinstance(refused(hf.llm(nothing)), InvalidRequest)
        embedding = hf.embeddings(nothing).run(perform(EmbeddingClient.embed_texts, ["a"]))
        assert isinstance(embedding.failure(), InvalidRequest)


class TestEmbeddings:
    def test_of_many_texts_come_in_order(self, model: ModelSite) -> None:
        texts = [f"text {n}" for n in range(150)]
        handlers = hf.embeddings(config(model))
        vectors = handlers.run(perform(EmbeddingClient.embed_texts, texts)).unwrap()
        assert len(model.requests("POST", "/embeddings")) == 3
        alone = handlers.run(perform(EmbeddingClient.embed_texts, [texts[140]])).unwrap()
        assert vectors[140] == alone[0]

    @pytest.mark.parametrize(
        ("rows", "kind"),
        [
            ([], BackendFailed),
            ([[0.0, 0.0], [1.0, 0.0]], BackendFailed),
            ([[1.0, 0.0], [1.0, 0.0, 0.0]], BackendFailed),
            ([[[1.0], [1.0]], [[1.0], [1.0]]], BackendFailed),
            ([None, None], BackendFailed),
        ],
    )
    def test_that_are_no_vectors_are_refused(self, model: ModelSite, rows: list[object], kind: type) -> None:
        said = [{"index": place, "embedding": row} for place, row in enumerate(rows)]
        model.fail("POST", "/embeddings", of_json({"data": said}))
        failed = hf.embeddings(config(model)).run(perform(EmbeddingClient.embed_texts, ["a", "b"])).failure()
        assert isinstance(failed, kind)

    def test_that_one_request_fails_for_are_none(self, model: ModelSite) -> None:
        model.fail("POST", "/embeddings", of_json({"error": "no"}, 400))
        texts = [f"text {n}" for n in range(150)]
        failed = hf.embeddings(config(model)).run(perform(EmbeddingClient.embed_texts, texts)).failure()
        assert isinstance(failed, InvalidRequest)

    def test_of_something_else_are_refused(self, model: ModelSite) -> None:
        model.fail("POST", "/embeddings", of_json(["hello"]))
        failed = hf.embeddings(config(model)).run(perform(EmbeddingClient.embed_texts, ["a"])).failure()
        assert isinstance(failed, BackendFailed)


class TestTheToken:
    def test_of_this_machine_is_not_sent_to_a_server(
        self, model: ModelSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        monkeypatch.setenv("HF_TOKEN", CANARY)
        chat(hf.llm(config(model)))
        for path in ("/v1", ""):
            asked = config(model, url=f"{model.url}{path}")
            hf.embeddings(asked).run(perform(EmbeddingClient.embed_texts, ["a"])).unwrap()
        assert len(model.asked) == 3
        assert not any(CANARY in str(asked.headers) for asked in model.asked)
        assert CANARY not in caplog.text

    def test_that_was_given_is_sent(self, model: ModelSite, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        asked = config(model, token=CANARY)
        chat(hf.llm(asked))
        hf.embeddings(asked).run(perform(EmbeddingClient.embed_texts, ["a"])).unwrap()
        assert [one.headers["authorization"] for one in model.asked] == [f"Bearer {CANARY}"] * 2
        assert CANARY not in caplog.text


ODD_ANSWERS = [
    Answer(200, b"<html>log in</html>", {"Content-Type": "text/html"}),
    Answer(200, b""),
    Answer(200, b'{"choices": [', {"Content-Type": "application/json"}),
    Answer(200, bytes(range(256)), {"Content-Type": "application/json"}),
    *map(of_json, [None, [], [1, "x", None], {}, 7, {"choices": []}, {"choices": [{"message": None}]}, [[["x"]]]]),
    of_json({"choices": [{"index": 0, "message": {"role": "assistant", "content": 7}}], "usage": "x"}),
    of_json({"data": [{"embedding": ["a"], "index": 0}, {"embedding": None, "index": 7}]}),
    of_json({"sha": None, "siblings": [{"rfilename": None}]}),
    of_json({"id": "o/d", "sha": "x" * 40, "siblings": "none"}),
]


@pytest.mark.parametrize("answer", ODD_ANSWERS, ids=range(len(ODD_ANSWERS)))
def test_an_answer_of_another_service_is_an_error_value(answer: Answer, tmp_path: Path) -> None:
    class Another(Site):
        def answer(self, asked: Asked) -> Answer:
            return answer

    with serving(Another()) as url:
        asked = hf.InferenceConfig(url=f"{url}/v1", model="small", timeout_seconds=5.0)
        home = hf.HfConfig(endpoint=url, cache=tmp_path, timeout_seconds=5)
        repo = HubRepo(id="o/d", type="dataset")
        texts = perform(EmbeddingClient.embed_texts, ["a", "b"])
        results: list[Result[object, TrainError]] = [
            *(make(asked).run(perform(LLMClient.chat, HELLO)) for make in MAKERS),
            hf.embeddings(asked).run(texts),
            hf.embeddings(attrs.evolve(asked, url=url)).run(texts),
            hf.hub(home).run(perform(HubClient.get_info, repo)),
            hf.hub(home).run(perform(HubClient.snapshot, repo)),
            hf.datasets(home).run(perform(DatasetStore.load_dataset, DatasetConfig(name="o/d"))),
        ]
    assert [result for result in results if not isinstance(result, Failure)] == []
    assert all(str(result.failure()) for result in results)
