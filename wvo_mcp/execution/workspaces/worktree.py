"""Making and removing the worktree of one task. Each step may be cut off and done again."""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wvo_mcp.domain.rules import MergeMode
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces.joining import Merged, merged
from wvo_mcp.execution.workspaces.repository import Common, admin, part
from wvo_mcp.execution.workspaces.snapshot import NotSubmittable, Tree
from wvo_mcp.ports.places import PlaceAsk

INDEXES = ".index"
SHADOWS = ".shadows"
_MOST_SHOWN = 200_000
_MOST_NAMES = 100

Row = Mapping[str, Any]


def host_name() -> str:
    """Of this machine, as rows name it."""
    return socket.gethostname()


@dataclass(frozen=True, slots=True)
class Planned:
    """What will be made, from the commit in `merged`; nothing exists yet. `notes` are for people."""

    path: Path
    branch: str
    target: str
    merged: Merged
    notes: tuple[str, ...]


def facts_of(row: Row) -> dict[str, Any]:
    return json.loads(row["facts"])


def tree_of(root: Path, row: Row) -> Tree:
    """Raises GitFailed."""
    facts = facts_of(row)
    path = Path(row["path"])
    index = path.parent / INDEXES / row["workspace_id"]
    return Tree(common_of(root, row), path, row["base_sha"], index, frozenset(facts.get("included", ())))


def common_of(root: Path, row: Row) -> Common:
    """The repository that the workspace is of. Raises GitFailed."""
    if row["mode"] == "shadow":
        return Common.beside(root, shadow_repository(row), facts_of(row))
    return Common.known(root, facts_of(row))


def shadow_repository(row: Row) -> Path:
    """Of a copy of a folder without git."""
    return Path(row["path"]).parent / SHADOWS / f"{row['workspace_id']}.git"


def planned(
    common: Common, worktrees: Path, ask: PlaceAsk, target: str | None, *, lands: MergeMode | None = None
) -> Planned:
    """`lands`: how the work will land in its target, which must be a branch then. At a remote, it begins with what that had
    last, or with the branch here if that has more. Raises GitFailed."""
    task_id, notes = ask.task_id, list[str]()
    name = target or common.branch()
    shared = lands not in (None, MergeMode.LOCAL)
    if name is None and lands is not None:
        raise GitFailed(
            "no branch is checked out, so nothing says where work lands: set project.target in roadmap.yaml, or check out"
            " a branch"
        )
    tip = common.commit_of(f"refs/heads/{name}" if name else common.head) or (common.commit_of(name) if name else None)
    for there in common.fetched(name) if shared and name else ():
        if tip is None or not common.contains(tip, there):
            tip = there
    if tip is None:
        raise GitFailed(f"{name or 'the repository'} has no commit: make the first one")
    here = [one for one in ask.landed if common.commit_of(one) is not None]
    if len(here) < len(ask.landed):
        notes.append(
            f"{len(ask.landed) - len(here)} landings that it builds on are not in this repository (git fetch)."
        )
    joined = merged(common, tip, [*here, *ask.bases])
    known = common.worktrees()
    taken = {branch for branch in known.values() if branch}
    suffixes = ["", *(f".{number}" for number in range(2, _MOST_NAMES))]
    folder = worktrees.resolve()
    paths = (folder / f"{task_id}{suffix}" for suffix in suffixes)
    path = next(one for one in paths if not os.path.lexists(one) and one not in known)
    branch = next(one for suffix in suffixes if (one := f"wvo/{part(task_id)}{suffix}") not in taken)
    if (left := common.refs(f"refs/heads/{branch}").get(f"refs/heads/{branch}")) is not None:
        if not common.contains(joined.commit, left[0]):
            kept = common.archive(task_id, left[0], today())
            notes.append(f"The commits of an earlier {branch} are kept as {kept}.")
        common.unpin(f"refs/heads/{branch}", left[0])
    return Planned(path, branch, name or tip, joined, tuple(notes))


