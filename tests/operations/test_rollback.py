"""The way back in a workspace: by checkpoint, by file, by what violates the policy; tried first, and undone (WS-5)."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest

from tests.support.bench import ANN, OWNER
from tests.support.clock import seconds_between
from tests.support.yard import Yard, digests
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.policy import SafetyPolicy
from wvo_mcp.domain.validation import Finding, Severity
from wvo_mcp.errors import Conflict, InvalidInput, NotFound, StaleLease, WvoError
from wvo_mcp.execution.workspaces import rollback
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.workspaces import pausing, reverting

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-5")]
FORBIDDEN = [Finding(Severity.CRITICAL, "forbidden", "secret/a.py", "secret/a.py is forbidden.")]


class Work:
    """T1 in the hands of `worker`, with what its tools need."""

    def __init__(self, yard: Yard, worker: Caller, path: Path) -> None:
        self.yard, self.worker, self.path = yard, worker, path
        self._kept = 0
        self.rollbacks = yard.rollbacks

    async def call(self, tool: str, caller: Caller | None = None, **arguments: Any) -> Mapping[str, Any]:
        return await ALL[tool](self.yard.services, caller or self.worker, {"task_id": "T1", **arguments})

    async def back(self, caller: Caller | None = None, **arguments: Any) -> Mapping[str, Any]:
        return await self.call("workspace_rollback", caller, **arguments)

    async def kept(self, **files: str) -> None:
        """A checkpoint with these files."""
        self.yard.write(self.path, files)
        self._kept += 1
        await self.call("checkpoint", summary=f"step {self._kept}")

    def state(self) -> dict[str, str]:
        return digests(self.path, [".git"])


@pytest.fixture
async def work(yard: Yard) -> Work:
    worker, place = await yard.opened("T1")
    return Work(yard, worker, place.path)


@pytest.mark.both_stores
async def test_any_checkpoint_can_be_gone_back_to_and_every_rollback_undone(work: Work) -> None:
    await work.kept(**{"new.py": "1\n"})
    first = work.state()
    await work.kept(**{"new.py": "2\n", "more.py": "x\n"})
    (work.path / "code.py").unlink()
    last = work.state()
    done = await work.back(to=1)
    assert work.state() == first, "and not only to the newest one"
    assert (sorted(done["reverted"]), done["to"], done["undo"]) == (["code.py", "more.py", "new.py"], 1, 3)
    undone = await work.back(to=done["undo"])
    assert work.state() == last
    again = await work.back(to=undone["undo"])
    assert (work.state(), again["to"]) == (first, undone["undo"])
    begun = await work.back(to=0)
    assert (begun["reverted"], (work.path / "new.py").exists()) == (["new.py"], False)


async def test_a_trial_changes_nothing_and_shows_what_would_change(work: Work) -> None:
    await work.kept(**{"new.py": "1\n"})
    work.yard.write(work.path, {"new.py": "2\n"})
    before, refs = work.state(), work.yard.git("for-each-ref")
    objects = work.yard.git("count-objects", "-v")
    tried = await work.back(to=1, dry_run=True)
    assert (tried["reverted"], "-2\n+1" in tried["diff"], "undo" in tried) == (["new.py"], True, False)
    assert (work.state(), work.yard.git("for-each-ref")) == (before, refs)
    assert work.yard.git("count-objects", "-v") == objects
    assert len(await work.yard.bench.read(lambda tx: tx.snapshots.of_task("T1", 9))) == 1


async def test_named_files_go_back_and_the_others_stay(work: Work) -> None:
    await work.kept(**{"src/one.py": "1\n", "src/two.py": "1\n"})
    work.yard.write(work.path, {"src/one.py": "bad\n", "src/two.py": "good\n", "src/three.py": "good\n"})
    done = await work.back(mode="partial", files=["src/one.py"], to=1)
    assert (done["reverted"], done["kept_count"]) == (["src/one.py"], 2)
    assert [(work.path / f"src/{one}.py").read_text() for one in ("one", "two", "three")] == ["1\n", "good\n", "good\n"]
    with pytest.raises(Conflict, match=r"no\.py"):
        await work.back(mode="partial", files=["src/one.py", "no.py"], to=1)
    nothing = await work.back(mode="partial", files=["src/one.py"])
    assert (nothing["reverted"], "undo" in nothing) == ([], False), "what is as it was is not said to be done"


@pytest.mark.requirement("WS-4")
async def test_only_what_violates_goes_back_to_when_it_did_not(work: Work) -> None:
    await work.kept(**{"good.py": "1\n"})
    await work.kept(**{"secret/a.py": "x\n", ".github/workflows/ci.yml": "on: push\n"})
    work.yard.judge.now = replace(SafetyPolicy(), forbidden=("secret/**",))
    work.yard.write(work.path, {"good.py": "2\n", "secret/b.py": "y\n"})
    done = await work.back(mode="smart")
    assert sorted(done["reverted"]) == [".github/workflows/ci.yml", "secret/a.py", "secret/b.py"]
    assert (done["to"], done["kept_count"]) == (1, 1), "checkpoint 2 held some of it already"
    assert (work.path / "good.py").read_text() == "2\n"
    assert not (work.path / "secret").exists()
    assert (await work.back(mode="smart"))["reverted"] == []


async def test_who_does_not_hold_the_task_changes_nothing_in_it(work: Work) -> None:
    await work.kept(**{"new.py": "1\n"})
    before = work.state()
    with pytest.raises(WvoError):
        await work.back(ANN, to=0)
    with pytest.raises(StaleLease):
        await work.back(to=0, lease_token=99)
    with pytest.raises(NotFound):
        await work.back(to=77)
    with pytest.raises(InvalidInput, match="files"):
        await work.back(mode="partial")
    with pytest.raises(InvalidInput, match="files"):
        await work.back(files=["x"])
    for name in ("../other", "/etc/passwd", ".git/config", str(work.path) + "-evil/x"):
        with pytest.raises(Conflict, match="not a file of the workspace"):
            await work.back(mode="partial", files=[name], to=0)
    assert work.state() == before


@pytest.mark.both_stores
@pytest.mark.requirement("WS-9", "CTX-4")
async def test_a_person_pauses_who_works_there_and_it_hears_what_became_of_its_files(work: Work) -> None:
    await work.kept(**{"new.py": "1\n"})
    bench = work.yard.bench

    async def answer() -> None:
        while not (told := (await work.call("get_task")).get("notices")):
            await anyio.lowlevel.checkpoint()
        assert "pause on T1: Write nothing" in told[0]
        await work.call("get_task")

    answers: list[Mapping[str, Any]] = []

    async def roll_back() -> None:
        answers.append(await work.back(OWNER, to=0))

    async with anyio.create_task_group() as group:
        group.start_soon(answer)
        group.start_soon(roll_back)
    (done,) = answers
    assert (done["reverted"], "forced" in done) == (["new.py"], False)
    rolled, resumed = (await work.call("get_task"))["notices"]
    assert "rollback on T1: new.py: your files are as in the beginning" in rolled
    assert "Checkpoint 1 has what was there" in rolled
    assert "resume on T1" in resumed
    assert not await bench.read(pausing.standing)
    assert (await bench.kinds("T1"))[-3:].count("workspace.rolled_back") == 1


@pytest.mark.requirement("WS-9")
async def test_pause_rollback_and_resume_are_on_record_for_people(work: Work) -> None:
    await work.kept(**{"new.py": "1\n"})

    async def answer() -> None:
        while not (await work.call("get_task")).get("notices"):
            await anyio.lowlevel.checkpoint()
        await work.call("get_task")

    async with anyio.create_task_group() as group:
        group.start_soon(answer)
        await work.back(OWNER, to=0)

    rows = await work.yard.bench.sql("SELECT kind, data FROM events WHERE task_id = 'T1' ORDER BY seq")
    told = [(row["kind"], json.loads(row["data"])) for row in rows]
    assert [data.get("kind") or kind for kind, data in told if kind.startswith(("message.", "workspace."))] == [
        *("pause", "workspace.rolled_back", "rollback", "resume"),
    ]
    (rolled,) = (data for kind, data in told if kind == "workspace.rolled_back")
    assert (rolled["to"], rolled["undo"], rolled["forced"]) == (0, 1, False)


@pytest.mark.requirement("WS-9")
async def test_a_pause_that_nobody_acknowledges_is_forced_and_said(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pausing, "FORCED_SECONDS", 0.05)
    await work.kept(**{"new.py": "1\n"})
    done = await work.back(OWNER, to=0)
    assert (done["forced"], done["undo"]) == (True, 1)
    (told,) = (await work.call("get_task"))["notices"]
    assert "rollback on T1" in told, "it need not hear of a pause that is over"
    (message,) = await work.yard.bench.read(lambda tx: tx.messages.waiting(work.worker.agent_id, 5))
    assert seconds_between(message["created_at"], message["deadline"]) < 1, "people hear soon of one that writes on"


@pytest.mark.requirement("WS-9")
async def test_two_rollbacks_at_once_and_one_whose_author_died(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pausing, "FORCED_SECONDS", 0.05)
    await work.kept(**{"new.py": "1\n"})
    bench = work.yard.bench
    store: Any = bench.store
    async with pausing.paused(store, work.worker, "T1", "one"):
        with pytest.raises(Conflict, match="another rollback"):
            await work.back(to=0)
    await bench.write(lambda tx: pausing._begin(tx, "T1", "its author dies"), OWNER)
    assert (await bench.read(pausing.standing)).keys() == {"T1"}
    bench.clock.advance(pausing.LONGEST.total_seconds() + 1)
    assert not await bench.read(pausing.standing)
    await bench.call("heartbeat", work.worker, task_id="T1")
    assert (await work.back(OWNER, to=0))["reverted"] == ["new.py"]


@pytest.mark.requirement("WS-5")
async def test_one_that_was_cut_off_is_finished_by_whoever_comes_next(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    await work.kept(**{"new.py": "1\n", "src/a.py": "1\n"})
    begun = work.state()
    work.yard.write(work.path, {"new.py": "2\n", "src/a.py": "2\n"})
    monkeypatch.setattr(rollback, "_apply", _dies)
    with pytest.raises(Conflict, match="No space"):
        await work.back(to=1)
    monkeypatch.undo()
    assert work.yard.git("for-each-ref", "refs/wvo/rollback") != ""
    assert await work.rollbacks.finish() == []
    assert work.state() == begun
    assert work.yard.git("for-each-ref", "refs/wvo/rollback") == ""


def _dies(*_: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.requirement("WS-9")
async def test_what_the_policy_forbids_goes_back_and_the_third_time_a_person_must_look(work: Work) -> None:
    work.yard.judge.now = replace(SafetyPolicy(), forbidden=("secret/**",))
    bench = work.yard.bench
    store: Any = bench.store
    own = replace(work.worker, admitted=work.worker.admitted)
    for _ in range(2):
        work.yard.write(work.path, {"secret/a.py": "x\n", "good.py": "1\n"})
        found = await reverting.critical(store, own, work.rollbacks, "T1", 1, FORBIDDEN)
        assert found is not None
        assert found.rolled.reverted == ("secret/a.py",)
    work.yard.write(work.path, {"secret/a.py": "x\n"})
    assert await reverting.critical(store, own, work.rollbacks, "T1", 1, FORBIDDEN) is None
    assert await bench.status("T1") == ["blocked"]
    assert ("violation", "critical", "T1") in await bench.alerts()
    assert (work.path / "secret/a.py").exists(), "a person looks at it"
