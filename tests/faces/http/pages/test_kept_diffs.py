"""What checkpoints differ in is read once, for the project whose checkpoints they are."""

from typing import Any, ClassVar, cast

import pytest

from wvo_mcp.faces.http.pages import task
from wvo_mcp.faces.http.pages.page import Visit

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-3", "WS-5")]


class _Visit:
    path: ClassVar = {"task_id": "T1"}

    def __init__(self, project: str) -> None:
        self.project, self.asked, self.services, self._store = project, 0, self, object()

    def get(self, port: object) -> object:
        return self._store

    async def ask(self, operation: str, **given: Any) -> dict[str, Any]:
        self.asked += 1
        return {"diff": f"of {self.project}"}


async def test_a_diff_of_one_project_is_never_shown_for_another_with_the_same_commit() -> None:
    same: list[dict[str, Any]] = [{"number": 1, "commit": "c" * 40}, {"number": 2, "commit": "d" * 40}]
    a, b = _Visit("a"), _Visit("b")
    for _ in range(2):
        for visit in (a, b):
            found = await task._diff(cast("Visit", visit), same, 2, 1, whole=False)
            assert found == {"diff": f"of {visit.project}"}
    assert (a.asked, b.asked) == (1, 1)
