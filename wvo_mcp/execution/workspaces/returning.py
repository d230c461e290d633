"""Work that could not land: its worktree is brought onto the target, and what git cannot join has conflict markers.

What was there before is archived: the files, and the commits that the agent made. `facts.bringing` of the row says what was
begun, and whoever finds it finishes it. From then on HEAD is the commit of the target, and what differs from it is the
task's own work.
"""

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import joining, rollback, worktree
from wvo_mcp.execution.workspaces.repository import Common, changed
from wvo_mcp.execution.workspaces.snapshot import Tree

_UNFINISHED = (
    *("MERGE_HEAD", "MERGE_MSG", "MERGE_MODE", "MERGE_AUTOSTASH", "CHERRY_PICK_HEAD", "REVERT_HEAD", "AUTO_MERGE"),
    *("rebase-merge", "rebase-apply", "sequencer", "index.lock", "HEAD.lock"),
)
"""Of an operation of git that was left in the middle."""
_COMMITS = ("HEAD", "MERGE_AUTOSTASH", "rebase-merge/autostash", "rebase-apply/autostash", "rebase-merge/stopped-sha")
_LONGEST = 1_000


@dataclass(frozen=True, slots=True)
class Bringing:
    """`before` is a commit of the files as they were, `to` one of what they become; `onto` is the new base. `conflicts` and
    `marks` as `joining.Merged` has them."""

    onto: str
    before: str
    to: str
    conflicts: Sequence[str]
    marks: Sequence[str] = ()

    def facts(self) -> dict[str, object]:
        return asdict(self)


def begun(tree: Tree, row: worktree.Row, onto: str) -> Bringing | None:
    """What is to be done; nothing but objects and refs is written. None when the worktree has it already, or somebody is in
    the middle of resolving conflicts there. Raises Tampered, GitFailed, rollback.NotPossible."""
    common, task_id = tree.common, row["task_id"]
    rollback.finished(tree, worktree.today())
    if common.commit_of(onto) is None or common.contains(tree.base, onto):
        return None
    here = common.committed(rollback.held(tree), (tree.base,), f"What {task_id} had submitted")
    facts = worktree.facts_of(row)
    if joining.unresolved(tree, here, facts.get("conflicts", ()), facts.get("marks", ())):
        return None
    merged = joining.merged(common, onto, [here])
    plan = rollback.planned(tree, merged.commit)
    parents = dict.fromkeys((here, *_of_agent(tree, row["branch"])))
    before = common.committed(plan.before, parents, f"What was here before {task_id} was brought onto {onto[:12]}")
    common.archive(task_id, before, worktree.today())
    return Bringing(onto, before, merged.commit, merged.conflicts, merged.marks)


def done(tree: Tree, branch: str, bringing: Bringing) -> bool:
    """Do it, or the rest of it. False when it was never begun and the files are others by now: then it must be begun anew.
    Raises Tampered, GitFailed, rollback.NotPossible."""
    common = tree.common
    rollback.finished(tree, worktree.today())
    plan = rollback.planned(tree, bringing.to)
    becoming = set(changed(common, bringing.before, bringing.to))
    if becoming and becoming <= set(changed(common, plan.before, bringing.to)):  # not one of them is as it becomes
        if plan.before != common.tree_of(bringing.before):
            return False
        rollback.applied(tree, plan, bringing.before)
    folder = _admin(tree)
    for name in _UNFINISHED:  # it would go on from another HEAD
        _remove(folder / name)
    if (folder / "index").is_symlink():  # git would write where it leads
        _remove(folder / "index")
    own = {"GIT_DIR": str(folder)}
    ref = f"refs/heads/{branch}"
    _remove(common.git_dir / f"{ref}.lock")  # of a git that was killed: nobody else works in this place now
    common.git("symbolic-ref", "HEAD", ref, env=own)
    common.git("update-ref", "--no-deref", ref, bringing.onto)
    with tree.own_index() as before:
        hidden = tree.hidden(before)
    index = {"GIT_INDEX_FILE": str(folder / "index")}
    tree.run(index, "read-tree", bringing.onto)
    there = set(tree.run(index, "ls-files", "-z").decode(errors="surrogateescape").split("\0"))
    if left := [name for name in hidden if name in there]:
        tree.hide(index, left)
    with suppress(GitFailed):  # it says so where a file differs
        tree.run(index, "update-index", "-q", "--refresh")
    tree.begin(folder / "index")
    return True


def _of_agent(tree: Tree, branch: str) -> list[str]:
    """Commits that nothing may lead to any more: of its branch, of an operation in the middle; and what it has staged."""
    folder = _admin(tree)
    named = [f"refs/heads/{branch}", *(text for name in _COMMITS if (text := _text(folder / name)))]
    commits = [commit for one in named if (commit := tree.common.commit_of(one)) is not None]
    staged = _staged(tree.common, folder / "index")
    if staged is not None and staged != tree.common.tree_of(tree.base):
        commits.append(tree.common.committed(staged, (tree.base,), "What was staged"))
    return commits


def _staged(common: Common, index: Path) -> str | None:
    """A tree of it; None where it is none, such as one with conflicts."""
    if index.is_symlink() or not index.is_file():
        return None
    with tempfile.TemporaryDirectory(prefix="wvo-git-") as folder, suppress(GitFailed):
        shutil.copyfile(index, Path(folder) / "index")
        return common.git("write-tree", env={"GIT_INDEX_FILE": str(Path(folder) / "index")})
    return None


def _text(file: Path) -> str:
    """A commit that the file names; none of what could keep us waiting or lead elsewhere."""
    if file.is_symlink() or not file.is_file():
        return ""
    with open(file, "rb") as content:  # noqa: PTH123
        text = content.read(_LONGEST).decode(errors="replace").strip()
    return text if len(text) in (40, 64) and all(one in "0123456789abcdef" for one in text) else ""


def _admin(tree: Tree) -> Path:
    if (folder := worktree.admin(tree.common, tree.path)) is None:
        raise GitFailed(f"git does not know the worktree {tree.path}")
    return folder


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
