"""`ports.Checkpoints`: snapshots by plumbing with an index of our own, each on top of the one before.

A ref is made first and its row last. A ref without a row is what a crash left: the next checkpoint takes its number.
"""

import json
import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyio import to_thread

from wvo_mcp.domain.checkpoints import Trigger, surplus
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.rollbacks import BASE
from wvo_mcp.domain.validation import Finding, Severity, Validation, key_of
from wvo_mcp.errors import WvoError
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import worktree
from wvo_mcp.execution.workspaces.alone import Busy, alone
from wvo_mcp.execution.workspaces.judging import Judging
from wvo_mcp.execution.workspaces.repository import Common, Tampered, changed, part
from wvo_mcp.execution.workspaces.rows import Rows
from wvo_mcp.execution.workspaces.snapshot import LARGEST, Tree
from wvo_mcp.execution.workspaces.validating import Priority
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.checkpoints import Difference, NoCheckpoint, Taken

logger = logging.getLogger(__name__)

Row = dict[str, Any]
_PATIENCE_SECONDS = 30.0
_PRUNED_EVERY = 20
_MOST = 10_000
_LOOKED_AT = 5
_UNJUDGED = "null"
_PRIORITIES = {
    Trigger.COMPLETE: Priority.COMPLETE,
    Trigger.CALL: Priority.PAUSE,
    Trigger.PAUSE: Priority.PAUSE,
    Trigger.CHANGES: Priority.INTERVAL,
    Trigger.INTERVAL: Priority.INTERVAL,
}


class FileCheckpoints:
    """`folder` is that of the worktrees; `caller` is who writes the rows. Without `judging` nothing is validated."""

    def __init__(
        self, root: Path, folder: Path, store: WatchedStore, caller: Caller, judging: Judging | None = None
    ) -> None:
        self._root = root.resolve()
        self._folder = folder.resolve()
        self._store = store
        self._caller = caller
        self._rows = Rows(store, caller)
        self._judging = judging

    async def take(
        self, task_id: str, trigger: Trigger, task_checkpoint: int | None = None, *, anew: bool = False
    ) -> Taken | None:
        if (row := await self._row(task_id)) is None:
            return None
        try:
            async with alone(self._folder, f"checkpoint-{row['workspace_id']}", _PATIENCE_SECONDS):
                taken = await self.taken(row, trigger, task_checkpoint)
                if taken.fresh or taken.pending or anew:
                    taken = await self._judged(row, taken, _PRIORITIES[trigger])
                if taken.fresh and taken.number % _PRUNED_EVERY == 0:
                    await self.prune(task_id)
                return taken
        except Busy:
            raise NoCheckpoint("Another checkpoint of the same workspace takes very long.") from None
        except Tampered as error:
            raise NoCheckpoint(f"The repository's own files were changed: {error}") from None
        except (GitFailed, OSError) as error:
            raise NoCheckpoint(f"The files could not be kept: {error}.") from None

    async def diff(
        self, task_id: str, number: int | None, *, whole: bool, most: int, since: int | None = None
    ) -> Difference | None:
        rows = await self._store.read(self._caller, lambda tx: tx.snapshots.of_task(task_id, _MOST))
        known = {row["number"]: row for row in rows}
        if any(one not in known for one in (number, since) if one not in (None, BASE)):
            return None
        place = await (self._row(task_id) if number is None else self._rows.get(known[number]["workspace_id"]))
        if place is None or place["mode"] == "folder":
            return None

        def compared() -> Difference:
            common = worktree.common_of(self._root, place)
            if number is None:
                mine = (one["number"] for one in rows if one["workspace_id"] == place["workspace_id"])
                commit, last = held(worktree.tree_of(self._root, place))[0], max(mine, default=None)
                before = place["base_sha"] if last is None else known[last]["commit_sha"]
            else:
                commit = known[number]["commit_sha"]
                before = common.commit_of(f"{commit}^") or place["base_sha"]
            if whole or since == BASE:
                before = place["base_sha"]
            elif since is not None:
                before = known[since]["commit_sha"]
            return difference(common, before, commit, most)

        try:
            return await to_thread.run_sync(compared)
        except Tampered as error:
            raise NoCheckpoint(f"The repository's own files were changed: {error}") from None
        except (GitFailed, OSError) as error:
            raise NoCheckpoint(f"The files could not be compared: {error}.") from None

    async def prune(self, task_id: str) -> int:
        rows = await self._store.read(self._caller, lambda tx: tx.snapshots.of_task(task_id, _MOST))
        dated = [{**row, "created_at": instant(row["created_at"])} for row in rows]
        now = await self._store.read(self._caller, _now)
        gone = set(surplus(dated, now))
        if not gone:
            return 0
        place = await self._row(task_id)

        def unpinned() -> None:
            common = Common.of(self._root) if place is None else worktree.common_of(self._root, place)
            for row in rows:
                if (
                    common
                    and row["number"] in gone
                    and common.commit_of(ref := _ref(task_id, row["number"])) is not None
                ):
                    common.unpin(ref, row["commit_sha"])

        try:
            await to_thread.run_sync(unpinned)
        except (Tampered, GitFailed, OSError) as error:
            raise NoCheckpoint(f"Old checkpoints could not be removed: {error}.") from None
        await self._store.write(self._caller, lambda tx: tx.snapshots.remove(task_id, gone))
        return len(gone)

    async def _row(self, task_id: str) -> Row | None:
        row = await self._rows.of(task_id)
        return row if row is not None and row["mode"] != "folder" and row["state"] == "open" else None

    async def taken(
        self, row: Row, trigger: Trigger, task_checkpoint: int | None = None, of: str | None = None
    ) -> Taken:
        """Of a row whose lock the caller has; `of`: this tree, instead of what is here. It is not validated. Raises Tampered,
        GitFailed."""
        began = time.monotonic()
        task_id, workspace_id = row["task_id"], row["workspace_id"]

        async def look(tx: Transaction) -> tuple[list[Row], int]:
            return await tx.snapshots.of_workspace(workspace_id, _LOOKED_AT), await tx.snapshots.next_number(task_id)

        newest, number = await self._store.read(self._caller, look)
        last = newest[0] if newest else None
        known = [one for one in _findings(newest) if one.get("told")]

        def made() -> tuple[str, str, list[str], list[str]]:
            tree = worktree.tree_of(self._root, row)
            tree_id, left_out = held(tree) if of is None else (of, [])
            if last is not None and tree_id == last["tree_sha"]:
                return last["commit_sha"], tree_id, [], left_out
            before = last["commit_sha"] if last is not None else tree.base
            commit = tree.common.committed(tree_id, (before,), f"Checkpoint {number} of {task_id}: {trigger}\n")
            _pinned(tree.common, _ref(task_id, number), commit)
            return commit, tree_id, changed(tree.common, before, commit), left_out

        commit, tree_id, files, left_out = await to_thread.run_sync(made)
        took_ms = int((time.monotonic() - began) * 1_000)
        if last is not None and commit == last["commit_sha"]:
            return Taken(
                workspace_id=workspace_id,
                seq=last["seq"],
                number=last["number"],
                commit=commit,
                files_changed=0,
                took_ms=took_ms,
                fresh=False,
                pending=_pending(last),
                known=known,
                left_out=left_out,
            )
        fields = {
            "workspace_id": workspace_id,
            "task_id": task_id,
            "number": number,
            "task_checkpoint": task_checkpoint,
            "commit_sha": commit,
            "tree_sha": tree_id,
            "trigger": trigger,
            "files_changed": len(files),
            "took_ms": took_ms,
            "findings": _UNJUDGED,
        }
        added = await self._store.write(self._caller, lambda tx: tx.snapshots.add(fields))
        return Taken(
            workspace_id=workspace_id,
            seq=added["seq"],
            number=number,
            commit=commit,
            files_changed=len(files),
            took_ms=took_ms,
            left_out=left_out,
            known=known,
        )

    async def _judged(self, row: Row, taken: Taken, priority: Priority) -> Taken:
        """The checkpoint is safe already. What could not be judged says so in its row, or is judged with the next one."""
        if self._judging is None:
            return taken
        try:
            tree = await to_thread.run_sync(worktree.tree_of, self._root, row)
            found = await self._judging.of(row, tree, taken.commit, priority)
        except WvoError as error:  # the store is away for a moment
            logger.warning("the files of %s were kept, but not validated: %s", row["task_id"], error)
            return taken
        except (Tampered, GitFailed, OSError) as error:
            text = f"The files could not be validated: {error}. They will be when the task is completed."
            found = Validation((Finding(Severity.WARNING, "unknown", "", text),), 1)
        told = {key_of(one) for one in taken.known}
        kept = [{**line, "told": key_of(line) in told} for line in (one.as_json() for one in found.findings)]
        place, seq = row["workspace_id"], taken.seq
        try:
            await self._store.write(self._caller, lambda tx: tx.snapshots.judged(place, seq, found.violations, kept))
        except WvoError as error:
            logger.warning("what the files of %s violate is not on record: %s", row["task_id"], error)
            return taken
        return replace(taken, validation=found)


