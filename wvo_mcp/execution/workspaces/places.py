"""`ports.Places` by git worktrees; a row of `workspaces` says what may exist before it is made."""

import json
import os
import shutil
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.rules import Rules
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import looking, preparing, returning, rollback, tidying, worktree
from wvo_mcp.execution.workspaces.alone import Busy, alone
from wvo_mcp.execution.workspaces.reasons import as_place_failed
from wvo_mcp.execution.workspaces.repository import Common, Tampered, found_around
from wvo_mcp.execution.workspaces.rows import Row, Rows
from wvo_mcp.execution.workspaces.shadowing import Shadows
from wvo_mcp.execution.workspaces.snapshot import Tree
from wvo_mcp.execution.workspaces.suspicion import Suspicion
from wvo_mcp.ports import WatchedStore
from wvo_mcp.ports.places import Place, PlaceAsk, PlaceFailed, PlaceMode, Problem, Sight
from wvo_mcp.ports.rules import ProjectRules

SETUP_SECONDS = 900.0
LEAST_FREE = 200 << 20
"""Bytes. With less no worker is launched, so that the store can still write what happens."""
_GIT_SECONDS = 600.0
_TASK_SECONDS = 60.0
"""So long another process is waited for that makes or removes any place, or this one."""
_CLOSED = frozenset({"open", "closed"})


