"""Agents that people start get a worktree of their own, and what they complete there is submitted."""

import os
import shutil
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.bench import ANN, BOB, OWNER, a_task
from tests.support.yard import Yard
from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.merging import EntryState
from wvo_mcp.domain.rules import Rules
from wvo_mcp.errors import Conflict, Forbidden, NotFound, StaleLease, StoreUnavailable
from wvo_mcp.execution.workspaces import places
from wvo_mcp.execution.workspaces.alone import alone
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.tasks import review
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.places import PlaceAsk

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-1", "MERGE-1")]


async def ask(yard: Yard, name: str, caller: Caller = ANN, **arguments: Any) -> dict[str, Any]:
    return await ALL[name](yard.services, caller, arguments)


async def claimed(yard: Yard, task_id: str, caller: Caller = ANN, **fields: Any) -> int:
    yard.bench.limits(wip_limit=50, agent_wip_limit=50)
    await yard.bench.create(a_task(task_id, **fields))
    return (await yard.bench.claim(caller, task_id))["lease"]["token"]


async def opened(yard: Yard, task_id: str, caller: Caller = ANN, **fields: Any) -> tuple[dict[str, Any], Path]:
    await claimed(yard, task_id, caller, **fields)
    place = await ask(yard, "workspace_open", caller, task_id=task_id)
    return place, Path(place["path"])


async def test_what_is_completed_in_a_workspace_is_submitted(yard: Yard) -> None:
    head = yard.git("rev-parse", "HEAD")
    place, path = await opened(yard, "T1")
    assert (place["branch"], place["base"], path) == ("wvo/T1", head, yard.folder / "T1")
    (row,) = await yard.bench.sql("SELECT lease_token, state, mode FROM workspaces")
    assert row == {"lease_token": 1, "state": "open", "mode": "worktree"}
    yard.write(path, {"new.py": "b = 2\n"})

    done = await ask(yard, "complete_task", task_id="T1", summary="done")

    commit = yard.git("rev-parse", "refs/wvo/submit/T1/1")
    assert done["submission"] == {"entry_id": "m-1", "state": "queued", "commit": commit}
    assert (done["task"]["status"], done["unlocked"]) == ("in_review", [])
    assert yard.show(commit, "new.py") == "b = 2"
    assert yard.git("rev-parse", "HEAD") == head


async def test_a_second_call_gives_the_same_workspace(yard: Yard) -> None:
    place, path = await opened(yard, "T1")
    yard.write(path, {"half.py": "b = 2\n"})
    yard.again()

    again = await ask(yard, "workspace_open", task_id="T1", lease_token=1)

    same = ("workspace_id", "path", "branch", "base", "env")
    assert [again[name] for name in same] == [place[name] for name in same]
    assert again["reused"]
    assert (path / "half.py").exists()
    assert await yard.states("T1") == ["open"]
    assert (await yard.bench.kinds("T1")).count("task.workspace") == 1


async def test_only_who_holds_the_task_gets_one(yard: Yard) -> None:
    await yard.bench.create(a_task("T0"))
    await claimed(yard, "T1")

    with pytest.raises(StaleLease, match="pending and not claimed by you"):
        await ask(yard, "workspace_open", task_id="T0")
    with pytest.raises(StaleLease):
        await ask(yard, "workspace_open", BOB, task_id="T1")
    with pytest.raises(StaleLease):
        await ask(yard, "workspace_open", task_id="T1", lease_token=7)
    assert await yard.bench.sql("SELECT * FROM workspaces") == []
    assert not yard.folder.exists()


