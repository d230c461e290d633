"""Results fit, errors name the field, schemas are small."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.bench import OWNER, Bench, a_task
from wvo_mcp.errors import InvalidInput
from wvo_mcp.operations import ALL, tools
from wvo_mcp.operations.results import MAX_CHARACTERS, compact, fit

values = st.recursive(
    st.none() | st.integers() | st.text(max_size=4_000),
    lambda inner: st.lists(inner, max_size=60) | st.dictionaries(st.text(max_size=9), inner, max_size=9),
    max_leaves=60,
)


@pytest.mark.requirement("CORE-6")
@given(st.dictionaries(st.sampled_from(["task", "events", "context", "x"]), values, max_size=4))
def test_what_fits_is_left_alone_and_what_is_cut_says_so(result: dict[str, object]) -> None:
    fitted = fit(result)

    if len(compact(result)) <= MAX_CHARACTERS:
        assert fitted == result
    else:
        assert fitted["clipped"]
        assert len(compact(fitted)) < len(compact(result))


@pytest.mark.requirement("CORE-6")
@pytest.mark.anyio
async def test_the_largest_answers_stay_below_twenty_thousand_characters(bench: Bench) -> None:
    bench.limits(wip_limit=500, agent_wip_limit=500)
    wide = "\n" * 15_999 + "x"
    await bench.create(
        a_task("T1", title="t" * 500, description=wide, acceptance=["a" * 16_000] * 5, labels=["l" * 100] * 50),
        *(a_task(f"D{i}", title='"' * 500, depends_on=["T1"]) for i in range(300)),
    )
    for number in range(9):
        await bench.call("context_write", topic=f"c{number}", content="\\" * 16_000, task_id="T1")
    answers = [
        await bench.claim(task_id="T1"),
        await bench.call("checkpoint", task_id="T1", summary=wide, next_steps=wide, files=["f" * 2_000] * 200),
        await bench.call("get_task", task_id="T1"),
        await bench.call("context_read", limit=100, max_tokens=5_000),
        await bench.call("list_tasks", limit=100),
        await bench.call("plan_next", limit=50),
        await bench.complete("T1", artifacts=["u" * 2_000] * 200),
        await bench.call("plan_next", limit=50),
        await bench.call("events", OWNER, limit=500),
        await bench.call("status", OWNER),
    ]

    assert max(len(compact(answer)) for answer in answers) <= MAX_CHARACTERS
    assert answers[6]["unlocked_count"] == 300


@pytest.mark.requirement("CORE-6")
@pytest.mark.anyio
async def test_a_list_is_read_to_its_end_by_cursor_even_when_pages_are_cut_short(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{i}", title="x" * 400) for i in range(150)))
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(20):
        page = await bench.call("list_tasks", limit=100, cursor=cursor)
        seen += [task["id"] for task in page["tasks"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == [f"T{i}" for i in range(150)]


@pytest.mark.requirement("CORE-7")
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("plan_next", {"limit": 0}, "limit"),
        ("plan_next", {"limits": 3}, "limits"),
        ("claim_task", {"task_id": "no spaces"}, "task_id"),
        ("complete_task", {"task_id": "T1"}, "summary"),
        ("create_tasks", {"tasks": [{"title": "x", "complexity": 11}]}, "tasks.0.complexity"),
        ("create_tasks", {"tasks": []}, "tasks"),
        ("create_tasks", {"tasks": [{"title": "x", "not_before": "tomorrow"}]}, "tasks.0.not_before"),
        ("list_tasks", {"cursor": "abc"}, "cursor"),
        ("update_task", {"task_id": "T1"}, "arguments"),
        ("context_write", {"topic": "t", "content": "a\x00"}, "content"),
    ],
)
async def test_a_wrong_field_is_named_with_what_was_expected(
    bench: Bench, tool: str, arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await bench.call(tool, **arguments)

    assert refused.value.details["field"] == field
    assert refused.value.details["problem"]


@pytest.mark.requirement("CORE-6")
def test_every_field_of_every_input_is_described() -> None:
    def undescribed(schema: dict[str, Any], path: str) -> list[str]:
        found: list[str] = []
        properties = schema.get("properties")
        if isinstance(properties, dict):
            for name, field in properties.items():
                found += [] if field.get("description") else [f"{path}.{name}"]
                found += undescribed(field, f"{path}.{name}")
                found += undescribed(field.get("items", {}), f"{path}.{name}[]")
        return found

    assert [missing for op in ALL.values() for missing in undescribed(op.schema, op.name)] == []


@pytest.mark.requirement("CORE-4")
def test_what_a_model_reads_of_the_tools_stays_small() -> None:
    def size(toolsets: frozenset[str] | None) -> int:
        shown = [{"name": op.name, "description": op.summary, "inputSchema": op.schema} for op in tools(toolsets)]
        return len(json.dumps(shown, separators=(",", ":"), ensure_ascii=False).encode())

    assert len(tools(frozenset({"core"}))) <= 14
    assert size(frozenset({"core"})) <= 12_000
    assert size(None) <= 44_000
