"""The audit trail: append-only, hash-chained per task; and the alerts that follow from it."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wvo_mcp.domain.event import GENESIS, HEARTBEAT, PRUNED, Event, canonical, chain_hash, joined, pruned
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.redaction import redact
from wvo_mcp.store.records.rows import Repository
from wvo_mcp.store.sql import Rows

_COLUMNS = "seq, at, kind, task_id, agent_id, session_id, data"


class Events(Repository):
    """`ports.EventRepository`."""

    def __init__(self, rows: Rows, now: datetime, caller: Caller, last_seq: int | None = None) -> None:
        super().__init__(rows, now, caller)
        self._last_seq = last_seq
        self._heads: dict[str, str] = {}
        self.appended: list[tuple[str, str | None, Mapping[str, Any]]] = []

    async def append(self, kind: str, task_id: str | None, data: Mapping[str, Any]) -> None:
        if task_id is None:
            prev = (
                self._rows.value("SELECT hash FROM events WHERE task_id IS NULL ORDER BY seq DESC LIMIT 1") or GENESIS
            )
        else:
            prev = self._heads.get(task_id)
            if prev is None:
                prev = self._rows.value("SELECT event_head FROM tasks WHERE id = ?", (task_id,)) or GENESIS
        head = self.insert(kind, task_id, data, prev)
        if task_id is not None:
            self._rows.put("UPDATE tasks SET event_head = ? WHERE id = ?", (head, task_id))

    def insert(self, kind: str, task_id: str | None, data: Mapping[str, Any], prev: str) -> str:
        """Write the event; its hash, which the caller keeps as the task's `event_head`."""
        seq = self._last_seq = self._seq() + 1
        agent_id, session_id = self._caller.agent_id, self._caller.session_id
        admitted = self._caller.admitted
        if admitted is not None:
            data = {**data, "worker_id": admitted.worker_id, "lease_session": admitted.lease_session}
        text = redact(canonical(data), shapes_only=True)
        head = chain_hash(prev, seq, self._at, kind, task_id, agent_id, session_id, text)
        self._rows.put(
            "INSERT INTO events (seq, at, kind, task_id, agent_id, session_id, data, prev_hash, hash)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (seq, self._at, kind, task_id, agent_id, session_id, text, prev, head),
        )
        self._rows.last_event = (seq, head)
        self.appended.append((kind, task_id, data))
        if task_id is not None:
            self._heads[task_id] = head
        return head

    def head(self, task_id: str, read: str) -> str:
        """Hash of the task's last event: that of this transaction, or else the one that was read with the task."""
        return self._heads.get(task_id, read)

    async def count(self, kind: str) -> int:
        return int(self._rows.value("SELECT count(*) FROM events WHERE kind = ?", (kind,)))

    async def since(self, kind: str, at: datetime, limit: int) -> int:
        newest = "SELECT at FROM events WHERE kind = ? ORDER BY seq DESC LIMIT ?"
        return int(self._rows.value(f"SELECT count(*) FROM ({newest}) AS newest WHERE at > ?", (kind, limit, iso(at))))

    async def by_hour(self, kind: str, at: datetime, limit: int) -> dict[str, int]:
        newest = "SELECT at FROM events WHERE kind = ? ORDER BY seq DESC LIMIT"
        since, reach = iso(at)[:13], min(64, limit)
        # So many events back, twice as many each time: what came before them costs nothing.
        while reach < limit and (self._rows.value(f"{newest} 1 OFFSET ?", (kind, reach)) or "") >= since:
            reach = min(limit, reach * 2)
        rows = self._rows.execute(
            f"SELECT substr(at, 1, 13), count(*) FROM ({newest} ?) AS newest WHERE at >= ? GROUP BY 1 ORDER BY 1",
            (kind, reach, since),
        )
        return {row[0]: int(row[1]) for row in rows}

    async def of_task(self, task_id: str, limit: int) -> list[Event]:
        rows = self._rows.all(
            f"SELECT {_COLUMNS} FROM events WHERE task_id = ? ORDER BY seq DESC LIMIT ?", (task_id, limit)
        )
        return [_event(row) for row in reversed(rows)]

    async def after(self, seq: int, limit: int, task_id: str | None, kind: str | None) -> list[Event]:
        rows = self._rows.all(
            f"SELECT {_COLUMNS} FROM events WHERE seq > :seq AND {_of(task_id, kind)} ORDER BY seq LIMIT :limit",
            {"seq": seq, "limit": limit, "task_id": task_id, "kind": kind},
        )
        return [_event(row) for row in rows]

    async def before_last(self, limit: int, task_id: str | None, kind: str | None, before: int | None = None) -> int:
        until = "seq > 0" if before is None else "seq > 0 AND seq < :before"
        last = f"SELECT seq FROM events WHERE {until} AND {_of(task_id, kind)} ORDER BY seq DESC LIMIT :limit"
        given = {"limit": limit, "task_id": task_id, "kind": kind, "before": before}
        first = self._rows.value(f"SELECT min(seq) FROM ({last}) AS last", given)
        return int(first or 1) - 1

    async def last_seq(self) -> int:
        return self._seq()

    def _seq(self) -> int:
        if self._last_seq is None:
            self._last_seq = int(self._rows.value("SELECT max(seq) FROM events") or 0)
        return self._last_seq

    async def prune(self, before: datetime, limit: int) -> int:
        removed = 0
        chains: dict[str | None, list[dict[str, Any]]] = {}
        for which, given in (("task_id IS NULL", ()), ("kind = ?", (HEARTBEAT,))):
            old = f"SELECT seq, task_id, prev_hash, hash FROM events WHERE {which} AND at < ? ORDER BY seq LIMIT ?"
            for row in self._rows.all(old, (*given, iso(before), limit)):
                chains.setdefault(row["task_id"], []).append(row)
                removed += 1
        for task_id, rows in chains.items():
            gaps = self._gaps(task_id)  # also those of what is removed now
            self._rows.run_many("DELETE FROM events WHERE seq = ?", [(row["seq"],) for row in rows])
            data = pruned([(row["seq"], row["prev_hash"], row["hash"]) for row in rows], gaps)
            await self.append(PRUNED, task_id, data)
        return removed

    def _gaps(self, task_id: str | None) -> dict[str, str]:
        """Of each stretch that was pruned from a chain, its last hash and the one before its first."""
        texts = self._rows.column(
            "SELECT data FROM events WHERE task_id IS NOT DISTINCT FROM ? AND kind = ?", (task_id, PRUNED)
        )
        return {last: before for text in texts for before, last in json.loads(text)["gaps"]}

    async def broken_chain(self, task_id: str | None) -> int | None:
        prev = GENESIS
        seq = 0
        gaps = self._gaps(task_id)
        for row in self._rows.all(
            f"SELECT {_COLUMNS}, prev_hash, hash FROM events WHERE task_id IS NOT DISTINCT FROM ? ORDER BY seq",
            (task_id,),
        ):
            seq = int(row["seq"])
            rest = (row["at"], row["kind"], row["task_id"], row["agent_id"], row["session_id"], row["data"])
            if joined(row["prev_hash"], gaps) != prev and row["prev_hash"] != prev:
                return seq
            if row["hash"] != chain_hash(row["prev_hash"], seq, *rest):
                return seq
            prev = row["hash"]
        if task_id is not None:
            head = self._rows.value("SELECT event_head FROM tasks WHERE id = ?", (task_id,))
            if head is not None and head != prev:
                return seq + 1  # the end of the chain is missing
        return None


def _of(task_id: str | None, kind: str | None) -> str:
    """A condition on events: those of this task and kind, as far as they are given."""
    given = {"task_id = :task_id": task_id, "kind = :kind": kind}
    return " AND ".join(sql for sql, value in given.items() if value is not None) or "TRUE"


def _event(row: Mapping[str, Any]) -> Event:
    return Event.model_validate({**row, "data": json.loads(row["data"])})
