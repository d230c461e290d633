"""Promotions that were cut off: whoever comes next finishes them, and people hear of what cannot be finished, and of what
was written over.

A copy that nobody can read says nothing of what it has begun. So its row names the paths before a file is touched: only
those wait for a person then, and no other promotion does.
"""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio import to_thread

from wvo_mcp.domain.validation import shown
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import promoting, shadow, worktree
from wvo_mcp.execution.workspaces.alone import Busy, alone
from wvo_mcp.execution.workspaces.promoting import Kept
from wvo_mcp.execution.workspaces.repository import Tampered
from wvo_mcp.execution.workspaces.rows import Row, Rows
from wvo_mcp.execution.workspaces.snapshot import Tree
from wvo_mcp.ports.checkpoints import NoPromotion

BROKEN = "promotion_broken"
OVERWROTE = "promotion_overwrote"
_BEGUN = "promoting"
"""Of the facts of a row: the paths that it may have half written."""
_MOST_PATHS = 5_000
_ANY = "."
"""Instead of more paths than that."""
_NAMED = 5
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Unread:
    """A copy that could not be read; `paths`: what it had begun to promote, as far as the store knows."""

    task_id: str
    paths: Collection[str]

    def overlap(self, names: Collection[str]) -> list[str]:
        """Also of one above or below the other; all of them where it had begun with too many to be named."""
        if _ANY in self.paths:
            return sorted(names)
        return sorted(name for name in names if any(_meet(name, one) for one in self.paths))


async def begins(rows: Rows, row: Row, paths: Sequence[str]) -> Row:
    """These will be written. It is on record before the first of them is."""
    named = list(paths) if len(paths) <= _MOST_PATHS else [_ANY]
    return await _noted(rows, row, {**worktree.facts_of(row), _BEGUN: named})


async def gone_on(rows: Rows, root: Path, row: Row) -> Row:
    """A promotion that was cut off is finished, and on record; the row as it is then. Who calls has the lock of its task.
    Raises Tampered, GitFailed, OSError."""
    tree = await to_thread.run_sync(worktree.tree_of, root, row)
    done = await to_thread.run_sync(promoting.finished, tree, root, worktree.today())
    if done is not None:
        return await recorded(rows, row, tree, done.commit, done.kept)
    facts = worktree.facts_of(row)
    if facts.pop(_BEGUN, None) is not None:  # it did not come so far, or everything was put back
        return await _noted(rows, row, facts)
    return row


async def recorded(rows: Rows, row: Row, tree: Tree, commit: str, kept: Sequence[Kept] = ()) -> Row:
    """The project has what `commit` has, so that only what differs from it is to be promoted later."""
    facts = {**worktree.facts_of(row), "promoted": True}
    facts.pop(_BEGUN, None)
    if kept:
        await rows.alert(OVERWROTE, "warning", row["task_id"], *_overwritten(row, tree.common.git_dir, kept))
    row = await _noted(rows, row, facts, base_sha=commit)
    await to_thread.run_sync(promoting.kept, tree)
    return row


async def others_gone_on(rows: Rows, root: Path, folder: Path, row: Row) -> list[Unread]:
    """What other copies have begun is finished first: later it would undo what this one writes in the same files. Those that
    could not be read are named, and people told. Raises NoPromotion."""
    unread: list[Unread] = []
    alerted = await rows.alerted(BROKEN)
    for other in await rows.live():
        if other["mode"] != "shadow" or other["base_sha"] is None or other["workspace_id"] == row["workspace_id"]:
            continue
        try:
            if await to_thread.run_sync(_is_begun, root, other):
                async with alone(folder, f"task-{other['task_id']}", 0):
                    await gone_on(rows, root, other)
        except Busy:
            raise NoPromotion(
                f"A promotion of {other['task_id']} is being finished; try it again in a moment."
            ) from None
        except (Tampered, GitFailed, OSError) as error:
            await broken(rows, other, error)
            unread.append(Unread(other["task_id"], _begun(other)))
        else:
            if other["task_id"] in alerted:
                await rows.over(BROKEN, other["task_id"])
    return unread


async def broken(rows: Rows, row: Row, why: Exception) -> None:
    """People hear that the copy cannot be read, and what that means."""
    paths, repository = _begun(row), worktree.shadow_repository(row)
    give_up = f"give the copy up: remove it and {repository}, then wvo-mcp workspace-close {row['task_id']}."
    means = (
        f"Its promotion was cut off: {_few(paths)} in the project's folder may be half written, and only a person promotes"
        f" anything there now. Look at these files, then {give_up}"
        if paths
        else f"As far as the store knows no promotion of it was begun, and those of others go on. Mend it, or {give_up}"
    )
    message = f"The copy {row['path']} of {row['task_id']} cannot be read: {why}. {means}"
    evidence = {"path": row["path"], "repository": str(repository), "files": [shown(one) for one in paths[:_SHOWN]]}
    await rows.alert(BROKEN, "critical" if paths else "warning", row["task_id"], message, evidence)


async def removed(rows: Rows, row: Row) -> None:
    """The copy is gone, and its alert over. Where a promotion was cut off, nobody finishes it any more: people hear it until
    they say that they have looked."""
    if not (paths := _begun(row)):
        await rows.over(BROKEN, row["task_id"])
        return
    message = (
        f"The copy of {row['task_id']} was given up while its promotion was cut off: {_few(paths)} in the project's folder"
        " may be half written. Look at these files, then wvo-mcp alert-resolve."
    )
    evidence = {"path": row["path"], "files": [shown(one) for one in paths[:_SHOWN]]}
    await rows.alert(BROKEN, "critical", row["task_id"], message, evidence)


def may_be_half_written(row: Row) -> bool:
    return bool(_begun(row))


def _is_begun(root: Path, row: Row) -> bool:
    """Raises Tampered, GitFailed, OSError."""
    if not shadow.has_repository(row) and not _begun(row):
        return False  # somebody removed it, and nothing is missed
    return promoting.is_begun(worktree.tree_of(root, row))


def _begun(row: Row) -> list[str]:
    return worktree.facts_of(row).get(_BEGUN, [])


async def _noted(rows: Rows, row: Row, facts: Mapping[str, Any], **fields: Any) -> Row:
    await rows.write(row, facts=facts, **fields)
    return {**row, **fields, "facts": rows.as_text(facts)}


def _meet(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _overwritten(row: Row, git_dir: Path, kept: Sequence[Kept]) -> tuple[str, Mapping[str, Any]]:
    files = [(one.ref, name) for one in kept for name in one.files]
    ref, name = files[0]
    command = f"git --git-dir {shlex.quote(str(git_dir))} show {shlex.quote(f'{ref}:{name}')}"
    names = sorted({name for _, name in files})
    message = (
        f"A promotion of {row['task_id']} that was cut off went on in the project's folder, where somebody had changed"
        f" {_few(names)} meanwhile. What was there is kept until a week after the copy is gone: `{command}`"
        f" prints {'it' if len(files) == 1 else f'the first of {len(files)}'}."
    )
    evidence = {
        "repository": str(git_dir),
        "refs": [one.ref for one in kept],
        "files": [shown(one) for one in names[:_SHOWN]],
    }
    return message, evidence


def _few(names: Sequence[str]) -> str:
    if _ANY in names:
        return f"any of more than {_MOST_PATHS:,} files"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shown(one) for one in names[:_NAMED]) + more
