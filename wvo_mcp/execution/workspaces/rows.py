"""The journal of the places of this host: rows of `workspaces`."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.merging import EntryState
from wvo_mcp.domain.task import SETTLED
from wvo_mcp.execution.workspaces import worktree
from wvo_mcp.ports import Transaction, WatchedStore

Row = dict[str, Any]
_MOST_PLACES = 1_000
_COMPARED = 20
_MOST_SAID = 2_000


class Rows:
    """`caller` is who writes them."""

    def __init__(self, store: WatchedStore, caller: Caller) -> None:
        self.host = worktree.host_name()
        self._store = store
        self._caller = caller

    async def of(self, task_id: str) -> Row | None:
        """The newest of the task, neither removed nor failed."""
        row = await self._store.read(self._caller, lambda tx: tx.workspaces.open_of(task_id))
        return row if row is not None and row["host"] == self.host else None

    async def get(self, workspace_id: str) -> Row | None:
        """In whatever state, removed too."""
        row = await self._store.read(self._caller, lambda tx: tx.workspaces.get(workspace_id))
        return row if row is not None and row["host"] == self.host else None

    async def live(self) -> list[Row]:
        """Neither removed nor failed, oldest first."""
        return await self._store.read(self._caller, lambda tx: tx.workspaces.on_host(self.host, _MOST_PLACES))

    async def unfinished(self) -> list[Row]:
        """Being made or removed."""
        return await self._store.read(self._caller, lambda tx: tx.workspaces.unfinished(self.host))

    async def add(self, row: Mapping[str, Any]) -> None:
        await self._store.write(self._caller, lambda tx: tx.workspaces.add(row))

    async def write(self, row: Row, **fields: Any) -> None:
        if "facts" in fields:
            fields["facts"] = self.as_text(fields["facts"])

        async def change(tx: Transaction) -> None:
            await tx.workspaces.change(row["workspace_id"], fields)

        await self._store.write(self._caller, change)

    @staticmethod
    def as_text(facts: Mapping[str, Any]) -> str:
        """As a row has them."""
        return json.dumps(facts)

    async def alert(self, kind: str, severity: str, task_id: str, message: str, evidence: Mapping[str, Any]) -> None:
        await self._store.write(
            self._caller, lambda tx: tx.alerts.raise_alert(kind, severity, task_id, message[:_MOST_SAID], evidence)
        )

    async def over(self, kind: str, task_id: str) -> None:
        """The alert ends, if there is one."""
        await self._store.write(self._caller, lambda tx: tx.alerts.resolve_alert(kind, task_id))

    async def alerted(self, kind: str) -> set[str]:
        """The tasks with such an alert."""
        which = {"kind": kind, "open": True}
        found = await self._store.read(self._caller, lambda tx: tx.alerts.page(which, None, _MOST_PLACES))
        return {row["task_id"] for row in found}

    async def now(self) -> datetime:
        """By the store's clock."""

        async def look(tx: Transaction) -> datetime:
            return tx.now

        return await self._store.read(self._caller, look)

    async def is_settled(self, task_id: str) -> bool:
        """Is the task done, failed or cancelled?"""
        task = await self._store.read(self._caller, lambda tx: tx.tasks.find(task_id))
        return task is not None and task.status in SETTLED

    async def close(self, row: Row, why: str | None) -> None:
        """It is gone, or `why` says what it holds. While the task is not settled what is left is still its work: it stays open,
        so that whoever completes the task hands it in."""
        left = "closed" if await self.is_settled(row["task_id"]) else "open"
        facts = {**worktree.facts_of(row), "note": why}
        await self.write(row, state="removed" if why is None else left, facts=facts)

    async def submitted(self, task_id: str) -> str | None:
        """The commit that the task submitted last."""
        found = await self._store.read(self._caller, lambda tx: tx.submissions.commits([task_id]))
        return found.get(task_id)

    async def accepted(self) -> None:
        """A person has looked at what differed."""
        await self._store.write(self._caller, lambda tx: tx.alerts.resolve_alert("violation", None))

    async def others(self, repository: str) -> list[str]:
        """Commits that the store's work began with in repositories of other names."""

        async def look(tx: Transaction) -> list[tuple[str | None, str | None]]:
            entries = await tx.submissions.in_states(tuple(EntryState), _COMPARED)
            rows = await tx.workspaces.on_host(self.host, _COMPARED)
            named = [(worktree.facts_of(row).get("repository"), row["base_sha"]) for row in rows]
            return [*((one["repository"], one["base_sha"]) for one in entries), *named]

        found = await self._store.read(self._caller, look)
        same = any(name == repository for name, _ in found)
        return [] if same else [commit for name, commit in found if name and commit]
