"""What crashes and people left in a repository that workers use, and how to mend it, for `wvo-mcp doctor`."""

import re
import shlex
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from wvo_mcp.domain.finding import Finding, ok, warn
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces.repository import Common, Tampered

T = TypeVar("T")

_CHECK = "left over"
_OLD_SECONDS = 3600.0
_SHOWN = 5


def left_over(root: Path, folder: Path, known: Callable[[Iterable[str]], set[str]]) -> list[Finding]:
    """`folder` is that of the worktrees; `known` finds the ids of tasks that the store has. Nothing is changed."""
    try:
        common = Common.of(root.resolve())
        if common is None:
            return []
        found = [*_worktrees(common, folder.resolve(), known), *_branches(common, known), *_locks(common)]
    except (GitFailed, Tampered, OSError, ValueError) as error:
        return [warn(_CHECK, f"the repository cannot be looked at: {error}", "Try git status and git fsck there.")]
    return found or [ok(_CHECK, "no worktree, branch or lock that nobody needs")]


def _worktrees(common: Common, folder: Path, known: Callable[[Iterable[str]], set[str]]) -> list[Finding]:
    found: list[Finding] = []
    below = [path for path in common.worktrees() if path.parent == folder]
    if gone := [path for path in below if not path.exists()]:
        remedy = f"git -C {shlex.quote(str(common.top))} worktree prune"
        found.append(warn(_CHECK, f"the folders of worktrees are gone: {_some(map(str, gone))}", remedy))
    strange = _strange([path for path in below if path.exists()], lambda path: path.name, known)
    if strange:
        remedy = "Look what they hold; then git worktree remove FOLDER, which refuses to lose what is not committed."
        found.append(
            warn(_CHECK, f"worktrees of tasks that the store does not know: {_some(map(str, strange))}", remedy)
        )
    return found


def _branches(common: Common, known: Callable[[Iterable[str]], set[str]]) -> list[Finding]:
    used = set(common.worktrees().values())
    names = [name.removeprefix("refs/heads/") for name in common.refs("refs/heads/wvo")]
    free = [name for name in names if name not in used]
    strange = _strange(free, lambda name: name.removeprefix("wvo/").replace("%2E", "."), known)
    if not strange:
        return []
    remedy = "Look at them (git log BRANCH); then git branch -d BRANCH, which refuses what is merged nowhere."
    return [warn(_CHECK, f"branches of tasks that the store does not know: {_some(strange)}", remedy)]


def _locks(common: Common) -> list[Finding]:
    """Those of git that are older than any command of ours may take."""
    before = time.time() - _OLD_SECONDS
    places = ("*.lock", "refs/**/*.lock", "worktrees/*/*.lock", "objects/info/*.lock")
    files = [file for one in places for file in common.git_dir.glob(one) if file.lstat().st_mtime < before]
    if not files:
        return []
    remedy = "If no git command runs in this repository, remove them: whatever made them was ended before it could."
    return [warn(_CHECK, f"git was locked more than an hour ago by {_some(map(str, sorted(files)))}", remedy)]


def _strange(items: list[T], name: Callable[[T], str], known: Callable[[Iterable[str]], set[str]]) -> list[T]:
    """Those whose name is that of no task, nor of one with a number behind it."""
    ids = {item: {name(item), re.sub(r"\.\d{1,2}$", "", name(item))} for item in items}
    there = known({one for each in ids.values() for one in each}) if ids else set[str]()
    return [item for item in items if not ids[item] & there]


def _some(names: Iterable[str]) -> str:
    first = [name.encode(errors="replace").decode() for name in names]
    more = f" and {len(first) - _SHOWN} more" if len(first) > _SHOWN else ""
    return f"{', '.join(first[:_SHOWN])}{more}"
