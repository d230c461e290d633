"""The worktree of work that could not land is brought onto the target; nothing that was in it is lost (MERGE-4)."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.yard import Yard, git
from wvo_mcp.execution.workspaces import returning, rollback
from wvo_mcp.ports.places import Place

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("MERGE-4")]


async def came_back(yard: Yard, files: dict[str, str], theirs: dict[str, str]) -> tuple[Any, str]:
    """T1 wrote `files` and submitted them; the target has `theirs` by now. A worker that claimed it again, and the tip."""
    worker, place = await yard.opened("T1")
    yard.write(place.path, files)
    await yard.complete(worker)
    yard.write(yard.root, theirs)
    tip = yard.save("theirs")

    async def back(tx: Any) -> None:
        task = await tx.tasks.get("T1")
        await tx.tasks.change(task, "task.returned", {"status": "pending"}, {})

    await yard.bench.write(back)
    return await yard.claim("T1"), tip


def parts(place: Place) -> dict[str, str]:
    return {path.name: path.read_text() for path in place.path.glob("*.py")}


async def test_work_and_target_are_joined_with_markers_where_git_cannot(yard: Yard) -> None:
    worker, tip = await came_back(
        yard, {"code.py": "a = 2\n", "own.py": "1\n"}, {"code.py": "a = 3\n", "their.py": "1\n"}
    )
    place = await yard.open(worker, onto=tip)
    assert (place.reused, place.base, list(place.conflicts)) == (True, tip, ["code.py"])
    files = parts(place)
    assert (files["own.py"], files["their.py"]) == ("1\n", "1\n")
    assert all(text in files["code.py"] for text in ("<<<<<<<", "a = 2", "a = 3"))
    assert git(place.path, "rev-parse", "HEAD") == tip
    assert git(place.path, "symbolic-ref", "HEAD") == "refs/heads/wvo/T1"
    assert set(git(place.path, "status", "--porcelain").split()) == {"M", "code.py", "??", "own.py"}

    with pytest.raises(Exception, match="conflict markers"):
        await yard.complete(worker)
    (place.path / "code.py").write_text("a = 23\n")
    done = await yard.complete(worker)
    commit = done["submission"]["commit"]
    assert git(yard.root, "rev-parse", f"{commit}^") == tip
    assert yard.show(commit, "code.py") == "a = 23"


async def test_a_second_opening_changes_nothing(yard: Yard) -> None:
    worker, tip = await came_back(yard, {"code.py": "a = 2\n"}, {"code.py": "a = 3\n"})
    place = await yard.open(worker, onto=tip)
    (place.path / "code.py").write_text("half way\n")
    again = await yard.open(worker, onto=tip)
    assert (parts(again)["code.py"], again.conflicts) == ("half way\n", place.conflicts)


async def test_what_was_there_is_archived_and_what_git_ignores_stays(yard: Yard) -> None:
    worker, tip = await came_back(yard, {"code.py": "a = 2\n", "x.log": "log\n"}, {"code.py": "a = 3\n"})
    row = (await yard.bench.sql("SELECT path FROM workspaces"))[0]
    (Path(row["path"]) / "late.py").write_text("after it was submitted\n")
    place = await yard.open(worker, onto=tip)
    assert (place.path / "x.log").read_text() == "log\n"
    assert (place.path / "late.py").read_text() == "after it was submitted\n"
    kept = [yard.show(ref, "late.py") for ref in yard.refs("refs/wvo/archive")]
    assert kept == ["after it was submitted"]


@pytest.mark.parametrize("step", ["begun", "planned", "applied", "done"])
async def test_a_kill_at_any_step_is_finished_by_the_next_opening(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    worker, tip = await came_back(
        yard, {"code.py": "a = 2\n", "own.py": "1\n"}, {"code.py": "a = 3\n", "their.py": "1\n"}
    )

    class Killed(BaseException):
        """The process ends here."""

    def killed(*_: Any) -> Any:
        raise Killed

    done, applied = returning.done, rollback.applied

    def applied_then_killed(*arguments: Any) -> Any:
        applied(*arguments)
        raise Killed

    def done_then_killed(*arguments: Any) -> Any:
        done(*arguments)
        raise Killed

    where, how = {
        "begun": (returning, ("done", killed)),
        "planned": (rollback, ("_apply", killed)),
        "applied": (rollback, ("applied", applied_then_killed)),
        "done": (returning, ("done", done_then_killed)),
    }[step]
    with monkeypatch.context() as patch:
        patch.setattr(where, *how)
        with pytest.raises(Killed):
            await yard.open(worker, onto=tip)
    yard.again()
    place = await yard.open(worker, onto=tip)
    files = parts(place)
    assert (place.base, list(place.conflicts), set(files)) == (tip, ["code.py"], {"code.py", "own.py", "their.py"})
    assert files["code.py"].count("<<<<<<<") == 1
    assert yard.refs("refs/wvo/rollback") == []


async def test_what_the_agent_left_unfinished_does_not_stand_in_the_way(yard: Yard) -> None:
    worker, tip = await came_back(yard, {"code.py": "a = 2\n"}, {"code.py": "a = 3\n"})
    row = (await yard.bench.sql("SELECT path FROM workspaces"))[0]
    path = Path(row["path"])
    who = ("-c", "user.name=Agent", "-c", "user.email=agent@example.org")
    git(path, *who, "commit", "-q", "-a", "-m", "mine")
    git(path, "checkout", "-q", "--detach")
    git(path, *who, "merge", "-q", "main", check=False)  # stops at the conflict
    git_dir = Path(git(path, "rev-parse", "--absolute-git-dir"))
    assert (git_dir / "MERGE_HEAD").exists()
    (git_dir / "index.lock").write_text("")
    place = await yard.open(worker, onto=tip)
    assert git(place.path, "rev-parse", "HEAD") == tip
    assert not (git_dir / "MERGE_HEAD").exists()
