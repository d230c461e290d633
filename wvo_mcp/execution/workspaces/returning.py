"""Work that could not land: its worktree is brought onto the target, and what git cannot join has conflict markers.

What was there before is archived. `facts.bringing` of the row says what was begun, and whoever finds it finishes it. From
then on HEAD is the commit of the target, and what differs from it is the task's own work.
"""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import rollback, worktree
from wvo_mcp.execution.workspaces.snapshot import Tree

_FILES = "MERGE_HEAD MERGE_MSG MERGE_MODE CHERRY_PICK_HEAD REVERT_HEAD AUTO_MERGE index.lock HEAD.lock"
_FOLDERS = "rebase-merge rebase-apply sequencer"
"""Of an operation of git that was left in the middle."""


@dataclass(frozen=True, slots=True)
class Bringing:
    """`before` is a commit of the files as they were, `to` one of what they become; `onto` is the new base."""

    onto: str
    before: str
    to: str
    conflicts: Sequence[str]

    def facts(self) -> dict[str, object]:
        return asdict(self)


def begun(tree: Tree, task_id: str, onto: str) -> Bringing | None:
    """What is to be done; nothing but objects and refs is written. None when the worktree has it already. Raises Tampered,
    GitFailed, rollback.NotPossible."""
    common = tree.common
    rollback.finished(tree, worktree.today())
    if common.commit_of(onto) is None or common.contains(tree.base, onto):
        return None
    here = tree.commit(f"What {task_id} had submitted", everything=True)
    merged = common.merged(onto, [here])
    plan = rollback.planned(tree, merged.commit)
    before = common.committed(plan.before, (here,), f"What was here before {task_id} was brought onto {onto[:12]}")
    common.archive(task_id, before, worktree.today())
    return Bringing(onto, before, merged.commit, merged.conflicts)


def done(tree: Tree, branch: str, bringing: Bringing) -> Tree:
    """Do it, or the rest of it; the tree on its new base. Raises Tampered, GitFailed, rollback.NotPossible."""
    common = tree.common
    rollback.finished(tree, worktree.today())
    plan = rollback.planned(tree, bringing.to)
    if not plan.nothing and plan.before == common.tree_of(bringing.before):
        rollback.applied(tree, plan, bringing.before)
    folder = worktree.admin(common, tree.path)
    if folder is None:
        raise GitFailed(f"git does not know the worktree {tree.path}")
    _end_unfinished(folder)
    own = {"GIT_DIR": str(folder)}
    ref = f"refs/heads/{branch}"
    common.git("symbolic-ref", "HEAD", ref, env=own)
    common.git("update-ref", "--no-deref", ref, bringing.onto)
    moved = replace(tree, base=bringing.onto)
    moved.index.unlink(missing_ok=True)
    common.run("read-tree", bringing.onto, env=own, tree=tree.path)
    with suppress(GitFailed):  # it says so where a file differs
        common.run("update-index", "-q", "--refresh", env=own, tree=tree.path)
    moved.begin(folder / "index")
    return moved


def _end_unfinished(folder: Path) -> None:
    """What the agent left in the middle would go on from another HEAD."""
    for name in _FILES.split():
        (folder / name).unlink(missing_ok=True)
    for name in _FOLDERS.split():
        shutil.rmtree(folder / name, ignore_errors=True)
