"""Backups and restores that are killed, at every step; full disks and folders that may not be written."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from tests.faults.test_disk import not_writable
from tests.support.databases import sqlite
from tests.support.disks import mounted
from tests.support.invariants import verify
from tests.support.nursery import Nursery
from tests.support.scale import sized
from tests.support.stdio_client import Refused
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks
from wvo_mcp.domain.backup import named_time, regular_name
from wvo_mcp.store.sqlite.backup import quick_damage

pytestmark = [pytest.mark.sqlite]

Run = Callable[..., tuple[int, list[str]]]


def titles(database: Path) -> list[str]:
    with closing(sqlite.connect(str(database))) as raw:
        return [row[0] for row in raw.execute("SELECT id FROM tasks ORDER BY id")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs `crashing_backup` in a process of its own: its exit code, and the steps that it came to."""
    folder = tmp_path_factory.mktemp("crashing")
    with Nursery("tests.faults.crashing_backup", folder / "nursery.log") as nursery:

        def ran(action: str, database: Path, kill_at: int = 0) -> tuple[int, list[str]]:
            said = folder / "said"
            said.unlink(missing_ok=True)
            child = nursery.spawn(action=action, database=str(database), kill_at=kill_at, said=str(said))
            code = nursery.wait(child, 120)
            return code, said.read_text().splitlines() or [(folder / "nursery.log").read_text()]

        yield ran


@pytest.fixture
def filled(workspace: Workspace) -> Path:
    """A store with OLD in its backup and NEW after that; nobody is connected."""
    client = workspace.server("ann", WVO_TOOLSETS="all")
    client.call("create_tasks", some_tasks("OLD", *(f"P{n}" for n in range(40))))
    client.call("backup_create")
    folder = workspace.database.parent / "backups" / "db"
    good = max(folder.glob("state-*.db"))
    client.call("create_tasks", some_tasks("NEW"))
    assert client.end() == 0
    # A server that ends on a busy machine may leave its log, and whoever harms the file must harm the whole of it.
    with closing(sqlite.connect(str(workspace.database))) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # Whenever an hour begins, there is a backup of it already: else the next server would make one, with NEW in it.
    for other in [path for path in folder.glob("state-*.db") if path != good]:
        other.unlink()
    made = named_time(good.name)
    assert made is not None
    for hours in (1, 2):
        shutil.copy2(good, folder / regular_name(made[0] + timedelta(hours=hours), "db"))
    return workspace.database


def steps_of(run: Run, action: str, database: Path) -> list[str]:
    code, steps = run(action, database)
    assert code == 0, steps
    return steps


@pytest.mark.requirement("DR-1")
def test_a_killed_backup_keeps_the_good_ones_and_leaves_nothing_after_the_next(
    run: Run, workspace: Workspace, filled: Path, tmp_path: Path
) -> None:
    folder = filled.parent / "backups" / "db"
    before = {path: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}
    steps = steps_of(run, "create", copy(filled, tmp_path / "counted"))
    assert len(steps) >= 4, steps
    for number in range(1, len(steps) + 1, sized(full=1, short=2)):
        code, _ = run("create", filled, kill_at=number)
        assert code == -9
        for path in folder.iterdir():
            if path.suffix == ".db" and not path.name.startswith("."):
                assert "OLD" in titles(path)
        assert quick_damage(filled) is None
        if number < len(steps):
            assert {path: path.read_bytes() for path in before} == before
    client = workspace.server("bob", WVO_TOOLSETS="all")
    client.call("backup_create")
    assert {path.name for path in folder.iterdir()} == {".lock", *(p.name for p in folder.glob("state-*.db"))}
    verify(filled)


def copy(database: Path, state: Path) -> Path:
    shutil.copytree(database.parent, state)
    return state / database.name


@pytest.mark.requirement("DR-2")
def test_a_restore_that_is_killed_at_any_step_leaves_the_old_store_or_the_new_one(
    run: Run, filled: Path, tmp_path: Path
) -> None:
    steps = steps_of(run, "restore", copy(filled, tmp_path / "counted"))
    assert {"before the safety copy", "before the swap", "after the commit"} <= set(steps)
    seen: set[bool] = set()
    for number in range(1, len(steps) + 1, sized(full=1, short=2)):
        database = copy(filled, tmp_path / f"killed-{number}")
        assert run("restore", database, kill_at=number)[0] == -9
        assert quick_damage(database) is None, steps[number - 1]
        is_old = "NEW" in titles(database)
        seen.add(is_old)
        assert is_old == (steps.index("after the commit") >= number), steps[number - 1]
        verify(database)
        assert run("restore", database)[0] == 0
        assert "NEW" not in titles(database)
        assert not list(database.parent.glob("*.restoring*"))
    assert seen == {True, False}


