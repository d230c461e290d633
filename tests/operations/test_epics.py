"""An epic that is not there is said to be missing; silence would look like an epic without work."""

from typing import Any

import pytest

from tests.support.bench import Bench, a_task
from wvo_mcp.errors import NotFound

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CORE-7")]

ASKED: list[tuple[str, dict[str, Any]]] = [
    ("plan_next", {}),
    ("list_tasks", {}),
    ("critical_path", {}),
    ("context_write", {"topic": "t", "content": "c"}),
]


@pytest.mark.parametrize(("tool", "fields"), ASKED)
async def test_an_unknown_epic_is_told_with_what_was_meant(bench: Bench, tool: str, fields: dict[str, Any]) -> None:
    await bench.create(a_task("A", epic_id="checkout"))

    with pytest.raises(NotFound) as missing:
        await bench.call(tool, epic_id="chekout", **fields)

    assert missing.value.details["near"] == ["checkout"]
    assert missing.value.details["field"] == "epic_id"
    assert await bench.call(tool, epic_id="checkout", **fields)
