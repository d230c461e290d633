"""The scripted models answer as written, whatever a client does around the conversation."""

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.clients.models.anthropic import AnthropicModel
from tests.clients.models.gemini import GeminiModel
from tests.clients.models.openai import OpenAIModel
from tests.clients.models.script import THE_END, Break, Call, Fail, Hang, Json, Refuse, Say, ScriptedModel, all_text

RESULT: Json = {"type": "tool_result", "tool_use_id": "toolu_0000", "content": "fine"}
ASKED: Json = {"role": "user", "content": "Go on."}
ANSWERED: Json = {"role": "user", "content": [RESULT]}
TOOLS = [{"name": "mcp__wvo__plan_next"}, {"name": "Bash"}]


def post(model: ScriptedModel, path: str, body: Json, patience: float = 10) -> Any:
    headers = {"authorization": "Bearer secret"}
    request = urllib.request.Request(model.url + path, json.dumps(body).encode(), headers)  # noqa: S310 (loopback)
    with urllib.request.urlopen(request, timeout=patience) as reply:  # noqa: S310 (loopback)
        text = reply.read().decode()
    return json.loads(text) if reply.headers["content-type"] == "application/json" else text


def message(model: ScriptedModel, *messages: Json, tools: list[Json] = TOOLS) -> Json:
    return post(model, "/v1/messages?beta=true", {"messages": messages, "tools": tools})


def test_a_repeated_request_to_the_scripted_model_gets_the_same_answer() -> None:
    with AnthropicModel([Call("plan_next", {"limit": 1}), Say("Done.")]) as model:
        first, again = message(model, ASKED), message(model, ASKED)
        second = message(model, ASKED, ANSWERED)
        past_the_end = message(model, ASKED, ANSWERED, ANSWERED)

    assert first == again
    assert first["content"][0]["name"] == "mcp__wvo__plan_next"
    assert first["stop_reason"] == "tool_use"
    assert second["content"] == [{"type": "text", "text": "Done."}]
    assert past_the_end["content"] == [{"type": "text", "text": THE_END}]


def test_a_refusal_is_given_as_often_as_written_and_then_the_next_step_follows() -> None:
    refusal = Refuse(529, "overloaded_error", "Overloaded", times=2, headers={"retry-after": "0"})
    with AnthropicModel([refusal, Say("Done.")]) as model:
        for _ in range(2):
            with pytest.raises(urllib.error.HTTPError, match="529") as refused:
                message(model, ASKED)
            assert refused.value.headers["retry-after"] == "0"
            assert json.loads(refused.value.read())["error"]["type"] == "overloaded_error"
        assert message(model, ASKED)["content"][0]["text"] == "Done."


def test_a_model_that_hangs_or_breaks_off_does_so_as_often_as_written() -> None:
    asked = {"messages": [ASKED], "tools": TOOLS, "stream": True}
    with AnthropicModel([Hang(), Break("This is cut off."), Hang("This ends in silence."), Say("Done.")]) as model:
        with pytest.raises(TimeoutError):
            post(model, "/v1/messages", asked, patience=0.2)
        assert model.silent.wait(60), "the step is used up"
        with pytest.raises(http.client.IncompleteRead) as broken:
            post(model, "/v1/messages", asked)
        assert broken.value.partial.startswith(b"event: message_start")
        model.silent.clear()
        with pytest.raises(TimeoutError):
            post(model, "/v1/messages", asked, patience=0.2)
        assert model.silent.wait(60), "the step is used up"
        assert message(model, ASKED)["content"][0]["text"] == "Done."


@pytest.mark.parametrize(
    ("kind", "path", "body", "event"),
    [
        (AnthropicModel, "/v1/messages", {"messages": [ASKED], "tools": TOOLS, "stream": True}, '"type": "overloaded"'),
        (OpenAIModel, "/v1/responses", {"input": [], "tools": TOOLS}, '"type": "response.failed"'),
        (
            GeminiModel,
            "/v1beta/models/m:streamGenerateContent",
            {"tools": [{"functionDeclarations": TOOLS}]},
            '"error"',
        ),
    ],
)
def test_an_error_is_told_inside_of_a_stream_that_began_well(
    kind: type[ScriptedModel], path: str, body: Json, event: str
) -> None:
    with kind([Fail("overloaded", "No room"), Say("Done.")]) as model:
        failed, done = post(model, path, body), post(model, path, body)

    assert event in failed
    assert "No room" in failed
    assert "Done." in done


def test_side_requests_are_counted_separately_and_credentials_not_recorded() -> None:
    with AnthropicModel([Say("Done.")]) as model:
        message(model, ASKED, tools=[])
        post(model, "/v1/messages/count_tokens", {"messages": [ASKED], "tools": TOOLS})
        message(model, ASKED)

    assert len(model.requests) == 3
    assert [model.tool_names(turn.body) for turn in model.turns][-1] == {"plan_next"}
    assert not any("secret" in all_text(list(request.headers.values())) for request in model.requests)


def test_the_openai_stream_ends_with_the_completed_response() -> None:
    with OpenAIModel([Call("plan_next")]) as model:
        stream = post(model, "/v1/responses", {"input": [], "tools": [{"type": "function", "name": "shell"}]})

    *_, last = (json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: "))
    assert last["type"] == "response.completed"
    [item] = last["response"]["output"]
    assert (item["type"], item["namespace"], item["name"]) == ("function_call", "mcp__wvo", "plan_next")


def test_a_gemini_side_question_is_answered_in_the_shape_it_asks_for() -> None:
    schema = {"properties": {"model_choice": {"type": "STRING", "enum": ["pro", "flash"]}, "sure": {"type": "BOOLEAN"}}}
    with GeminiModel([Say("Done.")]) as model:
        path = "/v1beta/models/gemini-2.5-flash:generateContent"
        answer = post(model, path, {"contents": [], "generationConfig": {"responseSchema": schema}})

    told = json.loads(answer["candidates"][0]["content"]["parts"][0]["text"])
    assert told == {"model_choice": "pro", "sure": False}
