"""The worktree of work that could not land is brought onto the target; nothing that was in it is lost (MERGE-4)."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.yard import Yard, git
from wvo_mcp.domain.known_secrets import register_secret
from wvo_mcp.execution.workspaces import returning, rollback
from wvo_mcp.ports.places import Place

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("MERGE-4")]

AGENT = ("-c", "user.name=Agent", "-c", "user.email=agent@example.org")


async def came_back(yard: Yard, files: dict[str, str], theirs: dict[str, str]) -> tuple[Any, str]:
    """T1 wrote `files` and submitted them; the target has `theirs` by now. A worker that claimed it again, and the tip."""
    worker, place = await yard.opened("T1")
    yard.write(place.path, files)
    await yard.complete(worker)
    yard.write(yard.root, theirs)
    tip = yard.save("theirs")
    await yard.returned("T1")
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
    path = await path_of(yard)
    git(path, *AGENT, "commit", "-q", "-a", "-m", "mine")
    git(path, "checkout", "-q", "--detach")
    git(path, *AGENT, "merge", "-q", "main", check=False)  # stops at the conflict
    git_dir = Path(git(path, "rev-parse", "--absolute-git-dir"))
    assert (git_dir / "MERGE_HEAD").exists()
    (git_dir / "index.lock").write_text("")
    place = await yard.open(worker, onto=tip)
    assert git(place.path, "rev-parse", "HEAD") == tip
    assert not (git_dir / "MERGE_HEAD").exists()


async def path_of(yard: Yard) -> Path:
    return Path((await yard.bench.sql("SELECT path FROM workspaces"))[0]["path"])


async def test_commits_of_the_agent_and_what_it_staged_are_kept(yard: Yard) -> None:
    worker, tip = await came_back(yard, {"code.py": "a = 2\n"}, {"their.py": "1\n"})
    path = await path_of(yard)
    (path / "own.py").write_text("first\n")
    git(path, "add", "own.py")
    git(path, *AGENT, "commit", "-q", "-m", "on the branch")
    on_branch = git(path, "rev-parse", "HEAD")
    git(path, "checkout", "-q", "--detach")
    git(path, *AGENT, "commit", "-q", "--allow-empty", "-m", "on none")
    on_none = git(path, "rev-parse", "HEAD")
    (path / "own.py").write_text("staged\n")
    git(path, "add", "own.py")
    (path / "own.py").write_text("last\n")

    place = await yard.open(worker, onto=tip)
    assert parts(place) == {"code.py": "a = 2\n", "own.py": "last\n", "their.py": "1\n"}
    kept = {commit for ref in yard.refs("refs/wvo/archive") for commit in yard.git("rev-list", ref).split()}
    assert {on_branch, on_none} < kept
    assert "staged" in {yard.show(commit, "own.py") for commit in kept if "own.py" in yard.names(commit)}


async def test_work_on_another_branch_and_in_a_stopped_rebase_is_kept(yard: Yard) -> None:
    worker, tip = await came_back(yard, {"code.py": "a = 2\n"}, {"code.py": "a = 3\n"})
    path = await path_of(yard)
    git(path, "checkout", "-q", "-b", "other")
    git(path, *AGENT, "commit", "-q", "-a", "-m", "mine")
    mine = git(path, "rev-parse", "HEAD")
    (path / ".gitignore").write_text("changed by hand\n")
    git(path, *AGENT, "rebase", "--autostash", "main", check=False)  # stops at the conflict
    stash = (Path(git(path, "rev-parse", "--absolute-git-dir")) / "rebase-merge/autostash").read_text().strip()

    place = await yard.open(worker, onto=tip)
    assert git(place.path, "symbolic-ref", "HEAD") == "refs/heads/wvo/T1"
    assert "rebase" not in git(place.path, "status")
    kept = {commit for ref in yard.refs("refs/wvo/archive") for commit in yard.git("rev-list", ref).split()}
    assert stash in kept
    assert yard.git("rev-parse", "other") == mine


async def test_files_that_changed_after_a_kill_are_joined_too_and_take_nothing_back(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, tip = await came_back(yard, {"own.py": "1\n"}, {"code.py": "a = 3\n", "their.py": "1\n"})

    class Killed(BaseException):
        """The process ends here."""

    def killed(*_: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(returning, "done", killed)
        with pytest.raises(Killed):
            await yard.open(worker, onto=tip)
    path = await path_of(yard)
    (path / "own.py").write_text("late\n")
    yard.again()
    place = await yard.open(worker, onto=tip)
    assert parts(place) == {"code.py": "a = 3\n", "own.py": "late\n", "their.py": "1\n"}
    done = await yard.complete(worker)
    assert yard.git("diff", "--name-only", tip, done["submission"]["commit"]) == "own.py"


async def test_files_that_changed_after_they_were_brought_stay_so(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, tip = await came_back(yard, {"code.py": "a = 2\n"}, {"code.py": "a = 3\n", "their.py": "1\n"})

    class Killed(BaseException):
        """The process ends here."""

    applied = rollback.applied

    def applied_then_killed(*arguments: Any) -> Any:
        applied(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(rollback, "applied", applied_then_killed)
        with pytest.raises(Killed):
            await yard.open(worker, onto=tip)
    path = await path_of(yard)
    (path / "code.py").write_text("a = 23\n")
    yard.again()
    place = await yard.open(worker, onto=tip)
    assert (parts(place), place.base) == ({"code.py": "a = 23\n", "their.py": "1\n"}, tip)


async def test_nobody_is_disturbed_while_resolving(yard: Yard) -> None:
    worker, tip = await came_back(yard, {"code.py": "a = 2\n"}, {"code.py": "a = 3\n"})
    place = await yard.open(worker, onto=tip)
    half = f"half way\n{parts(place)['code.py']}"
    (place.path / "code.py").write_text(half)
    yard.write(yard.root, {"code.py": "a = 4\n"})
    later = yard.save("more of theirs")
    again = await yard.open(worker, onto=later)
    assert (parts(again)["code.py"], again.base, list(again.conflicts)) == (half, tip, ["code.py"])

    (place.path / "code.py").write_text("a = 23\n")
    resolved = await yard.open(worker, onto=later)
    assert resolved.base == later
    assert all(text in parts(resolved)["code.py"] for text in ("a = 23", "a = 4"))


async def test_links_in_the_place_of_gits_files_lead_us_nowhere(yard: Yard, tmp_path: Path) -> None:
    worker, tip = await came_back(yard, {"code.py": "a = 2\n"}, {"their.py": "1\n"})
    git_dir = Path(git(await path_of(yard), "rev-parse", "--absolute-git-dir"))
    spared, folder = tmp_path / "spared", tmp_path / "folder"
    spared.write_text("as it was\n")
    folder.mkdir()
    (folder / "file").write_text("as it was\n")
    (git_dir / "index").unlink()
    (git_dir / "index").symlink_to(spared)
    (git_dir / "rebase-merge").symlink_to(folder)
    (git_dir / "MERGE_HEAD").mkdir()
    os.mkfifo(git_dir / "MERGE_AUTOSTASH")
    await yard.open(worker, onto=tip)
    assert spared.read_text() == (folder / "file").read_text() == "as it was\n"
    assert not (git_dir / "MERGE_HEAD").exists()


async def test_deleted_files_and_nested_repositories_stay_what_they_are(yard: Yard) -> None:
    yard.write(yard.root, {"gone.py": "1\n", "kept.py": "1\n"})
    yard.save("more")
    worker, tip = await came_back(yard, {"own.py": "1\n"}, {"kept.py": "2\n"})
    path = await path_of(yard)
    (path / "gone.py").unlink()
    nested = path / "nested"
    nested.mkdir()
    git(nested, "init", "-q")
    (nested / "a").write_text("nested\n")
    place = await yard.open(worker, onto=tip)
    assert set(parts(place)) == {"code.py", "own.py", "kept.py"}
    assert parts(place)["kept.py"] == "2\n"
    assert ((nested / "a").read_text(), (nested / ".git").is_dir()) == ("nested\n", True)


async def test_filters_line_ends_and_submodules_of_the_target(yard: Yard, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    git(yard.root, "config", "filter.x.smudge", f"touch {ran}; cat")
    git(yard.root, "config", "filter.x.clean", f"touch {ran}; cat")
    yard.write(yard.root, {"both.txt": "one\ntwo\nthree\nfour\n"})
    yard.save("more")
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"both.txt": "one\ntwo\nthree\nFOUR\n", ".gitattributes": "*.py filter=x\n"})
    await yard.complete(worker)
    module = tmp_path / "module"
    module.mkdir()
    git(module, "init", "-q")
    git(module, *AGENT, "commit", "-q", "--allow-empty", "-m", "in")
    yard.write(yard.root, {".gitattributes": "*.txt text eol=crlf\n", "both.txt": "ONE\ntwo\nthree\nfour\n"})
    yard.git("add", "-A")
    linked = f"160000,{git(module, 'rev-parse', 'HEAD')},sub"
    yard.git("update-index", "--add", "--cacheinfo", linked)
    yard.git("-c", "user.name=P", "-c", "user.email=p@example.org", "commit", "-q", "-m", "theirs")
    tip = yard.git("rev-parse", "HEAD")
    await yard.returned("T1")
    ran.unlink(missing_ok=True)
    worker = await yard.claim("T1")
    place = await yard.open(worker, onto=tip)
    assert list(place.conflicts) == [".gitattributes"]
    (place.path / ".gitattributes").write_text("*.txt text eol=crlf\n*.py filter=x\n")
    assert (place.path / "both.txt").read_bytes().split() == [b"ONE", b"two", b"three", b"FOUR"]
    commit = (await yard.complete(worker))["submission"]["commit"]
    assert yard.git("diff", "--name-only", tip, commit).split() == [".gitattributes", "both.txt"]
    assert yard.show(commit, "both.txt").split() == ["ONE", "two", "three", "FOUR"]
    assert "\r" not in yard.show(commit, "both.txt")
    assert not ran.exists()


async def test_a_known_secret_enters_no_commit_and_is_not_lost(yard: Yard) -> None:
    worker, tip = await came_back(yard, {"own.py": "1\n"}, {"their.py": "1\n"})
    secret = "s3cret-token-of-a-person"
    register_secret(secret)
    path = await path_of(yard)
    (path / "key.py").write_text(secret)
    place = await yard.open(worker, onto=tip)
    assert parts(place)["their.py"] == "1\n"
    assert secret not in yard.git("log", "--all", "-p", "--format=%H")
    kept = [file for file in path.parent.rglob("key.py") if file.read_text() == secret]
    assert len(kept) == 1
