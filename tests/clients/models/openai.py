"""The OpenAI wire format."""

import json
from collections.abc import Mapping

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


class OpenAIModel(ScriptedModel):
    """The Responses API: `POST /v1/responses`, streamed."""

    namespace = "mcp__wvo"
    result_types = frozenset({"function_call_output", "custom_tool_call_output"})

    def offers_tools(self, body: Json) -> bool:
        return bool(body.get("tools"))

    def tool_names(self, body: Json) -> set[str]:
        return {
            tool["name"]
            for group in body.get("tools", [])
            if group.get("type") == "namespace" and group.get("name", "").rstrip("_") == self.namespace
            for tool in group.get("tools", [])
        }

    def outcomes(self, body: Json) -> list[ToolOutcome]:
        results = (item for item in body.get("input", []) if item.get("type") in self.result_types)
        return [ToolOutcome(all_text(item.get("output")), None) for item in results]

    def side_answer(self, request: Request) -> Reply | None:
        path = request.path.partition("?")[0]
        if request.method != "POST" or not path.endswith("/responses"):
            return self._refusal(404, "not_found", "This model is scripted and has no such endpoint.")
        return None

    def play(self, request: Request, step: Played) -> Reply:
        number = len(self.outcomes(request.body))
        match step:
            case Refuse():
                return self._refusal(step.status, step.kind, step.message, step.headers, step.more)
            case Say():
                content = [{"type": "output_text", "text": step.text, "annotations": []}]
                return self._stream(number, {"type": "message", "role": "assistant", "content": content})
            case Fail():
                failed = {"id": f"resp_{number:04d}", "object": "response", "status": "failed", "output": []}
                error = {"code": step.kind, "message": step.message}
                return as_event_stream(
                    [("response.failed", {"type": "response.failed", "response": {**failed, "error": error}})]
                )
            case Call():
                call: Json = {"type": "function_call", "name": step.tool}
                if not step.own:
                    call["namespace"] = self.namespace
                arguments = json.dumps(step.arguments)
                return self._stream(number, {**call, "call_id": f"call_{number:04d}", "arguments": arguments})

    def _refusal(
        self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None, more: Json | None = None
    ) -> Reply:
        return as_json({"error": {"type": kind, "code": kind, "message": message, **(more or {})}}, status, headers)

    def _stream(self, number: int, item: Json) -> Reply:
        item = {"id": f"item_{number:04d}", "status": "completed", **item}
        response: Json = {"id": f"resp_{number:04d}", "object": "response", "status": "in_progress", "output": []}
        usage = {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 15,
        }
        events: list[tuple[str, Json]] = [
            ("response.created", {"response": response}),
            ("response.output_item.added", {"output_index": 0, "item": {**item, "status": "in_progress"}}),
            ("response.output_item.done", {"output_index": 0, "item": item}),
            (
                "response.completed",
                {"response": {**response, "status": "completed", "output": [item], "usage": usage}},
            ),
        ]
        return as_event_stream(
            [(name, {"type": name, "sequence_number": order, **data}) for order, (name, data) in enumerate(events)]
        )
