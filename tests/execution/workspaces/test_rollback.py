"""The files of a worktree are those of a checkpoint again, whatever was done to them, and nothing of what was there is lost."""

import os
import secrets
import shutil
from pathlib import Path

import pytest

from tests.support.ground import FILES, Ground, ground, made
from tests.support.yard import digests, git
from wvo_mcp.domain.known_secrets import forget_secret, register_secret
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import rollback, worktree
from wvo_mcp.execution.workspaces.rollback import NotPossible
from wvo_mcp.execution.workspaces.snapshot import Tree

pytestmark = pytest.mark.requirement("WS-5")
__all__ = ["ground", "made"]


def test_full_makes_the_tree_exactly_that_of_the_checkpoint_whatever_git_was_told(ground: Ground) -> None:
    ground.write("src/new.py")
    (ground.path / "code.py").chmod(0o755)
    (ground.path / "link").symlink_to("src/one.py")
    ground.write('odd/ name\n\t"é.txt')
    (ground.path / "odd").joinpath(os.fsdecode(b"\xff")).write_text("bytes\n")
    at, files = ground.checkpoint(), ground.files()
    ground.write("src/one.py", "committed\n")
    ground.git("commit", "-qam", "mine")
    ground.write("src/two.py", "staged\n")
    ground.write("staged.py")
    ground.git("add", "-A")
    ground.git("rm", "-q", "--cached", "code.py")
    (ground.path / "code.py").unlink()
    (ground.path / "link").unlink()
    ground.write("link/is/now/a/folder.py")
    (ground.path / "src/new.py").unlink()
    ground.write("untracked/deep/down.py")
    (ground.path / "empty" / "folders").mkdir(parents=True)
    after = ground.files()

    before = ground.back(at)

    assert ground.files() == files
    ground.back(before)
    emptied = {name: one for name, one in after.items() if not name.startswith("empty")}
    assert ground.files() == emptied, "it can be undone, but for folders that are empty"


def test_ignored_files_stay_and_those_that_must_give_way_can_be_had_back(ground: Ground) -> None:
    ground.write("was.txt", "of the checkpoint\n")
    at = ground.checkpoint()
    ground.write("build.log", "kept\n")
    ground.write(".gitignore", "*.log\n*.txt\n")
    ground.write("was.txt", "ignored by now\n")
    ground.write("other.txt", "ignored by now\n")

    before = ground.back(at)

    assert (ground.path / "was.txt").read_text() == "of the checkpoint\n"
    assert (ground.path / "build.log").read_text() == "kept\n"
    assert (ground.path / "other.txt").read_text() == "ignored by now\n"
    ground.back(before)
    assert (ground.path / "was.txt").read_text() == "ignored by now\n"


@pytest.mark.parametrize("there", ["src.log", "src.log/deep/ignored.log"])
def test_an_ignored_file_where_a_file_or_folder_must_be_refuses_all(ground: Ground, there: str) -> None:
    wanted = "src.log/deep/file.py" if there == "src.log" else "src.log"
    ground.write(wanted)
    ground.git("add", "-f", wanted)
    ground.write(".gitignore", "")
    at = ground.checkpoint()
    shutil.rmtree(ground.path / "src.log") if there == "src.log" else (ground.path / "src.log").unlink()
    ground.write(".gitignore", FILES[".gitignore"])
    ground.write(there, "ignored\n")
    ground.write("code.py", "changed\n")
    files = ground.files()

    with pytest.raises(NotPossible, match="in the way"):
        rollback.planned(ground.tree, at)

    assert ground.files() == files


def test_partial_reverts_what_is_named_also_beside_an_untracked_name(ground: Ground) -> None:
    ground.write("src/new.py", "first\n")
    at = ground.checkpoint()
    for name in ("code.py", "src/one.py", "src/new.py", "untracked.py"):
        ground.write(name, "changed\n")

    ground.back(at, "src", "untracked.py", str(ground.path / "src/new.py"))

    assert (ground.path / "code.py").read_text() == "changed\n"
    assert (ground.path / "src/one.py").read_text() == "one\n"
    assert (ground.path / "src/new.py").read_text() == "first\n"
    assert not (ground.path / "untracked.py").exists()
    plan = rollback.planned(ground.tree, at, ["code.py"])
    assert (plan.changed, plan.kept) == (("code.py",), ())


@pytest.mark.parametrize(
    "name",
    ["../outside", "/etc/passwd", "{top}-evil/code.py", "{top}", "src/../../out", ".GIT/config", "a\0b", "*.py"],
)
def test_a_name_outside_or_of_nothing_is_refused(ground: Ground, name: str) -> None:
    evil = ground.path.with_name("T1-evil")
    evil.mkdir()
    (evil / "code.py").write_text("not yours\n")
    at = ground.checkpoint()
    ground.write("code.py", "changed\n")

    with pytest.raises(NotPossible):
        rollback.planned(ground.tree, at, [name.format(top=ground.path)])

    assert (evil / "code.py").read_text() == "not yours\n"


def test_any_checkpoint_can_be_gone_back_to_not_only_the_newest(ground: Ground) -> None:
    kept: list[tuple[str, dict[str, str]]] = []
    for number in range(4):
        ground.write(f"file{number}.py", f"{number}\n")
        ground.write("code.py", f"a = {number}\n")
        kept.append((ground.checkpoint(), ground.files()))
    for at, files in [kept[0], kept[3], kept[1], kept[2], kept[0]]:
        ground.back(at)
        assert ground.files() == files


