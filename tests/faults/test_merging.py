"""SIGKILL before and after each git command and each write while work is landed, sent back and verified (MERGE-7)."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import merging
from tests.faults.placing import yard_of
from tests.support.nursery import Nursery

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("MERGE-7", "MERGE-2")]


@pytest.fixture
def nursery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nursery]:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Nursery("tests.faults.merging", tmp_path / "nursery.log") as started:
        yield started


async def check(folder: Path, policy: str, crash_at: int) -> None:
    """Whatever happened before: each entry has its one end, the target holds what passed, and nothing is left over."""
    await merging.lived(folder, policy)
    yard, store = await yard_of(folder)
    try:
        await yard.places.recover()
        entries = await yard.bench.sql("SELECT task_id, state, landed_sha, commit_sha FROM merge_entries ORDER BY seq")
        states = {entry["task_id"]: entry["state"] for entry in entries}
        assert states == {"T1": "merged", "T2": "conflict", "T3": "red"}, crash_at
        assert await yard.bench.status("T1", "T2", "T3") == ["done", "pending", "pending"], crash_at
        assert (await yard.bench.kinds("T1")).count("task.completed") == 1
        for task_id in ("T2", "T3"):
            assert (await yard.bench.kinds(task_id)).count("task.returned") == 1, crash_at
            resume = await yard.bench.read(lambda tx, one=task_id: tx.memory.last_checkpoint(one))
            assert resume is not None
            assert "could not land" in resume.summary
        assert entries[0]["landed_sha"] == yard.git("rev-parse", "main"), crash_at
        commits = 3 if policy == "merge" else 2
        assert int(yard.git("rev-list", "--count", "main")) <= commits, "it landed twice"
        assert (yard.show("main", "code.py"), yard.show("main", "new.py")) == ("a = 2", "1")
        assert yard.git("status", "--porcelain") == "M mine.py\nAM staged.txt", crash_at
        assert ((yard.root / "mine.py").read_text(), yard.git("show", ":staged.txt")) == ("edited\n", "staged"), (
            crash_at
        )
        assert (yard.root / "code.py").read_text() == "a = 2\n"
        for entry in entries:
            assert yard.git("rev-parse", f"refs/wvo/submit/{entry['task_id']}/1") == entry["commit_sha"]
        rows = await yard.bench.sql("SELECT task_id, state FROM workspaces ORDER BY task_id")
        assert {row["task_id"]: row["state"] for row in rows} == {"T1": "removed", "T2": "open", "T3": "open"}
        assert list((yard.root / ".git").rglob("*.lock")) == []
        assert json.loads(
            (await yard.bench.sql("SELECT findings FROM merge_entries WHERE task_id = 'T2'"))[0]["findings"]
        )
    finally:
        await store.close()


async def every(nursery: Nursery, tmp_path: Path, step: int, policy: str = "rebase") -> int:
    folder, kept, record = tmp_path / "work", tmp_path / "kept", tmp_path / "record"
    folder.mkdir()
    await merging.begun(folder)
    shutil.copytree(folder, kept, symlinks=True)
    whole = {"folder": str(folder), "crash_at": 0, "record": str(record), "policy": policy}
    assert nursery.wait(nursery.spawn(**whole)) == 0
    await check(folder, policy, 0)
    calls = int(record.read_text())
    for crash_at in range(1, calls + 1, step):
        shutil.rmtree(folder)  # at the same place: rows and git know worktrees by it
        shutil.copytree(kept, folder, symlinks=True)
        code = nursery.wait(nursery.spawn(folder=str(folder), crash_at=crash_at, policy=policy))
        # What happens beside a landing (predictions, the slot) takes a few calls more or less.
        assert code == -9 or crash_at > calls * 0.9, "it ended before its time"
        await check(folder, policy, crash_at)
    return calls


async def test_a_kill_at_any_step_of_a_landing_loses_and_repeats_nothing(nursery: Nursery, tmp_path: Path) -> None:
    assert await every(nursery, tmp_path, 61) > 100


@pytest.mark.full
@pytest.mark.parametrize("policy", ["rebase", "squash", "merge"])
async def test_a_kill_at_each_step_of_a_landing_loses_and_repeats_nothing(
    nursery: Nursery, tmp_path: Path, policy: str
) -> None:
    await every(nursery, tmp_path, 1, policy)
