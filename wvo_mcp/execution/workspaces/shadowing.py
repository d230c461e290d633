"""Places without git: a copy of the project's folder for each task, or the folder itself where that is too large."""

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from anyio import to_thread

from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import going_on, shadow, worktree
from wvo_mcp.execution.workspaces.alone import Busy, alone
from wvo_mcp.execution.workspaces.repository import Common, Tampered
from wvo_mcp.execution.workspaces.rows import Row, Rows
from wvo_mcp.ports.places import PlaceAsk, PlaceFailed, Problem

_MOST_NAMES = 100


class Shadows:
    """`folder` is that of the worktrees; `spared` is never copied."""

    def __init__(self, root: Path, folder: Path, spared: Collection[Path], rows: Rows, workspace_id: Any) -> None:
        self._root = root
        self._folder = folder
        self._spared = frozenset(spared)
        self._rows = rows
        self._new_id = workspace_id

    async def taken_over(self, row: Row, ask: PlaceAsk) -> Row | None:
        """The copy that the task has; None where another place is to be made. Raises PlaceFailed, Tampered, GitFailed,
        OSError."""
        if row["lease_token"] > ask.lease_token:
            raise PlaceFailed(f"A later lease of {ask.task_id} has its workspace", problem=Problem.OVERTAKEN)
        if row["mode"] != "shadow" or not await self._goes_on(row, ask):
            return None
        await self._rows.write(row, lease_token=ask.lease_token, state="open")
        return await self._rows.of(ask.task_id) or row

    async def opened(self, row: Row | None, ask: PlaceAsk, project: Common | None) -> tuple[Row, bool]:
        """The row of the task's new place, and whether it was there already: where there is no git, that may be the folder
        itself, whose row is given. Raises PlaceFailed, Tampered, GitFailed, OSError."""
        try:
            return await self._made(ask, project), False
        except shadow.NoShadow as error:
            if ask.attached or project is not None:
                text = f"No copy of {self._root} for {ask.task_id}: {error}"
                raise PlaceFailed(text, problem=Problem.NO_GIT) from None
            return await self._folder_itself(ask, row, str(error)), row is not None

    async def _goes_on(self, row: Row, ask: PlaceAsk) -> bool:
        """Is the copy used as it is? One without work of its own is made anew for another lease, as the project goes on."""
        if not await to_thread.run_sync(shadow.is_whole, row):
            row = await self._ended(row)
            note = "its folder or its repository was removed by somebody"
            await self._rows.write(row, state="failed", facts={**worktree.facts_of(row), "note": note})
            return False
        row = await going_on.gone_on(self._rows, self._root, row)
        if row["lease_token"] == ask.lease_token:
            return True
        if not await to_thread.run_sync(shadow.is_clean, self._root, row):
            return True
        return await self.removed(row) is not None

    async def _ended(self, row: Row) -> Row:
        """A copy that is no longer whole: what it had begun to promote is finished, for nobody looks at it afterwards. Raises
        Tampered, GitFailed, OSError where files of the project may be half written: a new copy would begin with them."""
        try:
            row = await going_on.gone_on(self._rows, self._root, row)
            await to_thread.run_sync(os.utime, worktree.shadow_repository(row))  # its week begins
        except (Tampered, GitFailed, OSError) as error:
            if going_on.may_be_half_written(row):
                await going_on.broken(self._rows, row, error)
                raise
        return row

    async def _made(self, ask: PlaceAsk, project: Common | None) -> Row:
        path = _free(self._folder, ask.task_id)
        await to_thread.run_sync(shadow.surveyed, self._root, self._spared, project)
        row = self._row(ask, mode="shadow", path=path, state="making")
        await self._rows.add(row)
        try:
            fields = await to_thread.run_sync(shadow.made, self._root, row, self._spared, project)
        except BaseException:
            await self.settled(row)
            raise
        fields["facts"]["set_up"] = False
        if project is not None and (ask.bases or ask.landed):
            fields["facts"]["note"] += " What the task builds on is in it as far as the folder has it."
        await self._rows.write(row, state="open", **fields)
        return await self._rows.of(ask.task_id) or row

    async def _folder_itself(self, ask: PlaceAsk, row: Row | None, why: str) -> Row:
        if row is None:
            row = self._row(ask, mode="folder", path=self._root, state="open")
            await self._rows.add(row)
        note = f"It works in the project's own folder: {why}."
        await self._rows.write(row, lease_token=ask.lease_token, state="open", facts={"note": note})
        return await self._rows.of(ask.task_id) or row

    def _row(self, ask: PlaceAsk, *, mode: str, path: Path, state: str) -> Row:
        return {
            "workspace_id": self._new_id(),
            "task_id": ask.task_id,
            "lease_token": ask.lease_token,
            "host": self._rows.host,
            "path": str(path),
            "branch": None,
            "base_sha": None,
            "mode": mode,
            "state": state,
            "facts": "{}",
        }

    async def settled(self, row: Row) -> str | None:
        """What was being made is gone; else why not."""
        try:
            await to_thread.run_sync(shadow.dropped, row)
        except OSError as error:
            why = error.strerror or str(error)
            await self._rows.write(row, state="failed", facts={**worktree.facts_of(row), "note": why})
            return why
        await self._rows.write(row, state="failed")
        return None

    async def removed(self, row: Row) -> str | None:
        """Why it was left; None when it is gone."""
        await self._rows.write(row, state="removing")
        try:
            if shadow.has_repository(row):  # only it can finish what it has begun
                row = await going_on.gone_on(self._rows, self._root, row)
            why = await to_thread.run_sync(shadow.removed, self._root, row)
        except Tampered as error:
            why = f"its repository was changed: {error}"
        except (GitFailed, OSError) as error:
            why = str(error)
        await self._rows.close(row, why)
        if why is None:
            await going_on.removed(self._rows, row)
        return why

    async def recovered(self) -> list[str]:
        """Promotions that were cut off go on, and repositories whose copies are gone for long are removed; a line for each
        that could not go on."""
        left: list[str] = []
        rows = await self._rows.live()
        alerted = await self._rows.alerted(going_on.BROKEN)
        for row in [one for one in rows if one["mode"] == "shadow" and one["state"] in ("open", "closed")]:
            with suppress(Busy):  # somebody works on it now
                async with alone(self._folder, f"task-{row['task_id']}", 0):
                    try:
                        await going_on.gone_on(self._rows, self._root, row)
                        if row["task_id"] in alerted:
                            await self._rows.over(going_on.BROKEN, row["task_id"])
                    except (Tampered, GitFailed, OSError) as error:
                        await going_on.broken(self._rows, row, error)
                        left.append(f"What was promoted of {row['task_id']} is not finished: {error}.")
        live = [row["workspace_id"] for row in rows]
        with suppress(OSError):
            await to_thread.run_sync(shadow.swept, self._folder, live)
        return left


def _free(folder: Path, task_id: str) -> Path:
    """Where nothing is yet."""
    names = (task_id, *(f"{task_id}.{number}" for number in range(2, _MOST_NAMES)))
    return next(one for name in names if not os.path.lexists(one := folder / name))