def changes(tree: Tree, submitted: Sequence[Sequence[tuple[str, str]]]) -> str:
    """What the submissions changed, each from a base to a commit; the first such pair that is in the repository. Raises
    GitFailed."""
    shown, size = list[str](), 0
    for pairs in submitted:
        known = (pair for pair in pairs if all(one and tree.common.commit_of(one) for one in pair))
        base, commit = next(known, (None, None))
        if base and commit and size < _MOST_SHOWN:
            diff = tree.common.run("diff", "--no-ext-diff", "--no-textconv", "--no-color", base, commit, "--")
            shown.append(diff.decode(errors="replace"))
            size += len(shown[-1])
    return "".join(shown)[:_MOST_SHOWN]


def added(tree: Tree, branch: str) -> None:
    """Make it, as planned. Raises GitFailed."""
    tree.path.parent.mkdir(parents=True, exist_ok=True)
    how = ("--quiet", "--no-track", "-b", branch)
    # It may take long: whoever finds the row after us must not find a git that still writes there.
    tree.common.git("worktree", "add", *how, str(tree.path), tree.base, ends_with_us=True)
    if (folder := admin(tree.common, tree.path)) is None:
        raise GitFailed(f"git does not know the worktree {tree.path} that it made")
    tree.begin(folder / "index")


def undone(tree: Tree, branch: str) -> None:
    """Take away what no worker has ever seen. Raises GitFailed."""
    if tree.path.is_dir() and not any(tree.path.iterdir()):
        tree.path.rmdir()
    _forgotten(tree)
    ref = f"refs/heads/{branch}"
    if (left := tree.common.refs(ref).get(ref)) is not None and left[0] == tree.base:
        tree.common.unpin(ref, tree.base)


def removed(tree: Tree, row: Row, submitted: str | None) -> str | None:
    """Take it away when all that it holds is in the commit, or in the base; else why not. Raises Tampered, GitFailed."""
    folder = admin(tree.common, tree.path)
    if folder is not None and (folder / "locked").exists():
        return "somebody locked it (git worktree unlock)"
    if tree.path.exists():
        if (inside := process_in(tree.path)) is not None:
            return f"process {inside} works in it"
        if fetched := tree.submodules():
            return f"it holds the submodule {fetched[0]}, which only a person can look into"
        try:
            here = tree.commit("What is here")
        except NotSubmittable as error:
            return f"it holds work that was not submitted: {error}"
        if tree.common.tree_of(here) not in {tree.common.tree_of(one) for one in (tree.base, submitted) if one}:
            return "it holds work that was not submitted"
    ref = f"refs/heads/{row['branch']}"
    left = tree.common.refs(ref).get(ref)
    if left is not None and not tree.common.contains(submitted or tree.base, left[0]):
        tree.common.archive(row["task_id"], left[0], today())
    if folder is not None and (head := _detached(folder)) is not None:
        tree.common.archive(row["task_id"], head, today())
    _forgotten(tree)
    if left is not None:
        tree.common.unpin(ref, left[0])
    return None


def abandoned(tree: Tree, row: Row) -> str | None:
    """git does not know the worktree, or its folder is gone: the ref of what is in the folder, which stays for people. Raises
    Tampered, GitFailed."""
    if not os.path.lexists(tree.path):
        removed(tree, row, None)  # git may still know it, and would make no other there
    if not tree.path.is_dir() or tree.path.resolve() != tree.path:
        return None
    return tree.common.archive(row["task_id"], tree.commit(f"Left in {tree.path}", everything=True), today())


def _detached(folder: Path) -> str | None:
    """The commit that is checked out without a branch: nothing else may lead to it."""
    head = (folder / "HEAD").read_text("utf-8", "replace").strip() if (folder / "HEAD").is_file() else ""
    return head if len(head) in (40, 64) and all(c in "0123456789abcdef" for c in head) else None


def _forgotten(tree: Tree) -> None:
    if admin(tree.common, tree.path) is not None:
        # Twice: git locks one while it makes it, and a kill leaves the lock.
        tree.common.git("worktree", "remove", "--force", "--force", str(tree.path))
    if tree.path.exists():
        raise GitFailed(f"git does not know {tree.path} as a worktree")
    tree.forget()


def today() -> str:
    return datetime.now(UTC).strftime("%Y%m%d")


def process_in(folder: Path) -> int | None:
    """A process that works in the folder or below it (Linux)."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            where = (entry / "cwd").readlink()
        except OSError:
            continue
        if where.is_relative_to(folder):
            return int(entry.name)
    return None