@pytest.mark.requirement("DR-2")
def test_a_repair_killed_at_any_step_leaves_a_refused_or_intact_file(run: Run, filled: Path, tmp_path: Path) -> None:
    harmed = bytearray(filled.read_bytes())
    harmed[4096 * 3 : 4096 * 9] = b"\xa5" * 4096 * 6
    content = bytes(harmed)
    filled.write_bytes(content)
    steps = steps_of(run, "restore", copy(filled, tmp_path / "counted"))
    assert {"before the marker", "before the rename", "before the marker goes"} <= set(steps)
    for number in range(1, len(steps) + 1, sized(full=1, short=2)):
        database = copy(filled, tmp_path / f"killed-{number}")
        assert run("restore", database, kill_at=number)[0] == -9
        assert database.exists(), "never nothing"
        refused = quick_damage(database)
        assert refused is not None or steps[number - 1] == "after the swap", steps[number - 1]
        assert run("restore", database)[0] == 0
        assert quick_damage(database) is None
        assert "OLD" in titles(database)
        assert "NEW" not in titles(database)
        kept = [path for path in database.parent.glob("state.db.damaged-*") if path.read_bytes() == content]
        assert kept, "the damaged file is kept"
        verify(database)


@pytest.mark.requirement("DR-2")
def test_a_restore_beside_running_servers_is_seen_by_all_of_them(run: Run, workspace: Workspace, filled: Path) -> None:
    ann, bob = workspace.server("ann"), workspace.server("bob")
    ann.call("claim_task", {"task_id": "NEW"})
    bob.call("claim_task", {"task_id": "OLD"})
    assert run("restore", filled)[0] == 0

    for client in (ann, bob):
        with pytest.raises(Refused, match="not_found"):
            client.call("get_task", {"task_id": "NEW"})
    with pytest.raises(Refused):
        bob.call("complete_task", {"task_id": "OLD", "summary": "held before the restore"})
    ann.call("claim_task", {"task_id": "OLD"})
    ann.call("complete_task", {"task_id": "OLD", "summary": "held after it"})
    verify(filled)


@pytest.mark.requirement("DR-2")
def test_a_server_acknowledges_nothing_while_its_database_is_gone(run: Run, workspace: Workspace, filled: Path) -> None:
    client = workspace.server("ann")
    client.call("claim_task", {"task_id": "OLD"})
    filled.unlink()
    for tool, asked in {"plan_next": {}, "checkpoint": {"task_id": "OLD", "summary": "half"}}.items():
        with pytest.raises(Refused, match="store_unavailable") as refused:
            client.call(tool, asked)
        assert "doctor --repair" in refused.value.hint
    late = workspace.spawn("bob")
    assert late.wait(120) != 0
    assert "there are backups" in late.log.read_text() or "is still there" in late.log.read_text()
    assert not filled.exists()

    assert run("restore", filled)[0] == 0

    assert client.call("get_task", {"task_id": "OLD"})["task"]["status"] == "pending"
    client.call("claim_task", {"task_id": "OLD"})
    client.call("complete_task", {"task_id": "OLD", "summary": "done"})
    client.end()
    verify(filled)
    assert "OLD" in titles(filled)