def _findings(newest: Sequence[Row]) -> list[Row]:
    """Of the newest one that was judged: a rollback, or what died, leaves others."""
    return next((json.loads(row["findings"]) for row in newest if row["findings"] != _UNJUDGED), list[Row]())


def _pending(row: Row) -> bool:
    """It was not judged, or nobody was told what was found, or what must not be there still is."""
    if row["findings"] == _UNJUDGED:
        return True
    found = [(Severity[one["severity"].upper()], one.get("told")) for one in json.loads(row["findings"])]
    return any(severity is Severity.CRITICAL or (severity > Severity.INFO and not told) for severity, told in found)


def held(tree: Tree) -> tuple[str, list[str]]:
    """The tree of all that is here, and the paths that are left out: new files that are too large, and files with a known
    secret or that git refuses, which are as in the base. Raises Tampered, GitFailed."""
    with tree.own_index() as own:
        found = tree.changes(own)
        names = [*found.tracked, *found.new]
        of_lfs = tree.of_lfs(own, names)
        large = [name for name in found.new if name not in of_lfs and tree.size(name) > LARGEST]
        left: Collection[str] = {*large, *(name for name in names if tree.holds_secret(name))}
        taken = [name for name in names if name not in left]
        refused = tree.enter(own, taken, [name for name in of_lfs if name not in left])
        return tree.run(own, "write-tree").decode().strip(), sorted({*left, *refused})


def difference(common: Common, before: str, after: str, most: int) -> Difference:
    options = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames")
    text = common.run("diff", *options, before, after, "--").decode(errors="replace")
    return Difference(text=text[:most], files=changed(common, before, after), cut=len(text) > most)


def _pinned(common: Common, ref: str, commit: str) -> None:
    if common.pin(ref, commit):
        return
    if (left := common.commit_of(ref)) is not None:  # of a crash: it has no row, and the next one holds what it held
        common.unpin(ref, left)
    if not common.pin(ref, commit):
        raise GitFailed(f"{ref} cannot be made")


def _ref(task_id: str, number: int) -> str:
    return f"refs/wvo/checkpoint/{part(task_id)}/{number}"


async def _now(tx: Transaction) -> Any:
    return tx.now
