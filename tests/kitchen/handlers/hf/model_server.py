"""A served model on this machine: chat completions and embeddings as OpenAI-compatible servers and the hub's own speak."""

import json
import threading
from typing import Any

from crucible.kitchen.handlers.noop.embeddings import embedding
from tests.kitchen.handlers.hf.servers import Answer, Asked, Site, of_json

ANSWER = "The sky is blue, as far as I can tell."
FITTING = {"colour": "blue", "certain": True}


class ModelSite(Site):
    """Answers the same to everything. `most_at_once` is how many requests were in here together."""

    def __init__(self, *, answer: str = ANSWER, is_meeting: bool = False) -> None:
        super().__init__()
        self.text = answer
        self.is_meeting = is_meeting
        self.most_at_once = 0
        self._inside = 0
        self._door = threading.Condition()

    def meet(self) -> None:
        """Wait for a second request to be here together with this one, and then a moment for a third."""
        with self._door:
            self._inside += 1
            self.most_at_once = max(self.most_at_once, self._inside)
            self._door.notify_all()
            self._door.wait_for(lambda: self.most_at_once >= 2, timeout=10)
            self._door.wait_for(lambda: self.most_at_once >= 3, timeout=0.05)
            self._inside -= 1

    def answer(self, asked: Asked) -> Answer:
        if self.is_meeting:
            self.meet()
        if asked.path.endswith("/chat/completions"):
            return self.chat(asked.json)
        if asked.path.endswith("/embeddings"):
            texts: Any = asked.json["input"]
            rows = [{"index": place, "embedding": vector(text)} for place, text in enumerate(texts)]
            return of_json({"data": rows[::-1], "model": "small"})
        if asked.path == "/":
            inputs: Any = asked.json["inputs"]
            return of_json([vector(text) for text in inputs])
        return of_json({"error": "no such page"}, 404)

    def chat(self, asked: dict[str, Any]) -> Answer:
        text, reason = self.text, "stop"
        calls: list[dict[str, Any]] = []
        wanted = asked.get("response_format") or {}
        if wanted.get("type") == "json_schema" and wanted["json_schema"]["schema"]["type"] == "object":
            text = json.dumps(FITTING)
        choice = asked.get("tool_choice", "none")
        if choice not in ("auto", "none"):
            name = asked["tools"][0]["function"]["name"] if choice == "required" else choice["function"]["name"]
            calls = [{"id": "call-7", "type": "function", "function": {"name": name, "arguments": '{"a": 1}'}}]
            text = ""
        words = text.split(" ")
        if (asked.get("max_tokens") or len(words)) < len(words):
            words, reason = words[: asked["max_tokens"]], "length"
        usage = {"prompt_tokens": 9, "completion_tokens": len(words), "total_tokens": 9 + len(words)}
        if asked.get("stream"):
            return self.streamed(asked, words, calls, reason, usage)
        message = {"role": "assistant", "content": " ".join(words) if text else None, "tool_calls": calls or None}
        choices = [{"index": 0, "message": message, "finish_reason": reason}]
        return of_json({"id": "1", "created": 1, "model": "small", "choices": choices, "usage": usage})

    def streamed(
        self, asked: dict[str, Any], words: list[str], calls: list[dict[str, Any]], reason: str, usage: dict[str, int]
    ) -> Answer:
        deltas: list[dict[str, Any]] = [{"content": word if not n else f" {word}"} for n, word in enumerate(words)]
        for call in calls:
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            head = {"index": 0, "id": call["id"], "type": "function", "function": {"name": name, "arguments": ""}}
            parts = [{"index": 0, "function": {"arguments": part}} for part in (arguments[:3], arguments[3:])]
            deltas += [{"tool_calls": [part]} for part in (head, *parts)]
        chunks: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
        ]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        if (asked.get("stream_options") or {}).get("include_usage"):
            chunks.append({"choices": [], "usage": usage})
        told = [b"data: " + json.dumps({"id": "1", "model": "small", **chunk}).encode() + b"\n\n" for chunk in chunks]
        return Answer(headers={"Content-Type": "text/event-stream"}, pieces=(*told, b"data: [DONE]\n\n"))


def vector(text: str) -> list[float]:
    return [3 * number for number in embedding(text, dimension=16)]
