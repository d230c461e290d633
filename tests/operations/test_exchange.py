"""import_tasks and export_tasks over a store."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.clock import StoppedClock
from tests.support.invariants import verify
from tests.support.services import Services
from tests.support.sessions import Servers
from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.task import Origin
from wvo_mcp.errors import DependencyCycle, InvalidInput, NotFound
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.exchange import WorkspaceExchange
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.orchestration.tasks import editing
from wvo_mcp.ports import Transaction
from wvo_mcp.store.sqlite.store import SqliteStore

SAMPLES = Path(__file__).parents[1] / "samples" / "imports"
pytestmark = [pytest.mark.anyio, pytest.mark.requirement("TASK-6")]


async def _edges(bench: Bench) -> set[tuple[str, str]]:
    return set(await bench.read(lambda tx: tx.state.dependency_edges()))


@pytest.mark.parametrize(
    ("name", "created", "done", "dropped", "blocked"),
    [
        ("checklist.md", 7, 2, 1, 1),
        ("taskmaster-0.43.1.json", 6, 1, 0, 1),
        ("beads-issues.jsonl", 4, 1, 1, 1),
    ],
)
async def test_a_file_is_told_first_then_taken_in_and_changes_nothing_twice(
    bench: Bench, tmp_path: Path, name: str, created: int, done: int, dropped: int, blocked: int
) -> None:
    (tmp_path / name).write_bytes((SAMPLES / name).read_bytes())
    told = await bench.call("import_tasks", path=name, dry_run=True)
    assert (await bench.read(lambda tx: tx.state.roadmap_tasks()), told["written"]) == ([], False)

    found = await bench.call("import_tasks", text=(SAMPLES / name).read_text())
    assert found == {**told, "written": True}
    counts = [found[f"{kind}_count"] for kind in ("created", "done", "dropped", "blocked", "existing")]
    assert counts == [created, done, dropped, blocked, 0]
    verify(bench.source)

    events = await bench.sql("SELECT count(*) AS n FROM events")
    again = await bench.call("import_tasks", path=name)
    assert (again["created_count"], again["existing_count"], again["written"]) == (0, created, False)
    assert await bench.sql("SELECT count(*) AS n FROM events") == events


async def test_what_is_done_in_the_file_keeps_nothing_waiting(bench: Bench) -> None:
    await bench.call("import_tasks", path=None, text=(SAMPLES / "taskmaster-0.43.1.json").read_text())

    assert await _edges(bench) == {("tm-2.2", "tm-2.1"), ("tm-3", "tm-2"), ("tm-later-2", "tm-later-1")}
    task = await bench.task("tm-3")
    assert (task.status, task.blocked_reason, task.metadata) == (
        "blocked",
        "deferred in Task Master",
        {"imported_from": "taskmaster"},
    )
    assert (await bench.task("tm-2.1")).parent_id == "tm-2"


async def test_tasks_may_wait_for_what_the_store_has_and_what_nobody_has_names_its_line(bench: Bench) -> None:
    await bench.create(a_task("OLD"))
    await bench.call(
        "import_tasks", text="- [ ] N1: new (depends on OLD-X)\n".replace("OLD-X", "N2") + "- [ ] N2: two\n"
    )
    await bench.call("import_tasks", text='{"id": "N3", "title": "t", "depends_on": ["OLD", "N1"]}', epic_id="E9")
    assert await _edges(bench) == {("N1", "N2"), ("N3", "OLD"), ("N3", "N1")}
    assert (await bench.task("N3")).epic_id == "E9"

    for text, line in (
        ('{"id":"a","title":"t"}\n{"id":"b","title":"t","depends_on":["nobody"]}', 2),
        ('{"id":"a","title":"t","milestone_id":"M9"}', 1),
    ):
        with pytest.raises(InvalidInput) as caught:
            await bench.call("import_tasks", text=text)
        assert caught.value.details["line"] == line
    assert not await bench.read(lambda tx: tx.tasks.known(["a"]))


async def test_a_task_of_a_file_has_the_values_that_were_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[editing.Draft] = []
    create = editing.create

    async def noted(tx: Transaction, drafts: Sequence[editing.Draft], origin: Origin) -> list[str]:
        made.extend(drafts)
        return await create(tx, drafts, origin)

    monkeypatch.setattr(editing, "create", noted)
    line = '{"id": "T", "title": "t", "not_before": "2031-01-01T01:00:00+01:00", "labels": ["x"]}'

    await bench.call("import_tasks", text=line)

    assert dict(made[0].fields) == {
        "title": "t",
        "not_before": datetime(2031, 1, 1, tzinfo=UTC),
        "labels": ["x"],
        "metadata": {"imported_from": "jsonl"},
    }
    assert (await bench.task("T")).not_before == datetime(2031, 1, 1, tzinfo=UTC)


async def test_a_circle_is_refused_with_its_lines(bench: Bench) -> None:
    text = "- [ ] A1: a (depends on C1)\n- [ ] B1: b (depends on A1)\n- [ ] D1: d\n  - [ ] C1: c (depends on B1)\n"
    with pytest.raises(DependencyCycle) as caught:
        await bench.call("import_tasks", text=text)
    assert sorted(set(caught.value.details["lines"])) == [1, 2, 4]
    parent = "- [ ] W1: whole\n  - [ ] Q1: part (depends on W1)\n"
    with pytest.raises(DependencyCycle):
        await bench.call("import_tasks", text=parent)
    waiting = '{"id":"a","title":"a","status":"blocked","waiting_for":["b"]}\n{"id":"b","title":"b","depends_on":["a"]}'
    with pytest.raises(DependencyCycle):
        await bench.call("import_tasks", text=waiting)
    assert await _edges(bench) == set()


@pytest.mark.parametrize("path", ["../outside.md", "/etc/passwd", ".", "a\x00b"])
async def test_only_files_of_the_workspace_are_read(bench: Bench, path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await bench.call("import_tasks", path=path)
    assert caught.value.details["field"] == "path"


async def test_a_file_that_is_not_there_and_a_link_that_leads_away_are_told(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "plan.md").write_text("- [ ] a\n")
    (tmp_path / "away.md").symlink_to("/etc/passwd")
    with pytest.raises(NotFound) as caught:
        await bench.call("import_tasks", path="plans.md")
    assert "plan.md" in caught.value.details["near"]
    for odd in ("no.**", "no.[", "no-such-folder/no.md"):
        with pytest.raises(NotFound) as caught:
            await bench.call("import_tasks", path=odd)
        assert caught.value.details["near"] == []
    os.mkfifo(tmp_path / "pipe.md")
    for wrong in ("away.md", "pipe.md"):
        with pytest.raises(InvalidInput):
            await bench.call("import_tasks", path=wrong)
    with pytest.raises(InvalidInput):
        await bench.call("import_tasks", path="plan.md", text="- [ ] b")
    for wrong in ("state/state.db", "../x.jsonl", "none/x.jsonl"):
        with pytest.raises(InvalidInput):
            await bench.call("export_tasks", OWNER, path=wrong)


_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "description": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30),
    "priority": st.sampled_from(["critical", "high", "medium", "low"]),
    "complexity": st.integers(1, 10),
    "business_value": st.floats(0, 20),
    "epic_id": st.sampled_from(["E1", "E2"]),
    "milestone_id": st.just("M1"),
    "labels": st.lists(st.sampled_from(["a", "b c", "\u00fc"]), max_size=2, unique=True),
    "files": st.lists(st.sampled_from(["src/**", "docs/*.md"]), max_size=2, unique=True),
    "capabilities": st.just(["gpu"]),
    "acceptance": st.just(["it works", "it lasts"]),
    "requires_approval": st.just(True),
    "not_before": st.just("2031-01-01T00:00:00.000Z"),
    "max_attempts": st.integers(1, 5),
    "type": st.sampled_from(["review", "parsing"]),
}


@st.composite
def plans(draw: st.DrawFn) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = []
    for place in range(draw(st.integers(1, 8))):
        names = draw(st.lists(st.sampled_from([*_FIELDS]), max_size=4, unique=True))
        earlier = [f"t{other}" for other in range(place)]
        linked = st.lists(st.sampled_from(earlier), max_size=2, unique=True) if earlier else st.just([])
        task = a_task(f"t{place}", **{name: draw(_FIELDS[name]) for name in names}, depends_on=draw(linked))
        if earlier and draw(st.integers(0, 3)) == 0:
            # A parent waits for its children, so only one that none of its ancestors waits for may be.
            task["parent_id"] = f"t{place - 1}"
            task["depends_on"] = []
        tasks.append(task)
    return tasks


async def _a_milestone(tx: Transaction) -> None:
    await tx.tasks.ensure_epic("E1", "The first", 3)
    await tx.tasks.put_milestone("M1", {"title": "First", "epic_id": "E1", "due_at": tx.now})


async def _opened(folder: Path) -> Bench:
    clock, servers = StoppedClock(), Servers()
    store = SqliteStore(folder / "state" / "state.db", clock, servers, synchronous="OFF")
    await store.open()
    services = Services(
        store=store,
        policy=Policy(),
        roadmap=RoadmapSource(folder / "state" / "roadmap.yaml"),
        directives=DirectiveFiles(folder),
        exchange=WorkspaceExchange(folder),
    )
    return Bench(services, store, clock, servers)


_SAME = (
    "id", "title", "description", "epic_id", "milestone_id", "parent_id", "type", "priority", "complexity", "business_value",
    "labels", "files", "capabilities", "acceptance", "requires_approval", "not_before", "max_attempts", "status", "score",
    "tail", "unmet_deps", "open_children", "gates", "blocked_reason",
)  # fmt: skip


async def _all(bench: Bench) -> dict[str, dict[str, Any]]:
    tasks = await bench.read(lambda tx: tx.state.roadmap_tasks())
    return {task.id: {name: getattr(task, name) for name in _SAME} for task in tasks}


@settings(max_examples=12)
@given(plan=plans(), data=st.data())
async def test_what_is_exported_gives_the_same_tasks_and_edges_in_an_empty_store(
    tmp_path_factory: pytest.TempPathFactory, plan: list[dict[str, Any]], data: st.DataObject
) -> None:
    folders = [tmp_path_factory.mktemp(name) for name in ("here", "there")]
    here, there = [await _opened(folder) for folder in folders]
    try:
        await here.write(_a_milestone)
        await here.create(*plan)
        blocked = data.draw(st.sampled_from([task["id"] for task in plan]))
        await here.call("block_task", task_id=blocked, reason="waits for someone")
        await here.call("export_tasks", OWNER, path="plan.jsonl")
        await there.call("import_tasks", text=(folders[0] / "plan.jsonl").read_text())

        assert await _all(there) == await _all(here)
        assert await _edges(there) == await _edges(here)
        for query in (
            "SELECT id, title, wip_limit FROM epics ORDER BY id",
            "SELECT id, title, epic_id FROM milestones",
        ):
            assert await there.sql(query) == await here.sql(query)
    finally:
        await here.store.close()
        await there.store.close()


async def test_the_export_has_the_open_plan_and_what_a_blocked_task_waits_for(bench: Bench, tmp_path: Path) -> None:
    await bench.create(a_task("a"), a_task("b", depends_on=["a"]), a_task("c", depends_on=["b"]), a_task("d"))
    await bench.done("a", caller=BOB)
    await bench.call("block_task", task_id="d", reason="later", waiting_for=["c"])
    await bench.claim(ANN, "b")
    told = await bench.call("export_tasks", OWNER, path="plan.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "plan.jsonl").read_text().splitlines()]

    assert (told["tasks"], told["bytes"]) == (3, (tmp_path / "plan.jsonl").stat().st_size)
    assert lines == [
        {"kind": "task", "id": "b", "title": "Do b"},
        {"kind": "task", "id": "c", "title": "Do c", "depends_on": ["b"]},
        {"kind": "task", "id": "d", "title": "Do d", "status": "blocked", "reason": "later", "waiting_for": ["c"]},
    ]


async def test_parents_and_waits_across_batches_find_their_order(bench: Bench) -> None:
    """A part that something else waits for, for which its whole waits: they stand in one batch, whatever the size."""
    parts = [{"id": f"p{n}", "title": "t", "parent_id": "whole"} for n in range(450)]
    joint = {"id": "joint", "title": "t", "depends_on": [part["id"] for part in parts[:450:10]]}
    whole = {"id": "whole", "title": "t", "depends_on": ["joint"]}
    text = "\n".join(json.dumps(each) for each in (joint, whole, *reversed(parts)))
    found = await bench.call("import_tasks", text=text, format="jsonl")

    assert found["created_count"] == 452
    assert (await bench.task("whole")).open_children == 450
    verify(bench.source)
