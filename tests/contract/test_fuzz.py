"""Every tool, fed from its own schema with what no client should send: a typed error or success, never a defect."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.history import Limits
from tests.support.invariants import verify
from tests.support.scale import FULL, sized
from tests.support.stdio_client import StdioClient
from tests.support.workspace import Workspace

ROUNDS = {"sqlite": sized(full=200, short=70), "postgres": sized(full=60, short=15)}
"""Most of the way through a call is the same on both; what PostgreSQL may choke on are texts and numbers."""

CODES = {
    "invalid_input", "not_found", "illegal_transition", "dependency_cycle", "not_ready", "already_claimed", "wip_limit",
    "stale_lease", "conflict", "request_id_reused", "reservation_conflict", "forbidden", "paused",
    "not_configured",  # a workspace where there is no git
}  # fmt: skip

TEXTS = [
    "", " ", "T1", "T2", "t1", "a" * 64, "a" * 65, "'; DROP TABLE tasks; --", "../../etc/passwd", "%s%n", "\x00", "\ud800",
    "ü" * 300, "\u202e\u0000", "NaN", "null", "-1", "1e309", "{}", "[]", "**/*", "!", "\\", "src/**", "AND OR NEAR(", '"', "*",
    "\n" * 2_000, "2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0000-00-00", "x" * 16_001, "x" * 1_000_000,
]  # fmt: skip
NUMBERS: list[Any] = [0, 1, -1, 2, 5, 10, 11, 50, 100, 2**31, 2**63, -(2**63), 2**64, 10**40, 0.5, -0.0, 1e308]
ODD: list[Any] = [None, True, False, [], {}, [[[]]], {"a": {"b": []}}, ["T1", 1, None], [["T1"]], "T1"]


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


class Fuzzer:
    """Arguments made from a tool's input schema: mostly of the right type, with extremes; often wrong."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def arguments(self, schema: dict[str, Any]) -> Any:
        chance = self._random.random()
        if chance < 0.03:
            return self._random.choice([None, [], "x", 7, {"x": deep(200)}])
        given: dict[str, Any] = {}
        for name, field in schema.get("properties", {}).items():
            if (name in schema.get("required", []) and self._random.random() < 0.93) or self._random.random() < 0.3:
                given[name] = self.value(field)
        if self._random.random() < 0.08:
            given[self._random.choice(["extra", "__class__", "x" * 2_000, "tasks"])] = self._random.choice(ODD)
        return given

    def value(self, schema: dict[str, Any]) -> Any:
        if self._random.random() < 0.12:
            return self._random.choice([*ODD, *TEXTS, *NUMBERS, deep(100)])
        if "enum" in schema:
            return self._random.choice([*schema["enum"], *schema["enum"], "none of them"])
        kind = schema.get("type")
        if kind == "string":
            return self._random.choice(["T1", "T2", "T3", *TEXTS])
        if kind in ("integer", "number"):
            return self._random.choice(NUMBERS)
        if kind == "boolean":
            return self._random.choice([True, False])
        if kind == "array":
            return [self.value(schema.get("items", {})) for _ in range(self._random.choice([0, 1, 1, 2, 3]))]
        if kind == "object":
            return self.arguments(schema)
        return self._random.choice(ODD)


def cases(tools: list[dict[str, Any]], seed: int, rounds: int) -> Iterator[tuple[str, Any]]:
    fuzzer = Fuzzer(seed)
    for round_ in range(rounds):
        for tool in tools:
            yield tool["name"], fuzzer.arguments(tool["inputSchema"]) if round_ else {}


@pytest.mark.requirement("CORE-7", "CORE-11", "TASK-7")
def test_no_input_from_outside_makes_a_defect(place: Workspace, server: StdioClient, store_kind: str) -> None:
    seed = random.randrange(2**32) if FULL else 20_260_302  # only the large runs look for what is new
    server.call("create_tasks", {"tasks": [{"id": f"T{n}", "title": "x"} for n in (1, 2, 3)]})
    tools = server.result("tools/list")["tools"]
    if store_kind == "postgres":
        tools = [tool for tool in tools if not tool["name"].startswith("backup_")]  # they start pg_dump
    seen: set[str] = set()

    for tool, arguments in cases(tools, seed, ROUNDS[store_kind]):
        asked = {"name": tool, "arguments": arguments}
        answer = server.receive(server.post("tools/call", asked))
        shown = f"seed {seed}: {tool} {json.dumps(arguments)[:500]} -> {json.dumps(answer)[:500]}"
        if "error" in answer:
            # Arguments that are no object at all break the protocol, not the tool.
            assert not isinstance(arguments, dict | None), shown
            assert answer["error"]["code"] == -32602, shown
            continue
        result = answer["result"]
        assert len(result["content"][0]["text"]) <= 20_000, shown
        if result["isError"]:
            code = result["structuredContent"]["error"]["code"]
            seen.add(code)
            assert code in CODES, shown
            assert "Traceback" not in result["content"][0]["text"], shown

    assert server.call("plan_next")["wip_limit"] == 500
    assert {"invalid_input", "not_found"} <= seen
    assert "internal" not in place.logged()
    verify(place.source, Limits(store=500, agent=500))
