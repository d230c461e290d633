"""What a copy changed is put into the project's folder, all of it or nothing, whoever is killed or writes there (WS-6)."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import OWNER
from tests.support.cut_off import Died, cut_off
from tests.support.plain import Plain, plain
from tests.support.scale import sampled
from tests.support.yard import Yard, digests, new_mode
from wvo_mcp.domain.policy import SafetyPolicy
from wvo_mcp.errors import Conflict, NotFound
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import promoting
from wvo_mcp.execution.workspaces.alone import alone
from wvo_mcp.operations import ALL
from wvo_mcp.ports.checkpoints import NoPromotion

__all__ = ["plain"]
pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-6")]


async def test_what_a_task_changes_is_in_the_folder_once_it_is_completed(plain: Plain) -> None:
    before = plain.project()
    worker, place = await plain.begin()
    assert (place.unprotected, place.path) == (False, plain.yard.folder / "T1")
    assert digests(place.path) == before
    (place.path / "code.py").write_text("a = 2\n")
    (place.path / "docs/a.md").unlink()
    plain.yard.write(place.path, {"new/n.py": "n\n", "y.log": "y\n"})
    (place.path / "new/n.py").chmod(0o700)
    assert plain.project() == before, "nothing of it is in the folder yet"
    done = await plain.yard.complete(worker)
    assert (done["task"]["status"], done["submission"]) == ("done", None)
    assert (plain.root / "code.py").read_text() == "a = 2\n"
    assert not (plain.root / "docs").exists()
    assert (plain.root / "new/n.py").stat().st_mode & 0o777 == new_mode(executable=True)
    assert not (plain.root / "y.log").exists(), "what is ignored stays in the copy"
    assert await plain.yard.places.close("T1") is None
    assert not place.path.exists()
    shown = (await plain.yard.bench.call("get_task", task_id="T1"))["events"]
    assert any("new/n.py" in str(one) for one in shown)


async def test_files_that_the_folder_has_changed_meanwhile_are_joined_in_the_copy_first(plain: Plain) -> None:
    worker, place = await plain.begin()
    (place.path / "code.py").write_text("a = 1\nb = 2\nc = 4\n")
    (plain.root / "code.py").write_text("a = 0\nb = 2\nc = 3\n")
    (plain.root / "docs/a.md").write_text("a person's\n")
    before = plain.project()
    with pytest.raises(Conflict, match=r"code\.py changed in the project"):
        await plain.yard.complete(worker)
    assert plain.project() == before
    assert (place.path / "code.py").read_text() == "a = 0\nb = 2\nc = 4\n"
    assert (await plain.yard.complete(worker))["task"]["status"] == "done"
    assert (plain.root / "code.py").read_text() == "a = 0\nb = 2\nc = 4\n"
    assert (plain.root / "docs/a.md").read_text() == "a person's\n", "what the task did not touch is nobody's matter"


async def test_what_cannot_be_joined_has_markers_that_must_be_resolved(plain: Plain) -> None:
    worker, place = await plain.begin()
    (place.path / "code.py").write_text("a = 5\n")
    (plain.root / "code.py").write_text("a = 6\n")
    with pytest.raises(Conflict, match="Resolve the conflict markers"):
        await plain.yard.complete(worker)
    assert "<<<<<<<" in (place.path / "code.py").read_text()
    with pytest.raises(Conflict, match="conflict markers are left"):
        await plain.yard.complete(worker)
    (place.path / "code.py").write_text("a = 11\n")
    await plain.yard.complete(worker)
    assert (plain.root / "code.py").read_text() == "a = 11\n"


@pytest.mark.parametrize("way", ["file", "link", "folder link", "same"])
async def test_something_in_the_way_of_a_new_file_is_not_written_over(plain: Plain, way: str, tmp_path: Path) -> None:
    worker, place = await plain.begin()
    plain.yard.write(place.path, {"out/n.py": "ours\n"})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    match way:
        case "file":
            plain.yard.write(plain.root, {"out/n.py": "theirs\n"})
        case "link":
            (plain.root / "out").mkdir()
            (plain.root / "out/n.py").symlink_to("../code.py")
        case "folder link":
            (plain.root / "out").symlink_to(elsewhere)
        case _:
            plain.yard.write(plain.root, {"out/n.py": "ours\n"})
    before = plain.project()
    if way == "same":
        await plain.yard.complete(worker)
    else:
        with pytest.raises(Conflict):
            await plain.yard.complete(worker)
    assert plain.project() == before
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("at", sampled(range(40), 3))
async def test_killed_at_any_command_it_is_all_there_or_nothing_and_goes_on(
    plain: Plain, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, place = await plain.begin()
    before = plain.project()
    plain.yard.write(place.path, {"code.py": "a = 2\n", "new/n.py": "n\n", "docs/a.md": "two\n"})
    (place.path / "run.sh").unlink()
    expected = digests(place.path)
    run, left = promoting.Common.run, [at]

    def dies(common: Any, *words: str, **more: Any) -> bytes:
        if left[0] == 0:
            raise Died
        left[0] -= 1
        if left[0] == 0 and "-u" in words:  # half of it: what git wrote before it was killed
            (plain.root / "code.py").write_text("a =")
            raise Died
        return run(common, *words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(promoting.Common, "run", dies)
        with contextlib.suppress(Died):
            await plain.yard.promotions.promote("T1")
    if plain.project() != before:
        plain.yard.again()
        await plain.yard.places.recover()
        assert plain.project() == expected
    plain.yard.again()
    await plain.yard.complete(worker)
    assert plain.project() == expected
    assert (await plain.row())["base_sha"] != "", "the copy is there until it is closed"


async def test_a_promotion_that_fails_half_way_leaves_the_folder_as_it_was(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, place = await plain.begin()
    plain.yard.write(place.path, {"code.py": "a = 2\n", "new/n.py": "n\n"})
    before, run = plain.project(), promoting.Common.run
    failed: list[str] = []

    def fails(common: Any, *words: str, **more: Any) -> bytes:
        if "-u" in words and not failed:
            failed.append(words[0])
            (plain.root / "code.py").write_text("a = 2\n")
            raise GitFailed("unable to write file new/n.py: No space left on device")
        return run(common, *words, **more)

    monkeypatch.setattr(promoting.Common, "run", fails)
    with pytest.raises(Exception, match="No space left"):
        await plain.yard.complete(worker)
    assert plain.project() == before
    await plain.yard.complete(worker)
    assert (plain.root / "new/n.py").exists()


async def test_what_a_person_saves_as_it_is_written_is_not_lost(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, place = await plain.begin()
    plain.yard.write(place.path, {"code.py": "a = 2\n"})
    run = promoting.Common.run

    def late(common: Any, *words: str, **more: Any) -> bytes:
        if "-u" in words:
            (plain.root / "code.py").write_text("a person's\n")
        return run(common, *words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(promoting.Common, "run", late)
        with pytest.raises(Conflict, match="changed in the project"):
            await plain.yard.complete(worker)
    assert (plain.root / "code.py").read_text() == "a person's\n"


async def test_what_was_cut_off_is_finished_before_another_copy_is_promoted(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = await plain.begin("T1")
    worker, second = await plain.begin("T2")
    (first.path / "code.py").write_text("a = 100\nb = 2\nc = 3\n")
    (second.path / "code.py").write_text("a = 1\nb = 2\nc = 300\n")
    await cut_off(plain, monkeypatch)
    async with alone(plain.yard.folder, "task-T1", 0):
        with pytest.raises(Conflict, match="A promotion of T1 is being finished"):
            await plain.yard.complete(worker)
    with pytest.raises(Conflict, match=r"code\.py changed in the project"):
        await plain.yard.complete(worker)
    await plain.yard.complete(worker)
    await plain.yard.places.recover()
    assert (plain.root / "code.py").read_text() == "a = 100\nb = 2\nc = 300\n"


async def test_a_copy_is_not_removed_before_its_promotion_is_finished(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, place = await plain.begin()
    (place.path / "code.py").write_text("a = 2\n")
    await cut_off(plain, monkeypatch)
    await plain.call("workspace_rollback", worker, to=0)
    assert await plain.yard.places.close("T1") == "it holds work that was not promoted"
    assert (plain.root / "code.py").read_text() == "a = 2\n"
    await plain.yard.complete(worker)
    assert (plain.root / "code.py").read_text() == "a = 1\nb = 2\nc = 3\n", "the rollback is promoted as well"


async def test_what_was_promoted_and_undone_is_undone_in_the_folder_too(plain: Plain) -> None:
    before = plain.project()
    worker, place = await plain.begin()
    plain.yard.write(place.path, {"code.py": "a = 2\n", "new.py": "n\n"})
    await plain.call("workspace_promote", worker)
    assert plain.project() != before
    (place.path / "code.py").write_text("a = 1\nb = 2\nc = 3\n")
    (place.path / "new.py").unlink()
    await plain.yard.complete(worker)
    assert plain.project() == before


@pytest.mark.parametrize("more", ["", "docs/n.log", "docs/sub/other"])
async def test_a_folder_becomes_a_file_unless_it_holds_anything_else(plain: Plain, more: str) -> None:
    worker, place = await plain.begin()
    (place.path / "docs/a.md").unlink()
    (place.path / "docs").rmdir()
    (place.path / "docs").write_text("a file\n")
    if not more:
        await plain.yard.complete(worker)
        assert (plain.root / "docs").read_text() == "a file\n"
        return
    plain.yard.write(plain.root, {more: "precious\n"})
    before = plain.project()
    with pytest.raises(Conflict, match="docs: something of the project is in the way"):
        await plain.yard.complete(worker)
    assert plain.project() == before


async def test_what_violates_waits_for_a_person_and_what_is_forbidden_never_goes(plain: Plain) -> None:
    plain.yard.judge.now = replace(SafetyPolicy(), protected=("docs/**",), forbidden=("secret/**",))
    worker, place = await plain.begin()
    plain.yard.write(place.path, {"docs/a.md": "two\n"})
    with pytest.raises(Conflict, match="protected") as refused:
        await plain.yard.complete(worker)
    assert "wvo-mcp workspace-promote T1" in str(refused.value.hint)
    with pytest.raises(Conflict, match="protected"):
        await plain.call("workspace_promote", worker)
    shown = await plain.call("workspace_promote", OWNER, dry_run=True)
    assert (shown["files"], "+two" in shown["diff"]) == (["docs/a.md"], True)
    assert (plain.root / "docs/a.md").read_text() == "one\n"
    assert (await plain.call("workspace_promote", OWNER))["files_changed"] == 1
    assert (plain.root / "docs/a.md").read_text() == "two\n"
    plain.yard.write(place.path, {"secret/key": "x\n"})
    with pytest.raises(Conflict, match="forbidden"):
        await plain.call("workspace_promote", OWNER)
    (place.path / "secret/key").unlink()
    (place.path / "secret").rmdir()
    assert (await plain.yard.complete(worker))["task"]["status"] == "done", "what it did is there already"


async def test_a_worktree_is_not_promoted(yard: Yard) -> None:
    worker, _ = await yard.opened("T1")
    with pytest.raises(NotFound, match="workspace without git"):
        await ALL["workspace_promote"](yard.services, worker, {"task_id": "T1"})


async def test_a_lease_that_is_over_promotes_nothing(plain: Plain) -> None:
    worker, place = await plain.begin()
    plain.yard.write(place.path, {"code.py": "a = 2\n"})
    assert worker.admitted is not None
    with pytest.raises(NoPromotion, match="later lease"):
        await plain.yard.promotions.promote("T1", worker.admitted.lease_token - 1)
    assert (plain.root / "code.py").read_text() == "a = 1\nb = 2\nc = 3\n"


async def test_what_is_ours_is_never_promoted(plain: Plain) -> None:
    worker, place = await plain.begin()
    plain.yard.write(place.path, {".gitignore": "!state/\n", "state/policy.yaml": "x\n"})
    with pytest.raises(Conflict, match="for wvo-mcp alone"):
        await plain.yard.complete(worker)
    assert not (plain.root / "state/policy.yaml").exists()


async def test_a_person_promotes_what_a_settled_task_has_left(plain: Plain) -> None:
    worker, place = await plain.begin()
    plain.yard.write(place.path, {"code.py": "a = 2\n"})
    await plain.call("fail_task", worker, error="no", retry=False)
    assert await plain.yard.places.close("T1") == "it holds work that was not promoted"
    assert (await plain.call("workspace_promote", OWNER))["files"] == ["code.py"]
    assert await plain.yard.places.close("T1") is None
