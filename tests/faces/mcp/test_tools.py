"""What a model reads of the tools, and what a call answers."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult, Tool
from pydantic import BaseModel

from tests.faces.mcp.served import Answer, a_server, nothing
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import NotFound, StoreBusy, WvoError
from wvo_mcp.operations import ALL, Audience, Effect, tools

pytestmark = pytest.mark.anyio
Call = Callable[..., Awaitable[CallToolResult]]


@asynccontextmanager
async def connected(root: Path, answer: Answer = nothing, mode: str = "auto", **more: Any) -> AsyncGenerator[Client]:
    async with Client(a_server(root, answer, **more), mode=mode) as client:
        yield client


async def listed(root: Path, toolsets: frozenset[str] | None) -> list[Tool]:
    async with connected(root, toolsets=toolsets) as client:
        return (await client.list_tools()).tools


def read_by_a_model(shown: list[Tool]) -> int:
    """Bytes of name, description and inputSchema as compact JSON."""
    parts = [{"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema} for tool in shown]
    return len(json.dumps(parts, separators=(",", ":"), ensure_ascii=False).encode())


def failing(error: Exception) -> Answer:
    async def fail(caller: Caller) -> Any:
        raise error

    return fail


def text_of(result: CallToolResult) -> str:
    (block,) = result.content
    assert block.type == "text"
    return block.text


@pytest.mark.requirement("CORE-4")
async def test_the_core_tools_are_few_and_cost_a_model_little(tmp_path: Path) -> None:
    shown = await listed(tmp_path, frozenset({"core"}))

    assert len(shown) <= 14
    assert read_by_a_model(shown) <= 12_000


@pytest.mark.requirement("CORE-4")
async def test_all_tools_together_stay_within_their_budget(tmp_path: Path) -> None:
    assert read_by_a_model(await listed(tmp_path, None)) <= 44_000


@pytest.mark.requirement("CORE-4")
async def test_a_few_tools_ask_to_be_shown_from_the_first_turn(tmp_path: Path) -> None:
    shown = await listed(tmp_path, frozenset({"core"}))

    always = [tool.name for tool in shown if (tool.meta or {}).get("anthropic/alwaysLoad") is True]
    assert 3 <= len(always) <= 6
    assert {"plan_next", "claim_task", "complete_task"} <= set(always)


@pytest.mark.requirement("CORE-6")
async def test_annotations_say_what_an_operation_does(tmp_path: Path) -> None:
    for tool in await listed(tmp_path, None):
        operation, hints = ALL[tool.name], tool.annotations
        assert hints is not None
        assert hints.read_only_hint is (operation.effect is Effect.READ)
        assert hints.destructive_hint is (operation.effect is Effect.DESTRUCTIVE)
        assert hints.idempotent_hint is operation.idempotent
        assert hints.open_world_hint is (operation.effect is Effect.EXTERNAL)


@pytest.mark.requirement("CORE-6")
async def test_codex_takes_every_core_tool_without_asking(tmp_path: Path) -> None:
    for tool in await listed(tmp_path, frozenset({"core"})):
        hints = tool.annotations
        assert hints is not None
        assert hints.read_only_hint or (hints.destructive_hint is False and hints.open_world_hint is False)


@pytest.mark.requirement("CORE-6")
async def test_every_field_of_every_tool_is_described(tmp_path: Path) -> None:
    for tool in await listed(tmp_path, None):
        assert tool.description
        assert len(tool.description) <= 4_096  # clients cut there
        assert tool.input_schema["type"] == "object"
        assert not undescribed(tool.input_schema, tool.name)
        assert tool.output_schema is None


def undescribed(schema: dict[str, Any], path: str) -> list[str]:
    missing: list[str] = []
    for name, field in schema.get("properties", {}).items():
        if not field.get("description"):
            missing.append(f"{path}.{name}")
        missing += undescribed(field, f"{path}.{name}")
        missing += undescribed(field.get("items", {}), f"{path}.{name}[]")
    return missing


async def test_what_people_decide_is_no_tool(tmp_path: Path) -> None:
    shown = {tool.name for tool in await listed(tmp_path, None)}

    people = {op.name for op in ALL.values() if op.audience is Audience.PEOPLE}
    assert {"approve", "pause", "cancel"} <= people
    assert not people & shown
    async with connected(tmp_path) as client:
        refused = await client.call_tool("approve", {"task_id": "T1"})
    assert refused.is_error
    assert text_of(refused).startswith("not_found: ")


class Found(BaseModel):
    entries: list[str]


@pytest.mark.requirement("CORE-6")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_result_is_the_same_as_structure_and_as_text(tmp_path: Path, mode: str) -> None:
    async def answer(caller: Caller) -> Found:
        return Found(entries=["Käse", caller.agent_id, caller.client or ""])

    async with connected(tmp_path, answer, mode=mode) as client:
        result = await client.call_tool("context_read", {})

    assert not result.is_error
    assert result.structured_content == {"entries": ["Käse", "mcp-agent", "mcp"]}
    assert text_of(result) == '{"entries":["Käse","mcp-agent","mcp"]}'


@pytest.mark.requirement("CORE-6")
async def test_a_result_has_at_most_20_000_characters(tmp_path: Path) -> None:
    async def answer(caller: Caller) -> Found:
        return Found(entries=["x" * 9_000] * 40)

    async with connected(tmp_path, answer) as client:
        result = await client.call_tool("context_read", {})

    assert len(text_of(result)) <= 20_000


@pytest.mark.requirement("CORE-7")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_an_error_is_the_whole_error_as_structure_and_its_sense_as_text(tmp_path: Path, mode: str) -> None:
    error = NotFound("task", "T9", ["T1", "T90"], field="task_id")
    async with connected(tmp_path, failing(error), mode=mode) as client:
        result = await client.call_tool("get_task", {"task_id": "T9"})

    assert result.is_error
    assert text_of(result) == f"not_found: No task 'T9'. Did you mean T1, T90? Hint: {NotFound.hint}"
    assert result.structured_content == {
        "error": {
            "code": "not_found",
            "message": "No task 'T9'. Did you mean T1, T90?",
            "retryable": False,
            "hint": NotFound.hint,
            "details": {"kind": "task", "id": "T9", "near": ["T1", "T90"], "field": "task_id"},
        }
    }


@pytest.mark.requirement("CORE-7")
async def test_what_may_be_tried_again_says_so(tmp_path: Path) -> None:
    async with connected(tmp_path, failing(StoreBusy("The store is busy."))) as client:
        result = await client.call_tool("plan_next", {})

    assert (result.structured_content or {})["error"]["retryable"] is True


@pytest.mark.requirement("CORE-7")
async def test_a_defect_is_logged_with_a_reference_and_shows_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(tmp_path, failing(KeyError("secret detail"))) as client:
        result = await client.call_tool("plan_next", {})
        alive = await client.call_tool("plan_next", {"limit": 0})

    error = (result.structured_content or {})["error"]
    assert error["code"] == "internal"
    assert error["details"]["ref"] in caplog.text
    assert "secret detail" in caplog.text
    assert "secret" not in text_of(result) + json.dumps(result.structured_content)
    assert text_of(alive).startswith("invalid_input: limit")


@pytest.mark.requirement("CORE-7")
@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"task_id": 5}, "task_id"),
        ({}, "task_id"),
        ({"task_id": "T1", "agent": "x"}, "agent"),
        ({"task_id": "x" * 1_000_000}, "task_id"),
        ({"task_id": "T1\x00"}, "task_id"),
        ({"task_id": "\ud800"}, "task_id"),
        ({"y" * 1_000_000: 1, "task_id": "T1"}, "y" * 100),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_bad_input_names_the_field_in_few_words(tmp_path: Path, arguments: dict[str, Any], field: str) -> None:
    async with connected(tmp_path) as client:
        result = await client.call_tool("get_task", arguments)

    assert text_of(result).startswith(f"invalid_input: {field}")
    assert len(text_of(result)) <= 20_000
    assert len(json.dumps(result.structured_content)) <= 20_000
    assert "Traceback" not in text_of(result)


@pytest.mark.requirement("CORE-7")
@pytest.mark.parametrize("letter", ["x", "ß", "\x01", "\ud800"])
async def test_an_error_that_quotes_a_megabyte_is_cut(tmp_path: Path, letter: str) -> None:
    long = letter * 1_000_000
    error = WvoError(long, quoted=long, many=[long] * 5_000, nested={"a": {"b": [long]}, long: 1})
    async with connected(tmp_path, failing(error)) as client:
        result = await client.call_tool("plan_next", {})

    assert len(text_of(result)) <= 20_000
    assert len(json.dumps(result.structured_content, ensure_ascii=False)) <= 20_000


@pytest.mark.requirement("CORE-7")
async def test_an_unknown_tool_is_not_found_and_its_likes_are_named(tmp_path: Path) -> None:
    async with connected(tmp_path) as client:
        result = await client.call_tool("claim_tasks", {})

    assert text_of(result).startswith("not_found: No tool 'claim_tasks'. Did you mean claim_task")
    assert "claim_task" in (result.structured_content or {})["error"]["details"]["near"]


@pytest.mark.requirement("CORE-7")
async def test_a_tool_of_a_toolset_that_is_off_says_where_it_belongs(tmp_path: Path) -> None:
    elsewhere = next(op for op in tools() if op.toolset != "core")
    async with connected(tmp_path, toolsets=frozenset({"core"})) as client:
        result = await client.call_tool(elsewhere.name, {})

    assert text_of(result).startswith("not_found: ")
    assert f"toolset {elsewhere.toolset}" in text_of(result)
    assert "WVO_" not in text_of(result)


async def test_every_call_is_heard(tmp_path: Path) -> None:
    calls: list[None] = []
    async with connected(tmp_path, heard=lambda: calls.append(None)) as client:
        await client.call_tool("plan_next", {"limit": 0})
        await client.call_tool("no_such_tool", {})
        await client.list_tools()

    assert len(calls) == 2
