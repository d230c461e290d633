"""Checkpoints and context."""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from wvo_mcp.domain.memory import ContextEntry, Scope
from wvo_mcp.domain.task import Checkpoint, Task
from wvo_mcp.store.records.rows import Repository, match_any

RECENT = 2_000
"""So many of the newest entries a claim searches: its work stays bounded in a store of any size."""

_CHECKPOINT = "id, seq, parent_id, agent_id, summary, next_steps, progress, files, created_at"
_ENTRY = "topic, version, content, tags, created_at AS at"

NEWEST = "SELECT max(id) FROM context_entries"


class Memory(Repository):
    """`ports.MemoryRepository`."""

    async def add_checkpoint(
        self, task_id: str, summary: str, next_steps: str | None, progress: int | None, files: Sequence[str]
    ) -> Checkpoint:
        last = await self.last_checkpoint(task_id)
        seq = 1 if last is None else last.seq + 1
        row: dict[str, Any] = {
            "id": f"{task_id}:{seq}",
            "task_id": task_id,
            "seq": seq,
            "parent_id": None if last is None else last.id,
            "agent_id": self._caller.agent_id,
            "session_id": self._caller.session_id,
            "summary": summary,
            "next_steps": next_steps,
            "progress": progress,
            "files": json.dumps(list(files), ensure_ascii=False),
            "created_at": self._at,
        }
        self._insert("checkpoints", row)
        return _checkpoint(row)

    async def last_checkpoint(self, task_id: str) -> Checkpoint | None:
        row = self._rows.one(
            f"SELECT {_CHECKPOINT} FROM checkpoints WHERE task_id = ? ORDER BY seq DESC LIMIT 1", (task_id,)
        )
        return None if row is None else _checkpoint(row)

    async def checkpoints(self, task_id: str, limit: int) -> list[Checkpoint]:
        rows = self._rows.all(
            f"SELECT {_CHECKPOINT} FROM checkpoints WHERE task_id = ? ORDER BY seq DESC LIMIT ?", (task_id, limit)
        )
        return [_checkpoint(row) for row in reversed(rows)]

    async def write(
        self, topic: str, content: str, tags: Sequence[str], scope: Scope, task_id: str | None, epic_id: str | None
    ) -> int:
        last = self._rows.value("SELECT max(version) FROM context_entries WHERE topic = ?", (topic,))
        version = int(last or 0) + 1
        about = {"scope": scope.value, "task_id": task_id, "epic_id": epic_id, "agent_id": self._caller.agent_id}
        text = {"content": content, "tags": json.dumps(list(tags), ensure_ascii=False)}
        row = {"topic": topic, "version": version, **text, **about, "created_at": self._at}
        self._insert("context_entries", row)
        return version

    async def versions(self, topic: str, limit: int) -> list[ContextEntry]:
        return self._entries("topic = :topic", "version DESC", {"topic": topic, "limit": limit})

    async def latest(self, task_id: str | None, limit: int) -> list[ContextEntry]:
        condition = "TRUE" if task_id is None else "task_id = :task_id"
        return self._entries(condition, "id DESC", {"task_id": task_id, "limit": limit})

    async def for_task(self, task: Task, limit: int) -> list[ContextEntry]:
        own = self._entries("task_id = :task_id", "id DESC", {"task_id": task.id, "limit": limit})
        if task.epic_id is None or len(own) >= limit:
            return own
        of_epic = self._entries(
            "epic_id = :epic_id AND scope = 'epic'", "id DESC", {"epic_id": task.epic_id, "limit": limit - len(own)}
        )
        return [*own, *of_epic]

    async def search(self, query: str, task_id: str | None, limit: int, *, recent_only: bool) -> list[ContextEntry]:
        floor = "(SELECT max(id) FROM context_entries) - :recent" if recent_only else "0"
        rows = self._rows.all(
            f"""
            SELECT e.topic, e.version, e.content, e.tags, e.created_at AS at, found.rank
            FROM ({self._rows.dialect.context_matches.format(floor=floor)} LIMIT :most) AS found
            CROSS JOIN context_entries AS e ON e.id = found.id
            WHERE {"TRUE" if task_id is None else "e.task_id = :task_id"} AND NOT EXISTS (
              SELECT 1 FROM context_entries AS later WHERE later.topic = e.topic AND later.version > e.version
            )
            ORDER BY found.rank LIMIT :limit
            """,
            {
                "query": match_any(self._rows.dialect, query),
                "recent": RECENT,
                "task_id": task_id,
                "limit": limit,
                # More than is wanted: old versions and other tasks are left out afterwards.
                "most": limit * 4 if task_id is None else 1_000,
            },
        )
        return [_entry({**row, "rank": round(row["rank"], 4)}) for row in rows]

    async def anything(self) -> bool:
        return self._rows.value(NEWEST) is not None

    async def topics_near(self, wanted: str) -> list[str]:
        known = self._rows.column("SELECT DISTINCT topic FROM context_entries LIMIT 3000")
        return difflib.get_close_matches(wanted, known, n=5, cutoff=0.5)

    def _entries(self, condition: str, order: str, params: Mapping[str, Any]) -> list[ContextEntry]:
        rows = self._rows.all(
            f"SELECT {_ENTRY} FROM context_entries WHERE {condition} ORDER BY {order} LIMIT :limit", params
        )
        return [_entry(row) for row in rows]


def _checkpoint(row: Mapping[str, Any]) -> Checkpoint:
    return Checkpoint.model_validate({**row, "files": json.loads(row["files"])})


def _entry(row: Mapping[str, Any]) -> ContextEntry:
    return ContextEntry.model_validate({"rank": None, **row, "tags": json.loads(row["tags"])})
