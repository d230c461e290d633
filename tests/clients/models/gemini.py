"""The Gemini wire format."""

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


class GeminiModel(ScriptedModel):
    """The Gemini API: `generateContent` and `streamGenerateContent` of any model."""

    prefix = "mcp_wvo_"

    def offers_tools(self, body: Json) -> bool:
        return bool(self._declarations(body))

    def tool_names(self, body: Json) -> set[str]:
        names = (declared["name"] for declared in self._declarations(body))
        return {name.removeprefix(self.prefix) for name in names if name.startswith(self.prefix)}

    def outcomes(self, body: Json) -> list[ToolOutcome]:
        parts = (part for content in body.get("contents", []) for part in content.get("parts", []))
        responses = (part["functionResponse"]["response"] for part in parts if "functionResponse" in part)
        return [ToolOutcome(all_text(response), "error" in response) for response in responses]

    def side_answer(self, request: Request) -> Reply | None:
        path = request.path.partition("?")[0]
        if path.endswith(":countTokens"):
            return as_json({"totalTokens": 10})
        if not path.endswith((":generateContent", ":streamGenerateContent")):
            return self._refusal(404, "NOT_FOUND", "This model is scripted and has no such endpoint.")
        if not self.offers_tools(request.body):
            return self._content(request, [{"text": self._of_schema(request.body)}])
        return None

    def play(self, request: Request, step: Played) -> Reply:
        match step:
            case Refuse():
                return self._refusal(step.status, step.kind, step.message, step.headers, step.more)
            case Say():
                return self._content(request, [{"text": step.text}])
            case Fail():
                error = {"code": 503, "message": step.message, "status": step.kind}
                return as_event_stream([(None, {"error": error})])
            case Call():
                call = {"name": step.tool if step.own else self.prefix + step.tool, "args": step.arguments}
                return self._content(request, [{"functionCall": call, "thoughtSignature": "c2lnbmVk"}])

    @staticmethod
    def _declarations(body: Json) -> list[Json]:
        return [declared for tool in body.get("tools", []) for declared in tool.get("functionDeclarations", [])]

    @staticmethod
    def _of_schema(body: Json) -> str:
        """An answer to a side question (which model to route to, whom to speak next) in the shape it asked for."""
        config = body.get("generationConfig") or {}
        schema = config.get("responseJsonSchema") or config.get("responseSchema") or {}
        plain: Json = {"boolean": False, "number": 1, "integer": 1}
        fields = {
            name: (shape.get("enum") or [plain.get(str(shape.get("type")).lower(), "flash")])[0]
            for name, shape in schema.get("properties", {}).items()
        }
        return json.dumps(fields) if fields else "ok"

    def _refusal(
        self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None, more: Json | None = None
    ) -> Reply:
        return as_json({"error": {"code": status, "message": message, "status": kind, **(more or {})}}, status, headers)

    def _content(self, request: Request, parts: list[Json]) -> Reply:
        candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
        usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
        answer = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "scripted"}
        if ":streamGenerateContent" in request.path:
            return as_event_stream([(None, answer)])
        return as_json(answer)
