"""What follows when files do not keep to the policy: said once to who works there, shown to people, taken back (WS-4)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, a_task
from tests.support.yard import Yard
from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.policy import SafetyPolicy
from wvo_mcp.errors import Conflict, NotFound, StoreBusy, WvoError
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import validating
from wvo_mcp.execution.workspaces.judging import Judging
from wvo_mcp.operations import ALL

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-4", "WS-3")]


class Work:
    """T1 in the hands of `worker`, in `path`."""

    def __init__(self, yard: Yard, worker: Caller, path: Path) -> None:
        self.yard, self.worker, self.path = yard, worker, path

    async def call(self, tool: str, caller: Caller | None = None, **arguments: Any) -> Mapping[str, Any]:
        return await ALL[tool](self.yard.services, caller or self.worker, {"task_id": "T1", **arguments})

    async def saves(self, step: str, **files: str) -> Mapping[str, Any]:
        self.yard.write(self.path, files)
        return await self.call("checkpoint", summary=step)

    async def kept(self) -> list[Mapping[str, Any]]:
        return list((await self.call("workspace_checkpoints"))["checkpoints"])

    def policy(self, **fields: Any) -> None:
        self.yard.judge.now = replace(SafetyPolicy(), **fields)


@pytest.fixture
async def work(yard: Yard) -> Work:
    worker, place = await yard.opened("T1", files=["src/**", "*.py"])
    return Work(yard, worker, place.path)


@pytest.mark.both_stores
async def test_each_checkpoint_counts_violations_and_its_agent_hears_of_new_ones_once(work: Work) -> None:
    told = (await work.saves("one", **{"docs/a.md": "x\n"}))["notices"]
    assert len(told) == 1
    assert "violation on T1: docs/a.md is not among the files that the task claims" in told[0]
    assert "notices" not in await work.saves("two", **{"src/b.py": "x\n"})
    assert [(one["violations"], one["files_changed"]) for one in await work.kept()] == [(1, 1), (1, 1)]
    (row, _) = await work.yard.bench.read(lambda tx: tx.snapshots.of_task("T1", 5))
    assert '"drift"' in row["findings"]
    assert "src/c" not in (await work.saves("three", **{"docs/c.md": "x\n"}))["notices"][0]
    assert [one["violations"] for one in await work.kept()] == [2, 1, 1]
    assert await work.yard.bench.alerts() == []


async def test_what_a_person_must_decide_is_an_alert_and_says_so(work: Work) -> None:
    (told,) = (await work.saves("one", **{".github/workflows/ci.yml": "on: push\n"}))["notices"]
    assert "waits for a person before it lands" in told
    assert await work.yard.bench.alerts() == [("violation", "warning", "T1")]
    kinds = await work.yard.bench.kinds("T1")
    assert kinds.count("workspace.violation") == 1


async def test_its_alert_is_over_when_nothing_of_it_is_left_and_comes_again_with_it(work: Work) -> None:
    flow = {".github/workflows/ci.yml": "on: push\n"}
    await work.saves("one", **flow)
    (work.path / ".github/workflows/ci.yml").unlink()
    await work.saves("two", **{"src/a.py": "1\n"})
    assert await work.yard.bench.alerts() == []
    await work.saves("three", **flow)
    assert await work.yard.bench.alerts() == [("violation", "warning", "T1")]
    await work.saves("four", **{"src/a.py": "2\n"})
    assert await work.yard.bench.alerts() == [("violation", "warning", "T1")], "the file is still there"


async def test_its_alert_is_over_with_the_work(work: Work) -> None:
    await work.saves("one", **{".github/workflows/ci.yml": "on: push\n"})
    await work.yard.bench.call("update_task", OWNER, task_id="T1", status="cancelled")
    assert await work.yard.bench.alerts() == []


@pytest.mark.parametrize("refused_first", [True, False])
async def test_what_a_worker_was_refused_is_closed_by_people_only(work: Work, refused_first: bool) -> None:
    async def refused() -> None:
        evidence = {"worker_id": "w1", "rule": "rm"}
        await work.yard.bench.write(lambda tx: tx.alerts.raise_alert("violation", "warning", "T1", "refused", evidence))

    if refused_first:
        await refused()
    await work.saves("one", **{".github/workflows/ci.yml": "on: push\n"})
    if not refused_first:
        await refused()
    (work.path / ".github/workflows/ci.yml").unlink()
    await work.saves("two", **{"src/a.py": "1\n"})
    await work.yard.bench.call("update_task", OWNER, task_id="T1", status="cancelled")
    assert await work.yard.bench.alerts() == [("violation", "warning", "T1")]


@pytest.mark.requirement("WS-9")
async def test_what_is_forbidden_is_taken_back_at_once_and_the_rest_stays(work: Work) -> None:
    work.policy(forbidden=("secret/**",))
    answer = await work.saves("one", **{"src/good.py": "1\n", "secret/key": "x\n"})
    assert not (work.path / "secret").exists()
    assert (work.path / "src/good.py").read_text() == "1\n"
    assert any("secret/key is forbidden" in one for one in answer["notices"])
    assert work.yard.git("show", "refs/wvo/checkpoint/T1/1:secret/key") == "x", "it can be looked at"
    assert ("violation", "critical", "T1") in await work.yard.bench.alerts()
    kinds = await work.yard.bench.kinds("T1")
    assert (kinds.count("workspace.rolled_back"), kinds[-1]) == (1, "task.checkpoint")


async def test_files_that_another_task_claims_are_named_with_their_owner(work: Work) -> None:
    bench = work.yard.bench
    await bench.create(a_task("T2", files=["docs/**"]))
    await bench.claim(BOB, "T2")
    (told,) = (await work.saves("one", **{"docs/a.md": "x\n"}))["notices"]
    assert "docs/a.md belongs to T2, which is in progress" in told
    found = await work.call("workspace_validate")
    assert {one["rule"] for one in found["findings"]} == {"drift", "reserved"}


@pytest.mark.requirement("WS-7")
async def test_what_all_workspaces_hold_counts_against_the_quota_of_the_host(work: Work) -> None:
    yard = work.yard
    worker, place = await yard.opened("T2")
    work.policy(workspace_mb=3, workspaces_mb=4)
    (place.path / "big.bin").write_bytes(b"x" * (2 << 20))
    await yard.guard.take(worker, "T2", Trigger.INTERVAL)
    (work.path / "src").mkdir()
    (work.path / "src" / "big.bin").write_bytes(b"y" * (2 << 20) + b"z")
    found = await work.call("workspace_validate")
    assert [(one["rule"], one["severity"]) for one in found["findings"]] == [("quota", "error")]
    assert "all workspaces hold" in found["findings"][0]["message"]
    row = await yard.bench.read(lambda tx: tx.workspaces.open_of("T1"))
    assert row is not None
    assert (row["bytes"], found["bytes"], found["lands"]) == ((2 << 20) + 1, (2 << 20) + 1, "with a person")


async def test_validation_is_asked_for_and_judges_anew_by_what_holds_now(work: Work) -> None:
    await work.saves("one", **{"src/a.py": "1\n", "src/b.py": "1\n"})
    first = await work.call("workspace_validate")
    assert (first["findings"], first["lands"], first["files"], first["checkpoint"]) == ([], "yes", 2, 1)
    work.policy(forbidden=("src/a.py",))
    second = await work.call("workspace_validate")
    assert (second["lands"], second["violations"], second["checkpoint"]) == ("no", 1, 1)
    assert (work.path / "src/a.py").exists(), "asking changes nothing"
    assert [one["violations"] for one in await work.kept()] == [1]
    for caller in (ANN, BOB):
        with pytest.raises(WvoError):
            await work.call("workspace_validate", caller)
    assert (await work.call("workspace_validate", OWNER))["lands"] == "no"
    with pytest.raises(NotFound):
        await work.call("workspace_validate", OWNER, task_id="T9")


async def test_a_checkpoint_is_safe_although_it_cannot_be_judged(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise GitFailed("the object abc is missing")

    monkeypatch.setattr(validating, "_changes", fails)
    answer = await work.saves("one", **{"src/a.py": "1\n"})
    assert "could not be validated" in answer["notices"][0]
    (kept,) = await work.kept()
    assert (kept["violations"], work.yard.git("show", f"{kept['commit']}:src/a.py")) == (1, "1")


async def test_a_completed_task_leaves_a_last_checkpoint(work: Work) -> None:
    work.yard.write(work.path, {"src/a.py": "1\n"})
    await work.yard.complete(work.worker)
    (kept,) = await work.kept()
    assert (kept["trigger"], kept["files_changed"]) == ("complete", 1)


async def test_hostile_names_are_shown_without_what_moves_a_cursor(work: Work) -> None:
    bad = work.path / "docs"
    bad.mkdir()
    (bad / "a\x1b[2J\nb").write_text("x")
    (work.path / b"docs/\xff\xfe".decode(errors="surrogateescape")).write_text("x")
    answer = await work.call("checkpoint", summary="one")
    assert answer["notices"][0].isprintable()
    found = await work.call("workspace_validate")
    assert all(one["path"].isprintable() and one["message"].isprintable() for one in found["findings"])
    assert len(found["findings"]) == 2


async def test_a_repository_that_was_tampered_with_is_said(work: Work) -> None:
    await work.saves("one", **{"src/a.py": "1\n"})
    work.yard.git("config", "core.hooksPath", "elsewhere")
    work.yard.write(work.path, {"src/a.py": "2\n"})
    with pytest.raises(Conflict, match="own files were changed"):
        await work.call("workspace_validate")


async def test_what_was_only_asked_about_is_followed_at_the_next_checkpoint(work: Work) -> None:
    work.policy(forbidden=("secret/**",))
    work.yard.write(work.path, {"secret/key": "x\n", "docs/a.md": "x\n"})
    assert (await work.call("workspace_validate"))["lands"] == "no"
    assert (work.path / "secret/key").exists(), "asking changes nothing"
    told = (await work.call("checkpoint", summary="one"))["notices"]
    assert any("secret/key is forbidden" in one for one in told)
    assert any("docs/a.md" in one for one in told)
    assert not (work.path / "secret").exists()


async def test_what_died_before_it_was_judged_is_judged_with_the_next_one(work: Work) -> None:
    work.policy(forbidden=("secret/**",))
    work.yard.write(work.path, {"secret/key": "x\n"})
    row = await work.yard.bench.read(lambda tx: tx.workspaces.open_of("T1"))
    assert row is not None
    await work.yard.files.taken(row, Trigger.INTERVAL)
    await work.yard.guard.take(work.worker, "T1", Trigger.INTERVAL)
    assert not (work.path / "secret").exists()
    (kept,) = await work.kept()
    assert kept["violations"] == 2, "it is not among the task's files either"


async def test_a_store_that_is_away_while_it_is_judged_costs_no_checkpoint(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object, **__: object) -> None:
        raise StoreBusy("later")

    work.yard.write(work.path, {"docs/a.md": "x\n"})
    with monkeypatch.context() as patch:
        patch.setattr(Judging, "of", busy)
        assert "notices" not in await work.call("checkpoint", summary="one")
    (kept,) = await work.kept()
    assert (kept["number"], kept["violations"]) == (1, 0)
    assert "docs/a.md" in (await work.call("checkpoint", summary="two"))["notices"][0]


async def test_all_that_is_forbidden_goes_back_however_much_it_is(work: Work) -> None:
    work.policy(forbidden=("secret/**",))
    await work.saves("one", **{f"secret/{number}": "x\n" for number in range(150)}, **{"src/good.py": "1\n"})
    assert not (work.path / "secret").exists()
    assert (work.path / "src/good.py").exists()


async def test_a_warning_is_not_told_again_after_files_went_back(work: Work) -> None:
    work.policy(forbidden=("secret/**",))
    await work.saves("one", **{"docs/a.md": "x\n", "secret/key": "x\n"})
    answer = await work.saves("two", **{"src/b.py": "x\n"})
    assert not any("violation" in one for one in answer.get("notices", ()))


async def test_files_that_no_checkpoint_can_hold_keep_the_work_from_landing(work: Work) -> None:
    (work.path / "src").mkdir()
    (work.path / "src" / "big.bin").write_bytes(b"x" * (11 << 20))
    found = await work.call("workspace_validate")
    assert (found["lands"], found["left_out"]) == ("no", ["src/big.bin"])
