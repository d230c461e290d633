"""The files of a task on the way: a slider over checkpoints, any two compared, and the way back, tried first."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.support.bench import ANN
from tests.support.web import Visitor, controls, visited
from tests.support.yard import Yard
from wvo_mcp.domain.lease import Caller, Role
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.workspaces import pausing

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1", "DASH-2", "WS-5")]


class Shop:
    def __init__(self, yard: Yard, visitor: Visitor, worker: Caller, path: Path) -> None:
        self.yard, self.visitor, self.worker, self.path = yard, visitor, worker, path

    async def kept(self, **files: str) -> None:
        self.yard.write(self.path, files)
        await ALL["checkpoint"](self.yard.services, self.worker, {"task_id": "T1", "summary": str(files)[:50]})

    async def events(self) -> list[str]:
        return await self.yard.bench.kinds("T1")


@pytest.fixture
async def shop(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Shop]:
    """Nobody here acknowledges a pause."""
    monkeypatch.setattr(pausing, "FORCED_SECONDS", 0.05)
    worker, place = await yard.opened("T1")
    async with visited(yard.services) as visitor:
        yield Shop(yard, visitor, worker, place.path)


async def test_a_task_without_checkpoints_says_how_they_come(shop: Shop) -> None:
    html = await shop.visitor.page("/tasks/T1/files")

    assert "No checkpoint of its files yet" in html
    assert "wvo-mcp workspace-checkpoints T1" in html


async def test_each_checkpoint_is_a_link_that_shows_what_it_changed(shop: Shop) -> None:
    await shop.kept(**{"new.py": "1\n"})
    await shop.kept(**{"new.py": "2\n", "more.py": "x\n"})

    html = await shop.visitor.page("/tasks/T1/files")
    first = await shop.visitor.page("/tasks/T1/files?checkpoint=1")
    whole = await shop.visitor.page("/tasks/T1/files?checkpoint=2&whole=yes")
    two = await shop.visitor.page("/tasks/T1/files?checkpoint=1&since=2")
    now = await shop.visitor.page("/tasks/T1/files?checkpoint=now&since=1")

    for number in (1, 2):
        assert f'href="/tasks/T1/files?checkpoint={number}"' in html
    assert (">-1" in html, ">+2" in html, ">+x" in html) == (True, True, True)
    assert (">+1" in first, ">+x" in first) == (True, False)
    assert ">-1" not in whole
    assert "Checkpoint 1 compared with checkpoint 2" in " ".join(two.split())
    assert ">-2" in two
    assert "The files now compared with checkpoint 1" in " ".join(now.split())


@pytest.mark.parametrize("query", ["checkpoint=x", "since=-1", "checkpoint=99999999999", "when=now"])
async def test_an_address_that_means_nothing_is_refused(shop: Shop, query: str) -> None:
    assert (await shop.visitor.get(f"/tasks/T1/files?{query}")).status_code == 400


async def test_a_checkpoint_that_is_not_there_is_not_found(shop: Shop) -> None:
    await shop.kept(**{"new.py": "1\n"})

    assert (await shop.visitor.get("/tasks/T1/files?checkpoint=9")).status_code == 404
    assert "No checkpoint" in await shop.visitor.page("/tasks/T1/files?checkpoint=1&since=9")


async def test_a_diff_of_two_checkpoints_is_read_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop.kept(**{"new.py": "1\n"})
    asked: list[int | None] = []
    diff = type(shop.yard.files).diff

    async def counted(self: object, task_id: str, number: int | None, **more: object) -> object:
        asked.append(number)
        return await diff(self, task_id, number, **more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(type(shop.yard.files), "diff", counted)
    for _ in range(3):
        await shop.visitor.page("/tasks/T1/files?checkpoint=1")
        await shop.visitor.page("/tasks/T1/files?checkpoint=now")

    assert asked == [1, None, None, None]


async def test_a_rollback_is_shown_first_then_done_and_undone(shop: Shop) -> None:
    await shop.kept(**{"new.py": "1\n"})
    await shop.kept(**{"new.py": "2\n"})
    fields = {"task_id": "T1", "mode": "full", "to": "1", "back": "/tasks/T1/files"}

    tried = await shop.visitor.do("workspace_rollback", **fields, dry_run="true")
    before = (shop.path / "new.py").read_text()
    asked = await shop.visitor.do("workspace_rollback", **fields)
    done = await shop.visitor.do("workspace_rollback", **fields, confirmed="yes")
    after = (shop.path / "new.py").read_text()
    page = await shop.visitor.page("/tasks/T1/files")
    undone = await shop.visitor.do("workspace_rollback", task_id="T1", mode="full", to="2", confirmed="yes")

    assert (tried.status_code, before) == (200, "2\n")
    assert "nothing was changed" in tried.text
    assert ("new.py" in tried.text, ">-2" in tried.text, ">+1" in tried.text) == (True, True, True)
    assert 'name="confirmed" value="yes"' in tried.text
    assert 'name="dry_run"' not in tried.text.partition("Only some files")[0]
    assert (asked.status_code, "Do it" in asked.text, after) == (200, True, "1\n")
    assert (done.status_code, done.headers["location"]) == (303, "/tasks/T1/files?did=workspace_rollback")
    assert "Preview: undo it" in controls(page)
    assert (undone.status_code, (shop.path / "new.py").read_text()) == (303, "2\n")


async def test_who_works_there_is_told_of_a_rollback_by_a_person(shop: Shop) -> None:
    await shop.kept(**{"new.py": "1\n"})
    await shop.kept(**{"new.py": "2\n"})

    await shop.visitor.do("workspace_rollback", task_id="T1", mode="full", to="1", confirmed="yes")

    told = await ALL["messages"](shop.yard.services, ANN, {"task_id": "T1"})
    rollback = next(one for one in told["messages"] if one["kind"] == "rollback")
    assert "new.py: your files are as in checkpoint 1 again (a person asked for it)" in rollback["body"]
    rows = await shop.yard.bench.sql("SELECT agent_id FROM events WHERE kind = 'workspace.rolled_back'")
    assert [row["agent_id"] for row in rows] == ["pat"]


async def test_some_of_the_files_that_would_go_back_are_chosen_on_the_preview(shop: Shop) -> None:
    await shop.kept(**{"a.py": "1\n", "b.py": "1\n"})
    await shop.kept(**{"a.py": "2\n", "b.py": "2\n"})
    part = {"task_id": "T1", "mode": "partial", "to": "1", "files": ["a.py"]}

    whole = await shop.visitor.do("workspace_rollback", task_id="T1", mode="full", to="1", dry_run="true")
    tried = await shop.visitor.do("workspace_rollback", **part, dry_run="true")
    done = await shop.visitor.do("workspace_rollback", **part, confirmed="yes")

    for name in ("a.py", "b.py"):
        assert f'type="checkbox" name="files" value="{name}"' in whole.text
    assert ('name="files" value="a.py"' in tried.text, "1 other changed file would stay" in tried.text) == (True, True)
    assert done.status_code == 303
    assert ((shop.path / "a.py").read_text(), (shop.path / "b.py").read_text()) == ("1\n", "2\n")


async def test_a_preview_of_nothing_offers_nothing_to_do(shop: Shop) -> None:
    await shop.kept(**{"a.py": "1\n"})

    tried = await shop.visitor.do("workspace_rollback", task_id="T1", mode="full", to="1", dry_run="true")

    assert ("no file would change" in tried.text, "Do it</button> <a" in tried.text) == (True, False)


async def test_a_rollback_is_for_people(shop: Shop) -> None:
    await shop.kept(**{"new.py": "1\n"})

    for role in (Role.VIEWER, Role.AGENT):
        async with visited(shop.yard.services, role) as visitor:
            page = await visitor.page("/tasks/T1/files")
            refused = await visitor.do("workspace_rollback", task_id="T1", mode="full", to="0", confirmed="yes")
        assert "An operator can roll the workspace back" in page
        assert refused.status_code in (403, 409)
    assert (shop.path / "new.py").read_text() == "1\n"


async def test_a_removed_workspace_offers_no_rollback_and_still_shows_its_checkpoints(shop: Shop) -> None:
    await shop.kept(**{"new.py": "1\n"})
    await shop.yard.complete(shop.worker)
    await shop.yard.landed("T1")
    await shop.yard.places.close("T1")

    html = await shop.visitor.page("/tasks/T1/files")

    assert "The task has no workspace now" in html
    assert (controls(html), ">+1" in html) == ([], True)
