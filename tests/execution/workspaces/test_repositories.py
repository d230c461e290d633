"""Every form that a person's repository may have."""

from pathlib import Path

import pytest

from tests.support.bench import Bench
from tests.support.yard import Yard, git
from wvo_mcp.domain.rules import Rules
from wvo_mcp.ports.places import PlaceFailed

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-8")]


async def whole_life(yard: Yard, task_id: str = "T1") -> str:
    commit = await yard.submitted(task_id, **{"new.py": "b = 2\n"})
    assert await yard.places.close(task_id) is None
    return commit


async def test_files_outside_of_a_sparse_checkout_stay_in_the_submission(yard: Yard) -> None:
    yard.write(yard.root, {"kept/a.py": "a\n", "away/b.py": "b\n"})
    yard.save("two folders")
    yard.git("sparse-checkout", "set", "kept")

    commit = await whole_life(yard)

    assert yard.names(commit) == {"kept/a.py", "away/b.py", "code.py", ".gitignore", "new.py"}


async def test_a_repository_of_sha256_is_like_any_other(bench: Bench, home: Path, tmp_path: Path) -> None:
    yard = Yard(tmp_path / "shop", bench)
    yard.root.mkdir()
    yard.git("init", "-q", "-b", "main", "--object-format=sha256")

    commit = await whole_life(yard.begin())

    assert len(commit) == 64


async def test_a_bare_repository_has_worktrees_too(yard: Yard, bench: Bench, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(yard.root), "shop.git")
    bare = Yard(tmp_path / "shop.git", bench)

    commit = await whole_life(bare)

    assert "new.py" in bare.names(commit)


async def test_a_project_in_a_linked_worktree_uses_the_repository_that_it_is_of(yard: Yard, bench: Bench) -> None:
    linked = yard.root.parent / "linked"
    yard.git("worktree", "add", "-q", "-b", "side", str(linked))
    side = Yard(linked, bench)

    _, place = await side.opened("T1")

    assert place.path == linked / "state/worktrees/T1"
    assert yard.refs("refs/heads/wvo") == ["refs/heads/wvo/T1"]
    assert git(linked, "status", "--porcelain") == ""


async def test_work_starts_from_what_is_checked_out_in_the_linked_worktree(yard: Yard, bench: Bench) -> None:
    side, commit = beside(yard, bench, "-b", "side")

    worker, place = await side.opened("T1")
    (place.path / "new.py").write_text("c = 3\n")
    await side.complete(worker)

    assert place.base == commit
    (entry,) = await bench.sql("SELECT target FROM merge_entries")
    assert entry["target"] == "side"


async def test_work_that_could_land_nowhere_is_not_begun(yard: Yard, bench: Bench) -> None:
    side, commit = beside(yard, bench, "--detach")
    worker = await side.claimed("T1")

    with pytest.raises(PlaceFailed, match=r"set project\.target in roadmap\.yaml"):
        await side.open(worker)

    side.rules.rules = Rules(merge=None)
    assert (await side.open(worker)).base == commit


def beside(yard: Yard, bench: Bench, *how: str) -> tuple[Yard, str]:
    """A linked worktree with a commit of its own."""
    linked = yard.root.parent / "linked"
    yard.git("worktree", "add", "-q", *how, str(linked))
    side = Yard(linked, bench)
    (linked / "side.py").write_text("b = 2\n")
    return side, side.save("side")


async def test_a_worktree_that_git_names_by_a_relative_path_is_taken_over(yard: Yard) -> None:
    """As `worktree.useRelativePaths` has it."""
    worker, _ = await yard.opened("T1")
    (yard.root / ".git/worktrees/T1/gitdir").write_text("../../../state/worktrees/T1/.git\n")
    await yard.bench.call("release_task", worker, task_id="T1")

    assert (await yard.open(await yard.claim("T1"))).reused


async def test_a_repository_whose_git_takes_no_notice_of_changes_loses_none(yard: Yard) -> None:
    yard.git("config", "core.ignoreStat", "true")
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"code.py": "a = 2\n"})

    assert (await yard.complete(worker))["submission"] is not None


async def test_line_ends_that_git_converts_are_no_change(yard: Yard, home: Path) -> None:
    yard.write(home, {".gitconfig": "[core]\n\tautocrlf = true\n\texcludesFile = ~/ignored\n", "ignored": "*.swp\n"})
    worker, place = await yard.opened("T1", type="review")
    (place.path / "code.py").write_bytes(b"a = 1\r\n")
    (place.path / "a.swp").write_text("")

    assert (await yard.complete(worker))["no_changes"]


async def test_the_configuration_of_another_home_changes_nothing(
    yard: Yard, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's server has a home of its own."""
    yard.write(home, {".config/git/ignore": "*.swp\n"})
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"new.py": "b = 2\n", "a.swp": ""})
    other = tmp_path / "other"
    other.mkdir()
    (other / ".gitconfig").write_text("[core]\n\tfsmonitor = touch ran\n\thooksPath = /elsewhere\n[broken\n")

    with monkeypatch.context() as inside:
        inside.setenv("HOME", str(other))
        yard.again()
        commit = (await yard.complete(worker))["submission"]["commit"]

    assert "a.swp" not in yard.names(commit)