class Worktrees:
    """`folder` is that of the worktrees (WVO_WORKTREES_DIR), `logs` that of workers. `caller` is who writes the journal."""

    def __init__(
        self, *, root: Path, folder: Path, logs: Path, store: WatchedStore, caller: Caller, rules: ProjectRules
    ) -> None:
        self._root = root.resolve()
        self._folder = folder.resolve()
        self._logs = logs.resolve()
        self._store = store
        self._caller = caller
        self._rules = rules
        self._rows = Rows(store, caller)
        self._suspicion = Suspicion(self._root, self._rows)
        spared = (self._folder, self._logs, *([] if logs.parent.resolve() == self._root else [logs.parent.resolve()]))
        self._shadows = Shadows(self._root, self._folder, spared, self._rows, _new_id)
        self._making = anyio.Lock()

    async def open(self, ask: PlaceAsk) -> Place:
        await self._rules.refresh()
        with as_place_failed(ask.task_id):
            async with alone(self._folder, f"task-{ask.task_id}", _TASK_SECONDS):
                return await self._opened(ask)

    def full(self) -> str | None:
        made = next(folder for folder in (self._folder, *self._folder.parents) if folder.is_dir())
        for folder in (self._root, made):
            if (free := shutil.disk_usage(folder).free) < LEAST_FREE:
                return f"the disk of {folder} is full: {free >> 20} MB are free, and work needs {LEAST_FREE >> 20} MB"
        return None

    async def tampered(self, task_id: str) -> str | None:
        row = await self._rows.of(task_id)
        return None if row is None else await to_thread.run_sync(self._suspicion.difference, row)

    async def suspected(self) -> list[str]:
        return await self._suspicion.lines()

    async def accept(self) -> list[str]:
        return await self._suspicion.accept()

    async def look(self) -> Mapping[str, Sight]:
        return await looking.look(self._root, self._rows, self._suspicion)

    async def recover(self) -> list[str]:
        left: list[str] = []
        for row in await self._rows.unfinished():
            with suppress(Busy):  # it is being made or removed
                async with self._settling(row["task_id"], 0):
                    left += await self._settle(row)
        for row in await self._rows.live():
            if row["state"] in _CLOSED and await self._rows.is_settled(row["task_id"]):
                left += _line(row, await self.close(row["task_id"]))
        left += await self._shadows.recovered()
        with suppress(Tampered, GitFailed):
            await self._tidy()
        return left

    async def changes(self, task_id: str) -> str:
        row = await self._rows.of(task_id)
        if row is None or row["mode"] != "worktree":
            return ""
        entries = await self._store.read(self._caller, lambda tx: tx.submissions.built_on(task_id))
        submitted = [
            [(one["base_sha"], one["commit_sha"]), (one["tip_sha"] or "", one["landed_sha"] or "")] for one in entries
        ]
        with as_place_failed(task_id):
            tree = worktree.tree_of(self._root, row)
            return await anyio.to_thread.run_sync(worktree.changes, tree, submitted)

    async def close(self, task_id: str) -> str | None:
        if await self._rows.of(task_id) is None:
            return None
        try:
            async with self._settling(task_id, _TASK_SECONDS):
                row = await self._rows.of(task_id)
                return None if row is None else await self._removed(row)
        except Busy:
            return "another process is making or removing it, or another one"

    # Opening

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None]:
        """Those who make or remove worktrees would take each other's names, and lock the repository; git fails at a worktree
        that is half-made. Raises Busy."""
        async with self._making, alone(self._folder, "git", _GIT_SECONDS):
            yield

    async def _opened(self, ask: PlaceAsk) -> Place:
        async with self._alone():
            row = await self._rows.of(ask.task_id)
            if row is not None and row["state"] in ("making", "removing"):
                await self._settle(row)
                row = await self._rows.of(ask.task_id)
            if row is not None and (place := await self._taken_over(row, ask)) is not None:
                return place
            copy = None if row is None else await self._shadows.taken_over(row, ask)
            row, tree, reused = (copy, None, True) if copy is not None else await self._made(row, ask)
        if tree is None:
            return replace(await self._without_git(row, ask), reused=reused)
        async with self._undoing(row, self._alone()):
            return await self._prepared(row, tree, ask)

    async def _made(self, row: Row | None, ask: PlaceAsk) -> tuple[Row, Tree | None, bool]:
        """A place where the task has none, or only the folder itself; with a worktree, its tree."""
        common = await to_thread.run_sync(Common.of, self._root)
        if common is not None:
            await self._check_others(common)
            await self._hidden(common)
        elif ask.mode is PlaceMode.WORKTREE:
            text = f"No worktree for {ask.task_id}: {self._root} is not in a git repository"
            raise PlaceFailed(text, problem=Problem.NO_GIT)
        if common is None or ask.mode is PlaceMode.SHADOW:
            shared = row if row is not None and row["mode"] == "folder" else None
            row, reused = await self._shadows.opened(shared, ask, common)
            return row, None, reused
        row = await self._planned(common, ask, self._rules.current())
        async with self._undoing(row, nullcontext()):
            tree = await to_thread.run_sync(worktree.tree_of, self._root, row)
            await to_thread.run_sync(worktree.added, tree, row["branch"])
        return row, tree, False

    async def _check_others(self, common: Common) -> None:
        """What is there now is the measure for the new place, unless it is not what other places began with."""
        if lines := await self.suspected():
            raise Tampered("\n".join(lines))

    async def _check_same(self, common: Common, name: str) -> None:
        """One repository for a store. Its name may differ: another address leads to it, or a remote was added."""
        others = await self._rows.others(name)
        if others and not any([await to_thread.run_sync(common.commit_of, one) for one in others]):
            raise PlaceFailed(
                f"The work of this store belongs to another repository: that of {self._root} knows no commit of it",
                problem=Problem.FOREIGN,
            )

    async def _taken_over(self, row: Row, ask: PlaceAsk) -> Place | None:
        """The place that the task has; None where it is no longer there."""
        if row["mode"] != "worktree":
            return None
        if row["lease_token"] > ask.lease_token:
            raise PlaceFailed(f"A later lease of {ask.task_id} has its workspace", problem=Problem.OVERTAKEN)
        if (other := self._suspicion.elsewhere(row)) is not None:
            raise PlaceFailed(
                f"The workspace {row['path']} of {ask.task_id} belongs to the repository {other}, not to that of {self._root}",
                problem=Problem.FOREIGN,
            )
        if changed := await to_thread.run_sync(self._suspicion.difference, row):
            raise Tampered(changed)
        tree = await to_thread.run_sync(worktree.tree_of, self._root, row)
        if await to_thread.run_sync(worktree.admin, tree.common, tree.path) is None or not _is_folder(tree.path):
            await self._abandoned(row)
            return None
        await to_thread.run_sync(rollback.finished, tree, worktree.today())
        row = await self._brought(row, tree, ask)
        await self._rows.write(row, lease_token=ask.lease_token, state="open")
        facts = worktree.facts_of(row)
        if not (ask.attached or facts.get("set_up", True)):
            await self._set_up(row, ask)
            row = {**row, "facts": json.dumps({**facts, "set_up": True})}
            await self._rows.write(row, facts=worktree.facts_of(row))
        return replace(self._place(row, ask), reused=True)

    async def _brought(self, row: Row, tree: Tree, ask: PlaceAsk) -> Row:
        """Its work came back: the worktree is brought onto the commit on which it could not land."""
        facts = worktree.facts_of(row)
        while True:
            if "bringing" not in facts:
                found = None if ask.onto is None else await to_thread.run_sync(returning.begun, tree, row, ask.onto)
                if found is None:
                    return row
                facts["bringing"] = found.facts()
                await self._rows.write(row, facts=facts)
            bringing = returning.Bringing(**facts.pop("bringing"))
            if await to_thread.run_sync(returning.done, tree, row["branch"], bringing):
                break
        facts |= {"conflicts": bringing.conflicts, "marks": bringing.marks}
        await self._rows.write(row, base_sha=bringing.onto, facts=facts)
        return {**row, "base_sha": bringing.onto, "facts": json.dumps(facts)}

    async def _abandoned(self, row: Row) -> None:
        """git no longer knows it: what is in the folder is archived, and the folder stays for people."""
        ref = await to_thread.run_sync(lambda: worktree.abandoned(worktree.tree_of(self._root, row), row))
        note = "its folder was removed by somebody" if ref is None else f"git did not know it any more; kept as {ref}"
        await self._rows.write(row, state="removed", facts={**worktree.facts_of(row), "note": note})

    async def _without_git(self, row: Row, ask: PlaceAsk) -> Place:
        facts = worktree.facts_of(row)
        if row["mode"] == "shadow" and not (ask.attached or facts["set_up"]):
            await self._set_up(row, ask)
            row = {**row, "facts": json.dumps(facts | {"set_up": True})}
            await self._rows.write(row, facts=worktree.facts_of(row))
        return self._place(row, ask)

    async def _hidden(self, common: Common) -> None:
        """The person's git does not show our folders."""
        if await to_thread.run_sync(common.exclude, tidying.excluded(common, (self._folder, self._logs))):
            for other in await self._rows.live():  # it was we: the measure of all
                if other["mode"] == "worktree":
                    await self._rows.write(other, facts={**worktree.facts_of(other), "baseline": common.baseline})

    async def _planned(self, common: Common, ask: PlaceAsk, rules: Rules) -> Row:
        merge = rules.merge

        def plan() -> tuple[worktree.Planned, str]:
            return worktree.planned(common, self._folder, ask, rules.target, lands=merge and merge.mode), common.name()

        planned, name = await to_thread.run_sync(plan)
        await self._check_same(common, name)
        facts = {
            "baseline": common.baseline,
            "settings": common.settings,
            "conflicts": planned.merged.conflicts,
            "marks": planned.merged.marks,
            "repository": name,
            "top": str(common.top),
            "submits": rules.merge is not None,
            "note": " ".join(planned.notes) or None,
        }
        row = {
            "workspace_id": _new_id(),
            "task_id": ask.task_id,
            "lease_token": ask.lease_token,
            "host": self._rows.host,
            "path": str(planned.path),
            "branch": planned.branch,
            "target": planned.target,
            "base_sha": planned.merged.commit,
            "mode": "worktree",
            "state": "making",
            "facts": json.dumps(facts),
        }
        await self._rows.add(row)
        return row

    async def _prepared(self, row: Row, tree: Tree, ask: PlaceAsk) -> Place:
        state = self._logs.parent
        spared = (self._folder, self._logs, *([] if state == self._root else [state]))
        names, refused = await to_thread.run_sync(preparing.included, tree.common, tree.path, spared)
        facts = worktree.facts_of(row)
        notes = [one for one in (facts["note"], *(f"Not copied: {line}." for line in refused)) if one]
        facts |= {"included": names, "note": " ".join(notes) or None, "set_up": not ask.attached}
        if not ask.attached:
            await self._set_up(row, ask)
        await self._rows.write(row, state="open", facts=facts)
        return self._place({**row, "facts": json.dumps(facts)}, ask)

    @asynccontextmanager
    async def _undoing(self, row: Row, lock: AbstractAsyncContextManager[None]) -> AsyncGenerator[None]:
        """What was made for the row is taken away, under the lock, when the block fails or is cancelled."""
        try:
            with as_place_failed(row["task_id"]):
                yield
        except BaseException as error:
            if not (isinstance(error, PlaceFailed) and error.tampered):
                with anyio.CancelScope(shield=True), suppress(Busy):  # then it is settled when it is next looked for
                    async with lock:
                        await self._settle(row)
            raise

    async def _set_up(self, row: Row, ask: PlaceAsk) -> None:
        """Run project.setup, if there is one. Raises Tampered, NotPrepared."""
        rules, place = self._rules.current(), self._place(row, ask)
        if rules.setup is None:
            return
        env = {**preparing.restricted(os.environ, rules.env), **place.env}
        log = self._logs / "setup" / f"{place.workspace_id}.log"
        await preparing.set_up(rules.setup, place.path, env, SETUP_SECONDS, log)
        if changed := await to_thread.run_sync(self._suspicion.difference, row):
            raise Tampered(f"{changed}\nIt changed while project.setup ran: {rules.setup}")

    def _place(self, row: Mapping[str, Any], ask: PlaceAsk) -> Place:
        path = Path(row["path"])
        found = found_around(self._root)
        facts = worktree.facts_of(row)
        inside = path / self._root.relative_to(found[0]) if found and row["mode"] == "worktree" else path
        return Place(
            workspace_id=row["workspace_id"],
            path=inside if _is_folder(inside) else path,
            branch=row["branch"],
            base=row["base_sha"],
            mode=row["mode"],
            env={"WVO_PORT_BASE": str(preparing.port_base(self._root, ask.slot))},
            conflicts=tuple(facts.get("conflicts", ())),
            unprotected=row["mode"] == "folder",
            top=path,
            note=facts.get("note"),
            setup=None if facts.get("set_up", True) else self._rules.current().setup,
        )

    # Removing

    @asynccontextmanager
    async def _settling(self, task_id: str, seconds: float) -> AsyncGenerator[None]:
        """Raises Busy."""
        async with alone(self._folder, f"task-{task_id}", seconds), self._alone():
            yield

    async def _settle(self, row: Row) -> list[str]:
        """What was cut off is finished or undone; a line where it could not be."""
        if row["state"] == "removing":
            return _line(row, await self._removed(row))
        if row["mode"] == "shadow":
            return _line(row, await self._shadows.settled(row))
        try:
            await to_thread.run_sync(lambda: worktree.undone(worktree.tree_of(self._root, row), row["branch"]))
        except Tampered as error:
            return _line(row, f"the repository's own files were changed: {error}")
        except (GitFailed, OSError) as error:
            await self._rows.write(row, state="failed", facts={**worktree.facts_of(row), "note": str(error)})
            return _line(row, str(error))
        await self._rows.write(row, state="failed")
        return []

    async def _removed(self, row: Row) -> str | None:
        """Why it was left; None when it is gone."""
        if row["mode"] == "folder":
            await self._rows.write(row, state="removed")
            return None
        if row["mode"] == "shadow":
            return await self._shadows.removed(row)
        submitted = await self._rows.submitted(row["task_id"])
        await self._rows.write(row, state="removing")
        try:
            tree = await to_thread.run_sync(worktree.tree_of, self._root, row)
            why = await to_thread.run_sync(worktree.removed, tree, row, submitted)
        except Tampered as error:
            why = f"the repository's own files were changed: {error}"
        except (GitFailed, OSError) as error:
            why = str(error)
        await self._rows.close(row, why)
        return why

    async def _tidy(self) -> None:
        if (common := await to_thread.run_sync(Common.of, self._root)) is not None:
            await self._check_others(common)
            await tidying.tidied(common, self._store, self._caller)


def _is_folder(path: Path) -> bool:
    """And no link on the way: a worker may have put one there, and the next one would work where it leads."""
    return path.is_dir() and path.resolve() == path


def _line(row: Row, why: str | None) -> list[str]:
    return [] if why is None else [f"{row['path']} of {row['task_id']} was left: {why}."]


def _new_id() -> str:
    return f"ws-{uuid.uuid4().hex[:12]}"
