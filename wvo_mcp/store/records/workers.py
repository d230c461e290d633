"""Workers, their places, approvals and violations."""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from wvo_mcp.domain.approval import Approval, ApprovalState, subject_hash
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.redaction import redact, redacted
from wvo_mcp.domain.worker import RESTING, Worker, WorkerState
from wvo_mcp.errors import NotFound
from wvo_mcp.ports.workers import Violation
from wvo_mcp.store.records.rows import Numbered, encoded_all

_WORKER = ", ".join(Worker.model_fields)
_APPROVAL = ", ".join(Approval.model_fields)
_WAITS = "state = 'pending' AND (expires_at IS NULL OR expires_at > ?)"
_PLACE = (
    "workspace_id, task_id, lease_token, host, path, branch, target, base_sha, mode, state, bytes, facts,"
    " created_at, updated_at"
)

_OPEN_OF = f"""
    SELECT {_PLACE} FROM workspaces WHERE task_id = ? AND state NOT IN ('removed', 'failed')
    ORDER BY created_at DESC, workspace_id DESC LIMIT 1"""


class Workers(Numbered):
    """`ports.WorkerRepository`."""

    async def add(self, fields: Mapping[str, Any], key: str | None = None) -> Worker:
        seq = self._next("workers")
        own = {"worker_id": f"w-{seq}", "seq": seq, "since": self._at, "started_at": self._at}
        state = {"state": WorkerState.STARTING.value, **encoded_all(fields)}
        self._insert("workers", {**state, **own, "key_hash": None if key is None else _hashed(key)})
        return await self.get(f"w-{seq}")

    async def change(self, worker_id: str, fields: Mapping[str, Any]) -> None:
        changes = dict(fields)
        state = changes.get("state")
        if state is not None and "since" not in changes:
            known = self._rows.value("SELECT state FROM workers WHERE worker_id = ?", (worker_id,))
            if known != str(state):
                changes["since"] = self._now
        if state is not None and (state in RESTING or state == WorkerState.ENDED):
            changes["key_hash"] = None
        if changes:
            self._update("workers", ("worker_id", worker_id), changes)

    async def get(self, worker_id: str) -> Worker:
        for worker in self._workers("worker_id = ?", (worker_id,)):
            return worker
        known = [worker.worker_id for worker in await self.recent(100)]
        near = difflib.get_close_matches(worker_id, known, 5, 0.6)
        raise NotFound("worker", worker_id, near, field="worker_id", hint="wvo-mcp workers lists them.")

    async def by_key(self, key: str) -> Worker | None:
        return next(iter(self._workers("key_hash = ? AND ended_at IS NULL", (_hashed(key),))), None)

    async def open(self, host: str | None = None) -> list[Worker]:
        which, given = ("", ()) if host is None else (" AND host = ?", (host,))
        return self._workers(f"ended_at IS NULL{which} ORDER BY seq", given, "INDEXED BY workers_open")

    async def of_task(self, task_id: str, limit: int, before: int | None = None) -> list[Worker]:
        until, which = ("", ()) if before is None else ("AND seq < ? ", (before,))
        mine = f"task_id = ? AND review_id IS NULL {until}ORDER BY seq DESC LIMIT ?"
        return self._workers(mine, (task_id, *which, limit))

    async def about(self, ids: Sequence[str]) -> list[Worker]:
        marks = ", ".join("?" * len(ids))
        return self._workers(f"task_id IN ({marks}) ORDER BY seq", tuple(ids)) if ids else []

    async def recent(self, limit: int, before: int | None = None) -> list[Worker]:
        running = await self.open() if before is None else []
        until, which = ("", ()) if before is None else ("seq < ? AND ", (before,))
        room = max(0, limit - len(running))
        ended = self._workers(f"{until}ended_at IS NOT NULL ORDER BY seq DESC LIMIT ?", (*which, room))
        return [*running, *ended]

    async def totals_of(self, task_id: str) -> list[dict[str, Any]]:
        return self._rows.all(
            "SELECT CASE WHEN review_id IS NULL THEN 0 ELSE 1 END AS answers, count(*) AS runs, sum(tokens_in) AS tokens_in,"
            " sum(tokens_out) AS tokens_out, sum(cost_usd) AS cost_usd FROM workers WHERE task_id = ?"
            " GROUP BY 1 ORDER BY 1",
            (task_id,),
        )

    async def spent(
        self, run_id: str | None = None, task_id: str | None = None, since: datetime | None = None
    ) -> float:
        of_task = "review_id IS NULL AND task_id = ?"
        where = {"run_id = ?": run_id, of_task: task_id, "started_at >= ?": None if since is None else iso(since)}
        used = {condition: value for condition, value in where.items() if value is not None}
        cost = "CASE WHEN ended_at IS NULL AND reserved_usd > cost_usd THEN reserved_usd ELSE cost_usd END"
        conditions, params = " AND ".join(used) or "TRUE", list[Any](used.values())
        if since is not None:
            conditions, params = f"seq > ? AND {conditions}", [self._launched_by(iso(since)), *params]
        return float(self._rows.value(f"SELECT coalesce(sum({cost}), 0) FROM workers WHERE {conditions}", params))

    def _launched_by(self, at: str) -> int:
        """A number of a worker that was launched before then; 0 where none was."""
        back = 64  # so many launches back, twice as many each time: what came before them costs nothing
        earlier = "SELECT seq, started_at FROM workers ORDER BY seq DESC LIMIT 1 OFFSET ?"
        while (row := self._rows.one(earlier, (back,))) is not None:
            if row["started_at"] < at:
                return int(row["seq"])
            back *= 2
        return 0

    async def past_costs(self, provider: str, tier: str, limit: int) -> list[float]:
        return self._rows.column(
            """
            SELECT cost_usd FROM workers WHERE provider = ? AND tier = ? AND outcome IN ('completed', 'failed')
              AND review_id IS NULL
            ORDER BY seq DESC LIMIT ?""",
            (provider, tier, limit),
        )

    def _workers(self, rest: str, params: Any, index: str = "") -> list[Worker]:
        rows = self._rows.all(f"SELECT {_WORKER} FROM workers {index} WHERE {rest}", params)
        return [Worker.model_validate(row) for row in rows]