@pytest.mark.requirement("DR-1", "CORE-7")
def test_a_disk_that_is_too_full_for_a_backup_is_told_and_the_store_goes_on(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=20m"):
        workspace = Workspace(tmp_path / "disk" / "project", tmp_path / "logs", WVO_TOOLSETS="all")
        try:
            client = workspace.server("ann")
            client.call("create_tasks", some_tasks("A"))
            for number in range(60):
                client.call("context_write", {"topic": f"topic {number}", "content": f"{number} " * 2_500})
            ballast = fill(tmp_path / "disk", leaving=200_000)

            with pytest.raises(Refused, match="has room for") as refused:
                client.call("backup_create")
            assert refused.value.code == "store_unavailable"
            folder = workspace.root / "state" / "backups" / "db"
            assert [path.name for path in folder.glob(".*partial*")] == []
            client.call("claim_task")
            ballast.unlink()
            client.call("backup_create")
            client.call("complete_task", {"task_id": "A", "summary": "done"})
            verify(workspace.database)
        finally:
            workspace.close()


def fill(folder: Path, leaving: int) -> Path:
    """A file that leaves so many bytes of the disk."""
    ballast = folder / "ballast"
    free = shutil.disk_usage(folder).free
    # A server may write at the same moment: then the disk is full before all of it is there.
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        file.write(b"x" * max(0, free - leaving))
    return ballast


@pytest.mark.requirement("DR-1", "CORE-7")
def test_a_disk_that_fills_up_during_a_backup_leaves_no_part_of_it(run: Run, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=20m"):
        workspace = Workspace(tmp_path / "disk" / "project", tmp_path / "logs", WVO_TOOLSETS="all")
        try:
            client = workspace.server("ann")
            client.call("create_tasks", some_tasks("A"))
            for number in range(60):
                client.call("context_write", {"topic": f"topic {number}", "content": f"{number} " * 2_500})
            client.call("backup_create")
            folder = workspace.root / "state" / "backups" / "db"
            good = {path.name: path.read_bytes() for path in folder.glob("state-*.db")}

            code, said = run("fill", workspace.database)

            assert code == 1
            assert json.loads(said[-1])["code"] == "store_unavailable"
            assert list(folder.glob(".*partial*")) == []
            assert {path.name: path.read_bytes() for path in folder.glob("state-*.db")} == good
            (tmp_path / "disk" / "ballast").unlink()
            assert client.call("backup_create")["verified"]
            verify(workspace.database)
        finally:
            workspace.close()


@pytest.mark.requirement("DR-1", "CORE-7")
def test_a_full_disk_refuses_each_kind_of_write_until_there_is_room(
    tmp_path: Path,
) -> None:
    with mounted(tmp_path / "disk", "size=8m"):
        workspace = Workspace(tmp_path / "disk" / "project", tmp_path / "logs", WVO_TOOLSETS="all")
        try:
            roadmap = workspace.root / "state" / "roadmap.yaml"
            roadmap.parent.mkdir(parents=True)
            roadmap.write_text("epics:\n  - id: E1\n    title: Shop\n    tasks:\n      - {id: R1, title: Rates}\n")
            client = workspace.server("ann")
            client.call("roadmap_sync")
            client.call("create_tasks", some_tasks("A", epic_id="E1", description="word " * 3_000))
            client.call("claim_task", {"task_id": "A"})
            client.call("backup_create")  # or the server makes one by itself at any moment, and its room is free again
            written = roadmap.read_bytes()
            ballast = fill(tmp_path / "disk", leaving=0)
            acknowledged = 0
            with pytest.raises(Refused, match="store_unavailable"):
                for _ in range(2_000):
                    client.call("checkpoint", {"task_id": "A", "summary": f"step {acknowledged} " * 200})
                    acknowledged += 1

            for tool in ("roadmap_export", "context_snapshot", "backup_create"):
                with pytest.raises(Refused) as refused:
                    client.call(tool)
                assert refused.value.code == "store_unavailable", (tool, str(refused.value))
            assert roadmap.read_bytes() == written
            late = workspace.spawn("late")
            assert client.call("get_task", {"task_id": "A"})["task"]["status"] == "in_progress"
            late.close()

            ballast.unlink()
            checkpoints = client.call("get_task", {"task_id": "A"})["checkpoints"]
            assert len(checkpoints) == min(5, acknowledged)
            client.call("checkpoint", {"task_id": "A", "summary": "after"})
            assert client.call("roadmap_export")["added"] == ["A"]
            client.call("context_snapshot")
            client.call("backup_create")
            assert workspace.server("late").call("plan_next")["in_progress"] == 1
            client.call("complete_task", {"task_id": "A", "summary": "done"})
            verify(workspace.database)
            with closing(sqlite.connect(str(workspace.database))) as raw:
                assert raw.execute("SELECT count(*) FROM checkpoints").fetchone() == (acknowledged + 1,)
        finally:
            workspace.close()


@pytest.mark.requirement("DR-1")
def test_an_unwritable_backup_folder_is_an_alert_until_the_next_good_backup(workspace: Workspace, filled: Path) -> None:
    folder = filled.parent / "backups" / "db"
    for old in folder.glob("state-*.db"):
        old.unlink()
    with not_writable(folder):
        client = workspace.server("ann", WVO_TOOLSETS="all")
        alert = eventually(lambda: alerts(client.call("status")))
        assert alert == ["backup_failed"]
        with pytest.raises(Refused, match="store_unavailable") as refused:
            client.call("backup_create")
        assert str(folder) in str(refused.value)
        client.call("claim_task")
    client.call("backup_create")
    assert alerts(client.call("status")) == []
    verify(filled)


def alerts(status: dict[str, object]) -> list[str]:
    found = status["alerts"]
    assert isinstance(found, list)
    return [row["kind"] for row in found]