def test_dry_run_shows_the_diff_and_leaves_nothing_anywhere(ground: Ground) -> None:
    at = ground.checkpoint()
    ground.write("code.py", "never seen before\n")
    ground.write("more.py", "nor this\n")
    files, repository = ground.files(), digests(ground.tree.common.git_dir)

    plan = rollback.planned(ground.tree, at, shown=True)

    assert "-never seen before\n+a = 1\n" in plan.diff and "-nor this" in plan.diff
    assert plan.changed == ("code.py", "more.py")
    assert (ground.files(), digests(ground.tree.common.git_dir)) == (files, repository)


def test_nothing_is_written_through_symlinks_or_hard_links(ground: Ground, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("one.py", "two.py", "linked"):
        (outside / name).write_text("theirs\n")
    at = ground.checkpoint()
    shutil.rmtree(ground.path / "src")
    (ground.path / "src").symlink_to(outside)
    (ground.path / "code.py").unlink()
    os.link(outside / "linked", ground.path / "code.py")
    before = digests(outside)

    undo = ground.back(at)

    assert digests(outside) == before
    assert (ground.path / "src" / "one.py").read_text() == "one\n"
    ground.back(undo)
    assert (ground.path / "src").is_symlink() and (ground.path / "code.py").read_text() == "theirs\n"
    ground.back(at, "src/one.py")
    assert digests(outside) == before and (ground.path / "src" / "one.py").read_text() == "one\n"


def test_a_poisoned_index_or_git_file_of_the_agent_decides_nothing(ground: Ground) -> None:
    at, files = ground.checkpoint(), ground.files()
    ground.write("code.py", "changed\n")
    ground.git("update-index", "--assume-unchanged", "code.py", "src/one.py")
    ground.git("update-index", "--skip-worktree", "src/two.py")
    (ground.path / "src/two.py").unlink()
    admin = worktree.admin(ground.tree.common, ground.path)
    assert admin is not None
    (admin / "index").write_bytes(b"DIRC rubbish")

    ground.back(at)

    assert ground.files() == files


def test_a_secret_enters_no_commit_and_is_not_lost(ground: Ground) -> None:
    key = secrets.token_hex(16)
    register_secret(key)
    at, files = ground.checkpoint(), ground.files()
    ground.write("key.py", f"key = '{key}'\n")
    ground.write("code.py", f"key = '{key}'\n")

    plan = rollback.planned(ground.tree, at)
    ground.back(at)

    assert ground.files() == files
    assert (plan.aside / "key.py").read_text() == f"key = '{key}'\n" == (plan.aside / "code.py").read_text()
    assert (plan.aside / "key.py").stat().st_mode & 0o077 == 0
    forget_secret(key)
    assert key not in git(ground.tree.common.top, "log", "--all", "-p")


def test_a_file_that_changes_between_plan_and_rollback_is_not_lost(ground: Ground) -> None:
    at = ground.checkpoint()
    ground.write("code.py", "planned\n")
    ground.write("src/one.py", "planned\n")
    plan = rollback.planned(ground.tree, at)
    before = ground.tree.common.committed(plan.before, (ground.tree.base,), "before")
    ground.write("src/one.py", "by an agent that did not listen\n")
    files = ground.files()

    with pytest.raises(NotPossible, match="meanwhile"):
        rollback.applied(ground.tree, plan, before)

    assert (ground.files(), ground.refs()) == (files, [])


def test_what_was_cut_off_is_finished_at_the_next_start(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    at, files = ground.checkpoint(), ground.files()
    ground.write("code.py", "changed\n")
    ground.write("new.py")

    def killed(tree: Tree, plan: rollback.Plan) -> None:
        (tree.path / "new.py").unlink()
        (tree.path / "code.py").write_text("a =")  # git was within the file
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rollback, "_apply", killed)
        ground.back(at)
    ground.write("after.py", "by whoever came before us\n")

    kept = rollback.finished(ground.tree, "20260101")

    assert kept is not None and ground.git("show", f"{kept}:code.py") == "a ="
    assert (ground.path / "after.py").exists()
    (ground.path / "after.py").unlink()
    assert (ground.files(), ground.refs()) == (files, [])
    assert rollback.finished(ground.tree, "20260101") is None


def test_files_of_lfs_have_their_content_again(ground: Ground) -> None:
    (ground.tree.common.git_dir / "lfs").mkdir()
    ground.tree.common.lfs = True
    ground.write(".gitattributes", "*.bin filter=lfs -text\n")
    ground.write("big.bin", "content\n")
    at, files = ground.checkpoint(), ground.files()
    ground.write("big.bin", "other content\n")

    before = ground.back(at)

    assert ground.files() == files
    assert ground.git("show", f"{at}:big.bin").startswith("version https://git-lfs")
    ground.back(before)
    assert (ground.path / "big.bin").read_text() == "other content\n"


def test_a_worktree_that_became_a_link_is_refused(ground: Ground, tmp_path: Path) -> None:
    at = ground.checkpoint()
    ground.path.rename(tmp_path / "moved")
    ground.path.symlink_to(tmp_path / "moved")
    with pytest.raises(GitFailed):
        rollback.planned(ground.tree, at)
