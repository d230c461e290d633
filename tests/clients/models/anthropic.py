"""The Anthropic wire format."""

import json
import re
from collections.abc import Iterator, Mapping

from tests.clients.models.script import (
    Call,
    Fail,
    Json,
    Played,
    Refuse,
    Reply,
    Request,
    Say,
    ScriptedModel,
    ToolOutcome,
    all_text,
    as_event_stream,
    as_json,
)


class AnthropicModel(ScriptedModel):
    """The Messages API: `POST /v1/messages`, streamed or not."""

    prefix = "mcp__wvo__"

    def offers_tools(self, body: Json) -> bool:
        return bool(body.get("tools"))

    def tool_names(self, body: Json) -> set[str]:
        names: Iterator[str] = (tool.get("name", "") for tool in body.get("tools", []))
        return {name.removeprefix(self.prefix) for name in names if name.startswith(self.prefix)}

    def announced_tools(self, body: Json) -> set[str]:
        mentioned = re.findall(rf"\b{self.prefix}(\w+)", all_text([body.get("system"), body.get("messages")]))
        return set(mentioned) - self.tool_names(body)

    def outcomes(self, body: Json) -> list[ToolOutcome]:
        blocks = (
            block
            for message in body.get("messages", [])
            if not isinstance(message["content"], str)
            for block in message["content"]
        )
        return [
            ToolOutcome(all_text(block.get("content")), bool(block.get("is_error")))
            for block in blocks
            if block.get("type") == "tool_result"
        ]

    def side_answer(self, request: Request) -> Reply | None:
        path = request.path.partition("?")[0]
        if request.method == "HEAD":
            return as_json({})
        if request.method == "GET" and path.endswith("/models"):
            return as_json({"data": [], "has_more": False, "first_id": None, "last_id": None})
        if path.endswith("/messages/count_tokens"):
            return as_json({"input_tokens": 100})
        if request.method != "POST" or not path.endswith("/messages"):
            return self._refusal(404, "not_found_error", "This model is scripted and has no such endpoint.")
        if not self.offers_tools(request.body):
            return self._message(request.body, [{"type": "text", "text": "A title"}])
        return None

    def play(self, request: Request, step: Played) -> Reply:
        match step:
            case Refuse():
                return self._refusal(step.status, step.kind, step.message, step.headers, step.more)
            case Say():
                return self._message(request.body, [{"type": "text", "text": step.text}])
            case Fail() if not request.body.get("stream"):
                return self._refusal(529, step.kind, step.message)
            case Fail():
                error: Json = {"type": "error", "error": {"type": step.kind, "message": step.message}}
                start = {"type": "message_start", "message": self._empty(request.body)}
                return as_event_stream([("message_start", start), ("error", error)])
            case Call():
                number = len(self.outcomes(request.body))
                name = step.tool if step.own else self.prefix + step.tool
                use = {"type": "tool_use", "id": f"toolu_{number:04d}", "name": name}
                return self._message(request.body, [{**use, "input": step.arguments}])

    def _refusal(
        self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None, more: Json | None = None
    ) -> Reply:
        return as_json({"type": "error", "error": {"type": kind, "message": message, **(more or {})}}, status, headers)

    def _message(self, body: Json, content: list[Json]) -> Reply:
        stop = "tool_use" if content[-1]["type"] == "tool_use" else "end_turn"
        message = self._empty(body)
        if not body.get("stream"):
            return as_json({**message, "content": content, "stop_reason": stop})
        events: list[tuple[str, Json]] = [("message_start", {"message": message})]
        for index, block in enumerate(content):
            if block["type"] == "text":
                empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
            else:
                empty = {**block, "input": {}}
                delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            events.append(("content_block_start", {"index": index, "content_block": empty}))
            events.append(("content_block_delta", {"index": index, "delta": delta}))
            events.append(("content_block_stop", {"index": index}))
        ending = {"stop_reason": stop, "stop_sequence": None}
        events.append(("message_delta", {"delta": ending, "usage": {"output_tokens": 5}}))
        events.append(("message_stop", {}))
        return as_event_stream([(name, {"type": name, **data}) for name, data in events])

    @staticmethod
    def _empty(body: Json) -> Json:
        """A message that has just begun."""
        usage = {"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
        return {
            "id": f"msg_{len(body['messages']):04d}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model", "scripted"),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