async def test_a_full_disk_is_said_before_anything_is_made(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    await claimed(yard, "T1")
    monkeypatch.setattr(places, "LEAST_FREE", 1 << 62)

    with pytest.raises(StoreUnavailable, match="is full"):
        await ask(yard, "workspace_open", task_id="T1")

    assert await yard.states("T1") == []


async def test_a_disk_that_fills_meanwhile_leaves_nothing_half_made(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git is the real one, under a limit of the size of files."""
    (yard.root / "big.bin").write_bytes(os.urandom(1 << 20))
    yard.save("big")
    await claimed(yard, "T1")
    small = tmp_path / "small"
    small.mkdir()
    (small / "git").write_text(f'#!/bin/sh\ntrap "" XFSZ\nulimit -f 64\nexec {shutil.which("git")} "$@"\n')
    (small / "git").chmod(0o755)

    with monkeypatch.context() as inside:
        inside.setenv("PATH", f"{small}:{os.environ['PATH']}")
        with pytest.raises(Conflict, match=r"unable to write file big\.bin"):
            await ask(yard, "workspace_open", task_id="T1")

    assert await yard.states("T1") == ["failed"]
    await ask(yard, "workspace_open", task_id="T1")
    assert (yard.folder / "T1" / "big.bin").stat().st_size == 1 << 20


async def test_in_a_tampered_repository_no_workspace_is_opened(yard: Yard) -> None:
    await opened(yard, "T1")
    await claimed(yard, "T2")
    yard.git("config", "core.fsmonitor", "touch never")

    with pytest.raises(Forbidden, match=r"core\.fsmonitor"):
        await ask(yard, "workspace_open", task_id="T2")
    with pytest.raises(Forbidden, match=r"core\.fsmonitor"):
        await ask(yard, "workspace_open", task_id="T1")

    violations = await yard.bench.read(lambda tx: tx.violations.page(None, 5))
    assert {row["rule"] for row in violations} == {"repository_changed"}
    assert await yard.states("T2") == []


async def test_another_repository_than_that_of_the_stores_work_is_refused(yard: Yard, tmp_path: Path) -> None:
    await opened(yard, "T1")
    await claimed(yard, "T2")
    other = Yard(tmp_path / "other", yard.bench).begin(**{"other.py": "c = 1\n"})

    for task_id in ("T1", "T2"):
        with pytest.raises(Conflict, match=r"another repository|belongs to the repository"):
            await ask(other, "workspace_open", task_id=task_id)

    assert await yard.states("T2") == []
    assert await yard.places.suspected() == []
    assert await other.places.suspected() == []


async def test_a_remote_that_was_added_is_still_the_same_repository(yard: Yard) -> None:
    await opened(yard, "T1")
    yard.git("remote", "add", "origin", "https://example.org/shop.git")
    await yard.places.accept()

    assert (await opened(yard, "T2"))[1].is_dir()


async def test_a_worker_gets_the_place_that_it_has(yard: Yard) -> None:
    worker, place = await yard.opened("T1")

    found = await ask(yard, "workspace_open", worker, task_id="T1")

    assert (found["path"], found["workspace_id"]) == (str(place.path), place.workspace_id)
    assert "env" not in found
    with pytest.raises(Forbidden):
        await ask(yard, "workspace_open", worker, task_id="T2")


async def test_setup_is_named_and_not_run(yard: Yard) -> None:
    yard.rules.rules = Rules(setup="touch prepared.log")

    place, path = await opened(yard, "T1")

    assert place["setup"] == "touch prepared.log"
    assert int(place["env"]["WVO_PORT_BASE"]) > 1024
    assert not (path / "prepared.log").exists()


async def test_a_worker_that_goes_on_where_an_agent_worked_has_its_setup_run_once(yard: Yard) -> None:
    yard.rules.rules = Rules(setup="echo prepared >> prepared.log")
    _, path = await opened(yard, "T1")
    await yard.bench.call("release_task", task_id="T1")
    worker = await yard.claim("T1")
    assert (await yard.open(worker)).path == path
    await yard.bench.call("release_task", worker, task_id="T1")

    place = await yard.open(await yard.claim("T1"))

    assert (place.path, place.setup) == (path, None)
    assert (path / "prepared.log").read_text() == "prepared\n"


async def test_a_workspace_of_an_earlier_lease_stays_and_its_holder_hears_of_it(yard: Yard) -> None:
    _, path = await opened(yard, "T1")
    yard.write(path, {"half.py": "b = 2\n"})
    await yard.bench.call("release_task", task_id="T1")
    await yard.bench.claim(BOB, "T1")

    done = await ask(yard, "complete_task", BOB, task_id="T1", summary="done in the checkout")

    assert (done["task"]["status"], done["submission"]) == ("done", None)
    assert (path / "half.py").exists()
    assert yard.refs("refs/wvo") == []
    assert f"its workspace {path} is of an earlier lease. It stays as it is" in done["notices"][0]
    assert (await yard.bench.kinds("T1"))[-1] == "task.completed"


async def test_the_next_holder_takes_it_over_by_opening_it(yard: Yard) -> None:
    _, path = await opened(yard, "T1")
    yard.write(path, {"half.py": "b = 2\n"})
    await yard.bench.call("release_task", task_id="T1")
    await yard.bench.claim(BOB, "T1")

    place = await ask(yard, "workspace_open", BOB, task_id="T1")
    done = await ask(yard, "complete_task", BOB, task_id="T1", summary="done")

    assert place["path"] == str(path)
    assert yard.show(done["submission"]["commit"], "half.py") == "b = 2"


async def test_a_workspace_on_another_host_is_left_to_it(yard: Yard) -> None:
    place, path = await opened(yard, "T1")
    await yard.bench.write(lambda tx: tx.workspaces.change(place["workspace_id"], {"host": "elsewhere"}))

    done = await ask(yard, "complete_task", task_id="T1", summary="done")

    assert (done["task"]["status"], done["submission"]) == ("done", None)
    assert f"its workspace {path} is on the host elsewhere" in done["notices"][0]


async def test_with_merge_off_the_task_is_done_and_nobody_is_told(yard: Yard) -> None:
    yard.rules.rules = Rules(merge=None)
    _, path = await opened(yard, "T1")
    yard.write(path, {"new.py": "b = 2\n"})

    done = await ask(yard, "complete_task", task_id="T1", summary="done")

    assert (done["task"]["status"], done["submission"]) == ("done", None)
    assert "notices" not in done


async def test_who_was_overtaken_while_it_was_made_does_not_get_it(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    await claimed(yard, "T1")
    open_place = places.Worktrees.open

    async def slow(self: places.Worktrees, wanted: PlaceAsk) -> Any:
        if wanted.lease_token == 1:
            await yard.bench.call("release_task", task_id="T1")
            await yard.bench.claim(BOB, "T1")
            monkeypatch.setattr(places.Worktrees, "open", open_place)
            await ask(yard, "workspace_open", BOB, task_id="T1")
        return await open_place(self, wanted)

    monkeypatch.setattr(places.Worktrees, "open", slow)

    with pytest.raises(StaleLease):
        await ask(yard, "workspace_open", task_id="T1")

    (row,) = await yard.bench.sql("SELECT lease_token, state FROM workspaces")
    assert row == {"lease_token": 2, "state": "open"}
    done = await ask(yard, "complete_task", BOB, task_id="T1", summary="done", evidence=["nothing to do"])
    assert done["no_changes"]


async def test_work_that_came_back_goes_on_where_it_could_not_land(yard: Yard) -> None:
    _, path = await opened(yard, "T1")
    yard.write(path, {"code.py": "a = 2\n"})
    await ask(yard, "complete_task", task_id="T1", summary="done")
    yard.write(yard.root, {"code.py": "a = 3\n"})
    tip = yard.save("a person's")

    async def back(tx: Transaction) -> None:
        await tx.submissions.change("m-1", {"tip_sha": tip})
        entry = await tx.submissions.get("m-1")
        assert entry is not None
        await review.sent_back(tx, entry, EntryState.CONFLICT, "it conflicts", {"paths": ["code.py"]})

    await yard.bench.write(back)
    await yard.bench.claim(ANN, "T1")

    place = await ask(yard, "workspace_open", task_id="T1")

    assert (place["path"], place["base"], place["conflicts"]) == (str(path), tip, ["code.py"])
    yard.write(path, {"code.py": "a = 5\n"})
    done = await ask(yard, "complete_task", task_id="T1", summary="mended")
    assert yard.git("rev-parse", f"{done['submission']['commit']}^") == tip


async def test_several_callers_at_once_get_one_workspace(yard: Yard) -> None:
    """Each as another process sees it: they share the files and the store alone."""
    await claimed(yard, "T1")
    found: list[dict[str, Any]] = []

    async def call() -> None:
        yard.again()
        found.append(await ask(yard, "workspace_open", task_id="T1"))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(call)

    assert len({one["workspace_id"] for one in found}) == 1
    assert await yard.states("T1") == ["open"]


async def test_what_another_process_makes_is_not_undone(yard: Yard) -> None:
    place, _ = await opened(yard, "T1")
    await yard.bench.write(lambda tx: tx.workspaces.change(place["workspace_id"], {"state": "making"}))
    async with alone(yard.folder, "task-T1", 0):
        assert await yard.places.recover() == []
        assert await yard.states("T1") == ["making"]

    await yard.places.recover()
    assert await yard.states("T1") == ["failed"]


async def listed(yard: Yard) -> dict[str, dict[str, Any]]:
    found = await ask(yard, "workspaces", OWNER)
    return {one["task_id"]: one for one in found["workspaces"]}


@pytest.mark.requirement("WS-7")
async def test_people_see_every_workspace_and_what_is_wrong_with_it(yard: Yard) -> None:
    assert (await ask(yard, "workspaces", OWNER))["workspaces"] == []
    places_of = {one: (await opened(yard, one))[0]["workspace_id"] for one in ("T1", "T2", "T3", "T4", "T5")}
    yard.write(yard.folder / "T2", {"half.py": "b = 2\n"})
    yard.write(yard.folder / "T3", {"whole.py": "c = 3\n"})
    await ask(yard, "complete_task", task_id="T3", summary="done")
    shutil.rmtree(yard.folder / "T4")
    await yard.bench.write(lambda tx: tx.workspaces.change(places_of["T5"], {"host": "elsewhere"}))
    objects, before = yard.git("count-objects"), yard.refs()

    found = await listed(yard)

    assert [found[one].get("unsubmitted") for one in ("T1", "T2", "T3", "T4", "T5")] == [False, True, False, None, None]
    assert found["T3"]["task_status"] == "in_review"
    assert (found["T4"]["problem"], found["T5"]["problem"]) == ("its folder is gone", "it is on the host elsewhere")
    assert found["T1"]["bytes"] > 20
    assert "problem" not in found["T2"]
    assert (yard.git("count-objects"), yard.refs()) == (objects, before)
    yard.git("config", "core.fsmonitor", "touch never")
    assert "core.fsmonitor" in (await listed(yard))["T1"]["problem"]


async def test_a_workspace_with_work_in_it_is_never_removed(yard: Yard) -> None:
    _, path = await opened(yard, "T1")
    yard.write(path, {"half.py": "b = 2\n"})
    with pytest.raises(Conflict, match="it holds work that was not submitted"):
        await ask(yard, "workspace_close", task_id="T1")
    await ask(yard, "complete_task", task_id="T1", summary="done")
    for caller in (ANN, OWNER):
        with pytest.raises((Conflict, StaleLease)):
            await ask(yard, "workspace_close", caller, task_id="T1")
    assert (path / "half.py").exists()


async def test_an_empty_workspace_is_removed_by_its_holder_or_a_person(yard: Yard) -> None:
    for task_id in ("T1", "T2"):
        await opened(yard, task_id)
    with pytest.raises(StaleLease):
        await ask(yard, "workspace_close", BOB, task_id="T1")
    with pytest.raises(StaleLease):
        await ask(yard, "workspace_close", OWNER, task_id="T1")

    assert (await ask(yard, "workspace_close", task_id="T1"))["closed"]
    await yard.bench.call("release_task", task_id="T2")
    assert (await ask(yard, "workspace_close", OWNER, task_id="T2"))["closed"]

    assert await yard.states("T1") == await yard.states("T2") == ["removed"]
    assert yard.refs("refs/heads") == ["refs/heads/main"]
    with pytest.raises(NotFound):
        await ask(yard, "workspace_close", OWNER, task_id="T2")


@pytest.mark.requirement("WS-10")
async def test_people_see_how_long_checkpoints_take(yard: Yard) -> None:
    await opened(yard, "T1")
    assert not (await ask(yard, "workspaces", OWNER)).get("latencies")
    assert await yard.guard.take(ANN, "T1", Trigger.CALL) is not None
    await yard.guard.timing.keep(yard.bench.store, ANN)
    shown = (await ask(yard, "workspaces", OWNER))["latencies"]
    assert [(one["kind"], one["count"]) for one in shown] == [("checkpoint", 1), ("validation", 1)]
    assert 0 < shown[0]["p50_ms"] <= shown[0]["p95_ms"] <= shown[0]["p99_ms"]
    rates = (await ask(yard, "workspaces", OWNER))["rates"]
    assert rates == [{"kind": "checkpoint_failed", "rate": 0.0, "count": 1}]
