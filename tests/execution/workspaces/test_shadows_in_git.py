"""In a project with git an agent may have a copy with the person's uncommitted files; what it changed there becomes
uncommitted changes of the person (WS-8)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, a_task
from tests.support.plain import Plain, plain
from tests.support.yard import Yard, digests
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.rules import Rules
from wvo_mcp.errors import Conflict, NotConfigured
from wvo_mcp.execution.workspaces import promoting
from wvo_mcp.operations import ALL
from wvo_mcp.project import find_root

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-8", "WS-6")]
__all__ = ["plain"]


async def call(yard: Yard, tool: str, caller: Caller = ANN, **arguments: Any) -> Mapping[str, Any]:
    return await ALL[tool](yard.services, caller, {"task_id": "T1", **arguments})


async def opened(yard: Yard, caller: Caller = ANN, mode: str = "shadow") -> tuple[Mapping[str, Any], Path]:
    yard.bench.limits(wip_limit=50, agent_wip_limit=50)
    await yard.bench.create(a_task("T1"))
    await yard.bench.claim(caller, "T1")
    place = await call(yard, "workspace_open", caller, mode=mode)
    return place, Path(place["path"])


def persons(yard: Yard) -> tuple[object, ...]:
    """What git holds for the person: HEAD, branches, the index."""
    return yard.git("symbolic-ref", "HEAD"), yard.refs(), yard.git("rev-parse", "HEAD"), yard.git("ls-files", "--stage")


async def test_the_copy_has_uncommitted_files_and_its_changes_become_uncommitted_ones(yard: Yard) -> None:
    yard.write(yard.root, {"code.py": "a = 1\nb = 0\n", "staged.py": "s\n", "new.py": "n\n", ".env": "KEY=1\n"})
    yard.git("add", "staged.py")
    before, index = persons(yard), (yard.root / ".git/index").read_bytes()

    place, path = await opened(yard)

    assert (place["mode"], place["branch"], path) == ("shadow", None, yard.folder / "T1")
    assert digests(path, (".git",)) == digests(yard.root, (".git", "state"))
    yard.write(path, {"code.py": "a = 2\nb = 0\n", "made/by.py": "x\n", ".env": "KEY=2\n", "y.log": "y\n"})
    (path / "new.py").unlink()
    done = await call(yard, "complete_task", summary="done")
    assert (done["task"]["status"], done["submission"]) == ("done", None)
    assert (yard.root / "code.py").read_text() == "a = 2\nb = 0\n"
    assert (yard.root / "made/by.py").exists()
    assert not (yard.root / "new.py").exists()
    assert (yard.root / ".env").read_text() == "KEY=1\n", "git ignores it"
    assert not (yard.root / "y.log").exists()
    assert persons(yard) == before
    assert (yard.root / ".git/index").read_bytes() == index
    assert yard.git("status", "--porcelain", "-uall").split("\n") == ["M code.py", "A  staged.py", "?? made/by.py"]
    assert await yard.states("T1") == ["open"]
    assert await yard.places.close("T1") is None


async def test_git_in_the_copy_never_works_in_the_repository_around_it(yard: Yard) -> None:
    yard.write(yard.root, {"code.py": "a = 5\n"})
    _, path = await opened(yard)
    for command in (["reset", "--hard"], ["stash"], ["commit", "-qam", "x"], ["status"]):
        with pytest.raises(AssertionError, match="invalid gitfile format"):
            yard.git(*command, at=path)
    assert (yard.root / "code.py").read_text() == "a = 5\n"
    assert find_root({}, str(path))[0] == str(yard.root), "wvo-mcp finds the project"
    assert not yard.git("status", "--porcelain", "--", "state")


async def test_what_git_ignores_by_any_of_its_files_stays_in_the_copy_unless_git_has_it(yard: Yard, home: Path) -> None:
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/ignore").write_text("*.mine\n!kept.local\n")
    with (yard.root / ".git/info/exclude").open("a") as out:
        out.write("*.local\n")
    yard.write(yard.root, {"forced.log": "f\n", "__pycache__/x.pyc": "p\n"})
    yard.git("add", "-f", "forced.log")
    yard.save("forced")
    _, path = await opened(yard)
    yard.write(
        path, {"forced.log": "g\n", "a.mine": "a\n", "kept.local": "b\n", "other.log": "o\n", "src/c.pyc": "c\n"}
    )

    assert (await call(yard, "workspace_promote"))["files"] == ["forced.log", "src/c.pyc"]

    assert (yard.root / "forced.log").read_text() == "g\n"


async def test_what_the_person_wrote_meanwhile_is_joined_in_the_copy_and_never_overwritten(yard: Yard) -> None:
    yard.write(yard.root, {"two.py": "1\n2\n3\n"})
    yard.save("two")
    _, path = await opened(yard)
    yard.write(path, {"code.py": "a = 3\n", "two.py": "1\n2\n4\n"})
    yard.write(yard.root, {"code.py": "a = 2\n", "two.py": "0\n2\n3\n"})
    yard.save("the person went on")
    before, files = persons(yard), digests(yard.root, (".git", "state"))

    with pytest.raises(Conflict, match=r"Resolve the conflict markers in code\.py"):
        await call(yard, "complete_task", summary="done")

    assert (persons(yard), digests(yard.root, (".git", "state"))) == (before, files)
    assert (path / "two.py").read_text() == "0\n2\n4\n"
    assert "a = 2" in (path / "code.py").read_text()
    with pytest.raises(Conflict, match="conflict markers are left"):
        await call(yard, "complete_task", summary="done")
    yard.write(path, {"code.py": "a = 5\n"})
    await call(yard, "complete_task", summary="done")
    assert (yard.root / "code.py").read_text() == "a = 5\n"
    assert persons(yard) == before


async def test_a_promotion_that_is_cut_off_is_finished_and_nothing_of_git_is_touched(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def die(*_: object) -> None:
        raise Died

    _, path = await opened(yard)
    yard.write(path, {"code.py": "a = 3\n", "more.py": "m\n"})
    before = persons(yard)
    with monkeypatch.context() as patch:
        patch.setattr(promoting, "_put", die)
        with pytest.raises(Died):
            await call(yard, "workspace_promote")
    yard.again()
    assert await yard.places.recover() == []
    assert ((yard.root / "code.py").read_text(), (yard.root / "more.py").read_text()) == ("a = 3\n", "m\n")
    assert persons(yard) == before


async def test_checkpoints_diff_validation_rollback_and_closing_are_those_of_any_workspace(yard: Yard) -> None:
    yard.write(yard.root, {"dirty.py": "d\n"})
    _, path = await opened(yard)
    yard.write(path, {"code.py": "a = 2\n"})
    await call(yard, "checkpoint", summary="one")
    yard.write(path, {"code.py": "a = 3\n", "dirty.py": "e\n"})
    assert (await call(yard, "workspace_validate"))["lands"] == "yes"
    assert "+e" in (await call(yard, "workspace_diff", whole=True))["diff"]
    assert sorted((await call(yard, "workspace_rollback", to=1))["reverted"]) == ["code.py", "dirty.py"]
    with pytest.raises(Conflict, match="was not promoted"):
        await call(yard, "workspace_close")
    await call(yard, "workspace_rollback", to=0)
    assert (path / "dirty.py").read_text() == "d\n"
    assert (await call(yard, "workspace_close"))["closed"]
    assert (yard.root / "dirty.py").read_text() == "d\n"


async def test_the_place_that_a_task_has_is_used_whatever_mode_the_next_holder_asks_for(yard: Yard) -> None:
    _, path = await opened(yard)
    again = await call(yard, "workspace_open", mode="worktree")
    assert (again["mode"], again["path"], again["reused"]) == ("shadow", str(path), True)
    assert "has this shadow already, so no worktree was made" in again["note"]
    yard.write(path, {"half.py": "h\n"})
    await call(yard, "release_task", note="half of it")
    await yard.bench.claim(BOB, "T1")
    third = await call(yard, "workspace_open", BOB, mode="worktree")
    assert (third["path"], third["mode"], third["reused"]) == (str(path), "shadow", True)
    await call(yard, "complete_task", BOB, summary="done")
    assert (yard.root / "half.py").exists()


async def test_a_copy_without_work_makes_room_for_what_the_next_holder_asks_for(yard: Yard) -> None:
    await opened(yard)
    await call(yard, "release_task", note="not begun")
    await yard.bench.claim(BOB, "T1")
    place = await call(yard, "workspace_open", BOB)
    assert (place["mode"], place["branch"], "reused" in place) == ("worktree", "wvo/T1", False)
    shadow = await call(yard, "workspace_open", BOB, mode="shadow")
    assert (shadow["mode"], shadow["reused"]) == ("worktree", True)
    assert "has this worktree already, so no shadow was made" in shadow["note"]
    yard.write(Path(place["path"]), {"code.py": "a = 2\n"})
    assert (await call(yard, "complete_task", BOB, summary="done"))["task"]["status"] == "in_review"


async def test_a_task_that_is_opened_again_gets_a_copy_of_the_folder_as_it_is(yard: Yard) -> None:
    _, path = await opened(yard)
    yard.write(path, {"code.py": "a = 2\n"})
    await call(yard, "complete_task", summary="done")
    yard.write(yard.root, {"code.py": "a = 2\nb = 2\n"})
    await yard.returned("T1")
    await yard.bench.claim(BOB, "T1")
    place = await call(yard, "workspace_open", BOB, mode="shadow")
    assert (Path(place["path"]) / "code.py").read_text() == "a = 2\nb = 2\n"


async def test_what_cannot_be_copied_or_has_no_git_is_refused_with_what_to_do(yard: Yard, plain: Plain) -> None:
    (yard.root / "sub/.git").mkdir(parents=True)
    with pytest.raises(NotConfigured, match=r"sub/\.git is a git repository within it.*ask for mode worktree"):
        await opened(yard)
    assert await yard.states("T1") == []
    assert (await call(yard, "workspace_open"))["mode"] == "worktree"
    await plain.yard.bench.create(a_task("T2"))
    await plain.yard.bench.claim(ANN, "T2")
    with pytest.raises(NotConfigured, match="not in a git repository") as caught:
        await call(plain.yard, "workspace_open", task_id="T2", mode="worktree")
    assert "another mode" in (caught.value.hint or "")
    assert (await call(plain.yard, "workspace_open", task_id="T2", mode="shadow"))["mode"] == "shadow"


async def test_a_folder_below_the_top_of_a_checkout_is_not_copied(yard: Yard) -> None:
    below = Yard(yard.root / "part", yard.bench)
    yard.write(below.root, {"p.py": "p\n"})
    with pytest.raises(NotConfigured, match="not the top of a checkout"):
        await opened(below)


async def test_a_repository_without_a_commit_can_be_copied(tmp_path: Path, yard: Yard) -> None:
    empty = Yard(tmp_path / "empty", yard.bench)
    empty.root.mkdir()
    empty.git("init", "-q", "-b", "main")
    empty.write(empty.root, {"a.py": "a\n"})
    empty.rules.rules = Rules(verify=("exit 1",))
    place, path = await opened(empty)
    empty.write(path, {"a.py": "b\n"})
    await call(empty, "complete_task", summary="done")
    assert (empty.root / "a.py").read_text() == "b\n"
    assert "It is not in git" in place["note"]
