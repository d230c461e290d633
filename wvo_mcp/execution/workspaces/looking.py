"""What is in a place, and what is wrong with it, for people; nothing is changed by looking."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from anyio import to_thread

from wvo_mcp.domain.instant import instant
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import shadow, worktree
from wvo_mcp.execution.workspaces.repository import Tampered, objects_apart
from wvo_mcp.execution.workspaces.rows import Row, Rows
from wvo_mcp.execution.workspaces.snapshot import Tree
from wvo_mcp.execution.workspaces.suspicion import Suspicion
from wvo_mcp.ports.places import Sight

_MOST_COUNTED = 200_000


async def look(root: Path, rows: Rows, suspicion: Suspicion) -> dict[str, Sight]:
    """Into all places of this host, by their ids."""
    found: dict[str, Sight] = {}
    now = await rows.now()
    for row in await rows.live():
        submitted = await rows.submitted(row["task_id"])
        changed = await to_thread.run_sync(suspicion.difference, row)
        found[row["workspace_id"]] = await to_thread.run_sync(seen, root, row, submitted, changed, now)
    return found


def seen(root: Path, row: Row, submitted: str | None, difference: str | None, now: datetime) -> Sight:
    """`submitted`: the commit that its task submitted last; `difference`: of the repository's own files."""
    path = Path(row["path"])
    if row["mode"] == "folder":
        return Sight(problem=worktree.facts_of(row).get("note") or "there is no git: nothing keeps agents apart")
    if difference is not None:
        return Sight(problem=f"the repository's own files were changed: {difference}")
    try:
        tree = worktree.tree_of(root, row)
        if not path.is_dir():
            return Sight(problem="its folder is gone")
        size = _size(path)
        problem = None
        if row["mode"] == "shadow":
            problem = shadow.outgrown(size, (now - instant(row["created_at"])).total_seconds())
        elif worktree.admin(tree.common, path) is None:
            return Sight(bytes=size, problem="git does not know it as a worktree")
        known = {tree.common.tree_of(one) for one in (tree.base, submitted) if one}
        return Sight(bytes=size, unsubmitted=_tree_of_files(tree) not in known, problem=problem)
    except (GitFailed, Tampered, OSError) as error:
        return Sight(problem=f"it cannot be looked at: {error}")


def _tree_of_files(tree: Tree) -> str:
    """The tree of all that is here, if there can be one; its objects are thrown away. Raises Tampered, GitFailed."""
    with tree.own_index() as own, _thrown_away(tree) as aside:
        own = {**own, **aside}
        found = tree.changes(own)
        names = [*found.tracked, *found.new]
        if tree.enter(own, names, tree.of_lfs(own, names)):
            return ""  # no tree holds all of it
        return tree.run(own, "write-tree").decode().strip()


@contextmanager
def _thrown_away(tree: Tree) -> Generator[dict[str, str]]:
    """git's environment for new objects that nobody keeps."""
    with tempfile.TemporaryDirectory(prefix="wvo-objects-") as folder:
        yield objects_apart(tree.common, folder)


def _size(folder: Path) -> int:
    """Bytes of the files below, as far as they are counted."""
    total = count = 0
    for here, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(here, name)).st_size  # noqa: PTH118 - hundreds of thousands
            except OSError:
                continue
        count += len(files)
        if count > _MOST_COUNTED:
            break
    return total
