"""`ports.Rollbacks`: which files go back to which checkpoint; `rollback` does it."""

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from anyio import to_thread

from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.rollbacks import BASE, Extent, RollbackAsk, Rolled
from wvo_mcp.domain.validation import Severity
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import rollback, worktree
from wvo_mcp.execution.workspaces.alone import Busy, alone
from wvo_mcp.execution.workspaces.checkpoints import FileCheckpoints
from wvo_mcp.execution.workspaces.judging import Judging
from wvo_mcp.execution.workspaces.repository import Common, Tampered
from wvo_mcp.execution.workspaces.rollback import NotPossible
from wvo_mcp.execution.workspaces.rows import Rows
from wvo_mcp.execution.workspaces.snapshot import Tree
from wvo_mcp.execution.workspaces.validating import Priority
from wvo_mcp.ports import WatchedStore
from wvo_mcp.ports.checkpoints import NoRollback

Row = dict[str, Any]
_PATIENCE_SECONDS = 30.0
_LOOKED_AT = 20
"""Checkpoints that are judged, the newest first, until one is valid."""


class FileRollbacks:
    """`folder` is that of the worktrees; `caller` is who writes the rows."""

    def __init__(
        self,
        root: Path,
        folder: Path,
        store: WatchedStore,
        caller: Caller,
        checkpoints: FileCheckpoints,
        judging: Judging,
    ) -> None:
        self._root = root.resolve()
        self._folder = folder.resolve()
        self._store = store
        self._caller = caller
        self._rows = Rows(store, caller)
        self._checkpoints = checkpoints
        self._judging = judging

    async def roll_back(self, ask: RollbackAsk, *, dry_run: bool = False, diff: int = 0) -> Rolled | None:
        row = await self._rows.of(ask.task_id)
        if row is None or row["mode"] == "folder" or row["state"] not in ("open", "closed"):
            return None
        async with self._alone(row):
            tree = await to_thread.run_sync(worktree.tree_of, self._root, row)
            if not dry_run:
                await to_thread.run_sync(rollback.finished, tree, worktree.today())
            names = await self._names(tree, row, ask)
            to = await self._last_valid(tree, row, names, ask.skipped) if ask.to is None else ask.to
            commit = row["base_sha"] if to == BASE else await self._commit(row["task_id"], to)
            if commit is None or await to_thread.run_sync(tree.common.commit_of, commit) is None:
                return None
            if ask.extent is Extent.SMART and not names:
                return Rolled(to=to, undo=None, reverted=(), kept=())
            plan = await to_thread.run_sync(_planned, tree, commit, names, dry_run)
            undo: int | None = None
            if not (dry_run or plan.nothing):
                kept = await self._checkpoints.taken(row, Trigger.CALL, of=plan.before)
                undo = kept.number
                await to_thread.run_sync(rollback.applied, tree, plan, kept.commit)
            aside = str(plan.aside) if plan.apart else None
            reverted = (*plan.changed, *(one for one in plan.apart if one not in plan.changed))
            return Rolled(to=to, undo=undo, reverted=reverted, kept=plan.kept, diff=plan.diff[:diff], aside=aside)

    async def finish(self) -> list[str]:
        begun = await to_thread.run_sync(_begun, self._root)
        left: list[str] = []
        for row in await self._rows.live():
            if row["mode"] == "shadow" or (row["workspace_id"] in begun and row["mode"] == "worktree"):
                try:
                    async with self._alone(row):
                        tree = await to_thread.run_sync(worktree.tree_of, self._root, row)
                        await to_thread.run_sync(rollback.finished, tree, worktree.today())
                except NoRollback as error:
                    left.append(f"A rollback of {row['task_id']} is not finished: {error}")
        return left

    @asynccontextmanager
    async def _alone(self, row: Row) -> AsyncGenerator[None]:
        """Nobody opens, closes or keeps the workspace meanwhile. What goes wrong within, as NoRollback."""
        try:
            async with (
                alone(self._folder, f"task-{row['task_id']}", _PATIENCE_SECONDS),
                alone(self._folder, f"checkpoint-{row['workspace_id']}", _PATIENCE_SECONDS),
            ):
                yield
        except Busy:
            raise NoRollback("Another process works on the same workspace.", again=True) from None
        except NotPossible as error:
            raise NoRollback(str(error)) from None
        except Tampered as error:
            raise NoRollback(f"The repository's own files were changed: {error}") from None
        except (GitFailed, OSError) as error:
            raise NoRollback(f"git could not do it: {error}.") from None

    async def _names(self, tree: Tree, row: Row, ask: RollbackAsk) -> Collection[str] | None:
        """None: all."""
        match ask.extent:
            case Extent.FULL:
                return None
            case Extent.PARTIAL:
                return {rollback.inside(tree.path, name) for name in ask.names}
            case Extent.SMART:
                here = await to_thread.run_sync(rollback.held, tree)
                commit = await to_thread.run_sync(tree.common.committed, here, (tree.base,), "To be judged")
                return await self._violating(tree, row, commit)

    async def _violating(self, tree: Tree, row: Row, commit: str) -> set[str]:
        """Paths of which the policy says that they must not land as they are."""
        found = await self._judging.of(row, tree, commit, Priority.PAUSE)
        return {one.path for one in found.at_least(Severity.ERROR) if one.path}

    async def _last_valid(self, tree: Tree, row: Row, names: Collection[str] | None, skipped: Collection[int]) -> int:
        """The newest checkpoint of the workspace in which none of these violates the policy; else what it began with."""
        rows = await self._store.read(
            self._caller, lambda tx: tx.snapshots.of_workspace(row["workspace_id"], _LOOKED_AT)
        )
        for one in (row for row in rows if row["number"] not in skipped):
            with suppress(GitFailed):  # its commit was removed by somebody
                found = await self._violating(tree, row, one["commit_sha"])
                if not any(names is None or rollback.covered(path, names) for path in found):
                    return int(one["number"])
        return BASE

    async def _commit(self, task_id: str, number: int) -> str | None:
        rows = await self._store.read(self._caller, lambda tx: tx.snapshots.of_task(task_id, 10_000))
        return next((one["commit_sha"] for one in rows if one["number"] == number), None)


def _planned(tree: Tree, commit: str, names: Collection[str] | None, shown: bool) -> rollback.Plan:
    return rollback.planned(tree, commit, None if names is None else sorted(names), shown=shown)


def _begun(root: Path) -> set[str]:
    """Workspaces of which a rollback was cut off."""
    with suppress(GitFailed, Tampered, OSError):
        if (common := Common.of(root)) is not None:
            return {name.rpartition("/")[2] for name in common.refs(rollback.JOURNAL)}
    return set()
