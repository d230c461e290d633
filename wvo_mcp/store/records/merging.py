"""What waits to land and what was said of it; checkpoints of files; messages."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from wvo_mcp.domain.instant import iso
from wvo_mcp.store.records.rows import Numbered, encoded_all
from wvo_mcp.store.sql import parts

_ENTRY = (
    "entry_id, seq, task_id, number, kind, agent_id, repository, host, path, target, commit_sha, base_sha, state, attempts,"
    " tip_sha, candidate_sha, landed_sha, verified, drift, reason, review, findings, pull_request, retry_at,"
    " created_at, updated_at"
)
_CHECKPOINT = (
    'workspace_id, seq, task_id, number, task_checkpoint, commit_sha, tree_sha, "trigger", files_changed, violations,'
    " findings, took_ms, created_at"
)
_MESSAGE = (
    "message_id, seq, from_agent, to_agent, kind, body, task_id, to_task, needs_answer, answers, delivered_at, delivered_to,"
    " deliveries,"
    " acked_at, deadline, created_at"
)
_SHOWN = _MESSAGE.replace("body", "substr(body, 1, 1100) AS body")
_OPEN = "messages INDEXED BY messages_waiting"
"""By itself SQLite takes the index of all that an agent was ever sent."""
_WAITING = f"""
SELECT {_SHOWN} FROM {_OPEN} WHERE to_agent = ? AND acked_at IS NULL AND seq > ?
UNION ALL
SELECT {_SHOWN} FROM {_OPEN} WHERE to_agent > ? AND to_agent < ? AND acked_at IS NULL AND seq > ?
ORDER BY seq"""
_MOST_BUILT_ON = 1_000
_LANDED = frozenset({"merged", "withdrawn"})
_UNLANDED = "WHERE state NOT IN ('merged', 'withdrawn')"
_RECENT = 1_000
"""What changed last is looked for among the newest entries and those that have not landed."""


class Submissions(Numbered):
    """`ports.SubmissionRepository`."""

    async def next_number(self, task_id: str) -> int:
        known = self._rows.value("SELECT number FROM submission_numbers WHERE task_id = ?", (task_id,)) or 0
        self._upsert("submission_numbers", ("task_id",), {"task_id": task_id, "number": known + 1})
        return int(known) + 1

    async def add(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        seq = self._next("merge_entries")
        own = {"entry_id": f"m-{seq}", "seq": seq, "created_at": self._at, "updated_at": self._at}
        self._insert(
            "merge_entries", {"state": "queued", "agent_id": self._caller.agent_id, **encoded_all(fields), **own}
        )
        return (await self.get(f"m-{seq}")) or {}

    async def change(self, entry_id: str, fields: Mapping[str, Any]) -> None:
        self._update("merge_entries", ("entry_id", entry_id), {**encoded_all(fields), "updated_at": self._at})

    async def get(self, entry_id: str) -> dict[str, Any] | None:
        return self._rows.one(f"SELECT {_ENTRY} FROM merge_entries WHERE entry_id = ?", (entry_id,))

    async def of_task(self, task_id: str) -> list[dict[str, Any]]:
        return self._rows.all(f"SELECT {_ENTRY} FROM merge_entries WHERE task_id = ? ORDER BY number DESC", (task_id,))

    async def commits(self, task_ids: Sequence[str]) -> dict[str, str]:
        return {task_id: row["commit_sha"] for task_id, row in (await self._newest(task_ids)).items()}

    async def _newest(self, task_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for part, marks in parts(list(task_ids)):
            rows = self._rows.all(
                f"""
                SELECT {_ENTRY} FROM merge_entries
                WHERE task_id IN ({marks}) AND state <> 'withdrawn' AND kind = 'submission' ORDER BY number""",
                part,
            )
            found |= {row["task_id"]: row for row in rows}
        return found

    async def built_on(self, task_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        seen, todo = {task_id}, [task_id]
        while todo and len(seen) < _MOST_BUILT_ON:
            needed: set[str] = set()
            for part, marks in parts(todo):
                of = f"SELECT depends_on_task_id FROM task_dependencies WHERE task_id IN ({marks})"
                needed |= set(self._rows.column(of, part))
                needed |= set(self._rows.column(f"SELECT id FROM tasks WHERE parent_id IN ({marks})", part))
            new = sorted(needed - seen)
            seen |= needed
            entries = await self._newest(new)
            found += [entries[one] for one in new if one in entries]
            todo = [one for one in new if one not in entries]
        return found

    async def in_states(self, states: Collection[str], limit: int) -> list[dict[str, Any]]:
        marks = ", ".join("?" * len(states))
        # Most entries have landed: what has not is found without them.
        where = "WHERE" if _LANDED & set(states) else f"INDEXED BY merge_entries_open {_UNLANDED} AND"
        return self._rows.all(
            f"SELECT {_ENTRY} FROM merge_entries {where} state IN ({marks}) ORDER BY seq LIMIT ?", (*states, limit)
        )

    async def changed_last(self, states: Collection[str], limit: int) -> list[dict[str, Any]]:
        marks = ", ".join("?" * len(states))
        return self._rows.all(
            f"""
            SELECT {_ENTRY} FROM merge_entries
            WHERE state IN ({marks}) AND seq IN (
              SELECT seq FROM (SELECT seq FROM merge_entries ORDER BY seq DESC LIMIT {_RECENT}) AS recent
              UNION SELECT seq FROM merge_entries INDEXED BY merge_entries_open {_UNLANDED}
            )
            ORDER BY updated_at DESC, seq DESC LIMIT ?""",
            (*states, limit),
        )

    async def below(self, states: Collection[str], limit: int, before: int | None) -> list[dict[str, Any]]:
        marks = ", ".join("?" * len(states))
        return self._rows.all(
            f"SELECT {_ENTRY} FROM merge_entries WHERE seq < ? AND state IN ({marks}) ORDER BY seq DESC LIMIT ?",
            (2**62 if before is None else before, *states, limit),
        )


class Verifications(Numbered):
    """`ports.VerificationRepository`."""

    async def find(self, tree: str, commands_hash: str) -> dict[str, Any] | None:
        row = self._rows.one(
            """
            SELECT passed, took_ms, verdict, created_at FROM verifications WHERE tree_sha = ? AND commands_hash = ?""",
            (tree, commands_hash),
        )
        return None if row is None else {**row, "passed": bool(row["passed"]), "verdict": json.loads(row["verdict"])}

    async def put(
        self, tree: str, commands_hash: str, *, passed: bool, took_ms: int, verdict: Mapping[str, Any]
    ) -> None:
        row = {"passed": passed, "took_ms": took_ms, "verdict": dict(verdict), "created_at": self._now}
        key = {"tree_sha": tree, "commands_hash": commands_hash}
        self._upsert("verifications", tuple(key), {**key, **encoded_all(row)})

    async def forget(self, before: datetime) -> None:
        self._rows.put("DELETE FROM verifications WHERE created_at < ?", (iso(before),))


class Snapshots(Numbered):
    """`ports.SnapshotRepository`."""

    async def next_number(self, task_id: str) -> int:
        last = "SELECT coalesce(max(number), 0) FROM workspace_checkpoints WHERE task_id = ?"
        return 1 + int(self._rows.value(last, (task_id,)))

    async def add(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        last = "SELECT coalesce(max(seq), 0) FROM workspace_checkpoints WHERE workspace_id = ?"
        seq = 1 + int(self._rows.value(last, (fields["workspace_id"],)))
        values = {**encoded_all(fields), "seq": seq, "created_at": self._at}
        self._insert("workspace_checkpoints", {f'"{name}"': value for name, value in values.items()})
        return (await self.of_workspace(fields["workspace_id"], 1))[0]

    async def judged(self, workspace_id: str, seq: int, violations: int, findings: Sequence[Mapping[str, Any]]) -> None:
        self._rows.put(
            "UPDATE workspace_checkpoints SET violations = ?, findings = ? WHERE workspace_id = ? AND seq = ?",
            (violations, encoded_all({"findings": list(findings)})["findings"], workspace_id, seq),
        )

    async def link(self, task_id: str, number: int, task_checkpoint: int) -> None:
        self._rows.put(
            "UPDATE workspace_checkpoints SET task_checkpoint = ?"
            " WHERE task_id = ? AND number = ? AND task_checkpoint IS NULL",
            (task_checkpoint, task_id, number),
        )

    async def remove(self, task_id: str, numbers: Collection[int]) -> None:
        for some, marks in parts(sorted(numbers)):
            self._rows.put(
                f"DELETE FROM workspace_checkpoints WHERE task_id = ? AND number IN ({marks})", (task_id, *some)
            )

    async def of_workspace(self, workspace_id: str, limit: int) -> list[dict[str, Any]]:
        return self._rows.all(
            f"SELECT {_CHECKPOINT} FROM workspace_checkpoints WHERE workspace_id = ? ORDER BY seq DESC LIMIT ?",
            (workspace_id, limit),
        )

    async def of_task(self, task_id: str, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        until, which = ("", ()) if before is None else ("AND number < ? ", (before,))
        return self._rows.all(
            f"SELECT {_CHECKPOINT} FROM workspace_checkpoints WHERE task_id = ? {until}ORDER BY number DESC LIMIT ?",
            (task_id, *which, limit),
        )


class Messages(Numbered):
    """`ports.MessageRepository`."""

    async def add(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        seq = self._next("messages")
        own = {"message_id": f"n-{seq}", "seq": seq, "from_agent": self._caller.agent_id, "created_at": self._at}
        self._insert("messages", {**own, **encoded_all(fields)})
        return (await self.get(f"n-{seq}")) or {}

    async def get(self, message_id: str) -> dict[str, Any] | None:
        return next(iter(self._messages("message_id = ?", (message_id,))), None)

    async def change(self, message_id: str, fields: Mapping[str, Any]) -> None:
        self._update("messages", ("message_id", message_id), fields)

    async def deliver(self, message_id: str, session_id: str) -> None:
        self._rows.put(
            "UPDATE messages SET delivered_at = coalesce(delivered_at, ?), delivered_to = ?, deliveries = deliveries + 1"
            " WHERE message_id = ?",
            (self._at, session_id, message_id),
        )

    async def waiting(self, agent_id: str, limit: int, after: int = 0) -> list[dict[str, Any]]:
        return self._rows.all(_waiting(limit), _whose(agent_id, after))

    async def prefetch_waiting(self, agent_id: str, limit: int) -> None:
        self._rows.prefetch_statement(_waiting(limit), _whose(agent_id, 0), of="messages")

    async def hand_over(self, task_id: str, kinds: Collection[str], agent_id: str) -> None:
        marks = ", ".join("?" * len(kinds))
        self._rows.put(
            "UPDATE messages SET to_agent = ?, delivered_at = NULL"
            f" WHERE task_id = ? AND acked_at IS NULL AND (kind IN ({marks}) OR to_task = task_id)",
            (agent_id, task_id, *sorted(kinds)),
        )

    async def listed(self, agent_id: str, limit: int, after: int, *, all_of_them: bool) -> list[dict[str, Any]]:
        table, still = ("messages", "") if all_of_them else (_OPEN, "acked_at IS NULL AND ")
        return self._messages(f"{still}to_agent = ? AND seq > ? ORDER BY seq LIMIT ?", (agent_id, after, limit), table)

    async def open_between(self, sender: str, receiver: str, most: int) -> tuple[int, int, int]:
        counted = [
            self._rows.value(f"SELECT count(*) FROM (SELECT 1 FROM {which} LIMIT ?) AS counted", (*who, most))
            for which, who in (
                ("messages WHERE from_agent = ? AND acked_at IS NULL", (sender,)),
                (f"{_OPEN} WHERE to_agent = ? AND acked_at IS NULL", (receiver,)),
                (f"{_OPEN} WHERE to_agent = ? AND acked_at IS NULL AND needs_answer = 1", (receiver,)),
            )
        ]
        return int(counted[0]), int(counted[1]), int(counted[2])

    async def overdue(self, limit: int) -> list[dict[str, Any]]:
        return self._messages("acked_at IS NULL AND deadline <= ? ORDER BY deadline LIMIT ?", (self._at, limit))

    def _messages(self, rest: str, params: Any, table: str = "messages") -> list[dict[str, Any]]:
        return self._rows.all(f"SELECT {_MESSAGE} FROM {table} WHERE {rest}", params)


def _whose(agent_id: str, after: int) -> tuple[Any, ...]:
    return agent_id, after, f"{agent_id}.", f"{agent_id}/", after  # `/` follows `.`


def _waiting(limit: int) -> str:
    # SQLite compiles a statement anew for each value that is bound to its limit, and each call looks.
    return f"{_WAITING} LIMIT {limit:d}"