class Workspaces(Numbered):
    """`ports.WorkspaceRepository`."""

    async def add(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        self._insert("workspaces", {**encoded_all(fields), "created_at": self._at, "updated_at": self._at})
        return (await self.get(fields["workspace_id"])) or {}

    async def change(self, workspace_id: str, fields: Mapping[str, Any]) -> None:
        self._update("workspaces", ("workspace_id", workspace_id), {**fields, "updated_at": self._at})

    async def get(self, workspace_id: str) -> dict[str, Any] | None:
        return self._rows.one(f"SELECT {_PLACE} FROM workspaces WHERE workspace_id = ?", (workspace_id,))

    async def open_of(self, task_id: str) -> dict[str, Any] | None:
        return self._rows.one(_OPEN_OF, (task_id,))

    async def prefetch_open_of(self, task_id: str) -> None:
        self._rows.prefetch_statement(_OPEN_OF, (task_id,), of="workspaces")

    async def unfinished(self, host: str) -> list[dict[str, Any]]:
        return self._rows.all(
            f"SELECT {_PLACE} FROM workspaces WHERE host = ? AND state IN ('making', 'removing') ORDER BY created_at",
            (host,),
        )

    async def on_host(self, host: str, limit: int) -> list[dict[str, Any]]:
        return self._rows.all(
            f"""
            SELECT {_PLACE} FROM workspaces WHERE host = ? AND state NOT IN ('removed', 'failed')
            ORDER BY created_at LIMIT ?""",
            (host, limit),
        )

    async def everywhere(self, limit: int) -> list[dict[str, Any]]:
        return self._rows.all(
            f"""
            SELECT {_PLACE} FROM workspaces WHERE state NOT IN ('removed', 'failed')
            ORDER BY created_at, workspace_id LIMIT ?""",
            (limit,),
        )


class Approvals(Numbered):
    """`ports.ApprovalRepository`."""

    async def add(self, fields: Mapping[str, Any]) -> Approval:
        seq = self._next("approvals")
        own = {
            "approval_id": f"A-{seq}",
            "seq": seq,
            "state": ApprovalState.PENDING.value,
            "subject_hash": subject_hash(fields["subject"]),
            "asked_by": self._caller.agent_id,
            "asked_session": self._caller.session_id,
            "created_at": self._at,
        }
        shown = {"subject": redacted(fields["subject"])}  # the hash is of what was asked
        self._insert("approvals", {**own, **encoded_all({**fields, **shown})})
        return await self.get(f"A-{seq}")

    async def get(self, approval_id: str) -> Approval:
        approval = await self.find(approval_id)
        if approval is not None:
            return approval
        near = [one.approval_id for one in await self.waiting(5)]
        raise NotFound("approval", approval_id, near, field="approval_id", hint="wvo-mcp approvals lists them.")

    async def find(self, approval_id: str) -> Approval | None:
        return next(iter(self._approvals("approval_id = ?", (approval_id,))), None)

    async def of_task(self, task_id: str, limit: int) -> list[Approval]:
        return self._approvals("task_id = ? ORDER BY seq DESC LIMIT ?", (task_id, limit))

    async def change(self, approval_id: str, fields: Mapping[str, Any]) -> Approval:
        self._update("approvals", ("approval_id", approval_id), fields)
        return await self.get(approval_id)

    async def open_of_task(self, task_id: str) -> list[Approval]:
        return self._approvals("task_id = ? AND state = 'pending' ORDER BY seq", (task_id,))

    async def usable(self, kind: str, subject_hash: str) -> Approval | None:
        found = self._approvals(
            "subject_hash = ? AND kind = ? AND state = 'approved' ORDER BY seq LIMIT 1", (subject_hash, kind)
        )
        return next(iter(found), None)

    async def newest_about(self, topic: str) -> Approval | None:
        return next(iter(self._approvals("topic = ? ORDER BY seq DESC LIMIT 1", (topic,))), None)

    async def open_of_kind(self, kind: str) -> list[Approval]:
        return self._approvals("state = 'pending' AND kind = ? ORDER BY seq", (kind,))

    async def decided(self, limit: int, before: int | None = None) -> list[Approval]:
        older, given = ("", ()) if before is None else ("seq < ? AND ", (before,))
        return self._approvals(f"{older}NOT ({_WAITS}) ORDER BY seq DESC LIMIT ?", (*given, self._at, limit))

    async def waiting(self, limit: int, after: int | None = None) -> list[Approval]:
        rank = "expires_at IS NULL, coalesce(expires_at, ''), seq"
        later, given = "", ()
        if after is not None:
            later, given = f" AND ({rank}) > (SELECT {rank} FROM approvals WHERE seq = ?)", (after,)
        order = "ORDER BY expires_at IS NULL, expires_at, seq LIMIT ?"
        return self._approvals(f"{_WAITS}{later} {order}", (self._at, *given, limit))

    async def count_waiting(self) -> int:
        return int(self._rows.value(f"SELECT count(*) FROM approvals WHERE {_WAITS}", (self._at,)))

    async def expired(self, limit: int) -> list[Approval]:
        return self._approvals("state = 'pending' AND expires_at <= ? ORDER BY expires_at LIMIT ?", (self._at, limit))

    def _approvals(self, rest: str, params: Any) -> list[Approval]:
        rows = self._rows.all(f"SELECT {_APPROVAL} FROM approvals WHERE {rest}", params)
        return [Approval.model_validate({**row, "subject": json.loads(row["subject"])}) for row in rows]


class Violations(Numbered):
    """`ports.ViolationRepository`."""

    async def add(self, violation: Violation) -> None:
        seq = self._next("violations")
        shown = {
            "subject": str(redact(violation.subject))[:4_000],
            "kind": violation.kind,
            "verdict": violation.verdict,
        }
        who = {"task_id": violation.task_id, "worker_id": violation.worker_id, "agent_id": self._caller.agent_id}
        self._insert("violations", {"seq": seq, "at": self._at, "rule": violation.rule, **who, **shown})

    async def page(self, task_id: str | None, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        given = {"task_id = ?": task_id, "seq < ?": before}
        used = {condition: value for condition, value in given.items() if value is not None}
        return self._rows.all(
            f"""
            SELECT seq, at, task_id, worker_id, agent_id, kind, verdict, rule, subject FROM violations
            WHERE {" AND ".join(used) or "TRUE"} ORDER BY seq DESC LIMIT ?""",
            (*used.values(), limit),
        )


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
