"""Reviews: who is to look at which work, what was said, and what followed."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.redaction import redacted
from wvo_mcp.domain.review import Review
from wvo_mcp.errors import NotFound
from wvo_mcp.store.records.rows import Numbered, encoded_all

_REVIEW = ", ".join(f'r."{name}"' for name in Review.model_fields)
_SAID = ("summary", "issues", "question", "explanation")


class Reviews(Numbered):
    """`ports.ReviewRepository`."""

    async def add(self, fields: Mapping[str, Any]) -> Review:
        seq = self._next("reviews")
        own = {"review_id": f"R-{seq}", "seq": seq, "asked_at": self._at}
        values = {"state": "asked", **encoded_all(_clean(fields)), **own}
        self._insert("reviews", {f'"{name}"': value for name, value in values.items()})
        return await self.get(f"R-{seq}")

    async def change(self, review_id: str, fields: Mapping[str, Any]) -> Review:
        self._update("reviews", ("review_id", review_id), _clean(fields))
        return await self.get(review_id)

    async def get(self, review_id: str) -> Review:
        for review in self._reviews("r.review_id = ?", (review_id,)):
            return review
        near = [one.review_id for one in self._reviews("r.state IN ('asked', 'running') ORDER BY r.seq LIMIT 5", ())]
        raise NotFound("review", review_id, near, field="review_id", hint="review_status lists those of a task.")

    async def last_round(self, task_id: str) -> int:
        return int(self._rows.value("SELECT coalesce(max(round), 0) FROM reviews WHERE task_id = ?", (task_id,)))

    async def of_round(self, task_id: str, round: int) -> list[Review]:
        return self._reviews("r.task_id = ? AND r.round = ? ORDER BY r.seq", (task_id, round))

    async def of_commit(self, task_id: str, commit: str) -> list[Review]:
        return self._reviews(
            "r.task_id = ? AND r.commit_sha = ? AND r.state = 'answered' ORDER BY r.answered_at, r.seq",
            (task_id, commit),
        )

    async def of_task(self, task_id: str, limit: int) -> list[Review]:
        return self._reviews("r.task_id = ? ORDER BY r.seq DESC LIMIT ?", (task_id, limit))

    async def open_of_task(self, task_id: str) -> list[Review]:
        return self._reviews("r.task_id = ? AND r.state IN ('asked', 'running') ORDER BY r.seq", (task_id,))

    async def to_do(self, limit: int) -> list[Review]:
        return self._reviews("r.state IN ('asked', 'running') AND r.state = 'asked' ORDER BY r.seq LIMIT ?", (limit,))

    async def page(self, limit: int, before: int | None = None) -> list[Review]:
        over = "r.state NOT IN ('asked', 'running')"
        if before is not None:
            return self._reviews(f"r.seq < ? AND {over} ORDER BY r.seq DESC LIMIT ?", (before, limit))
        waiting = self._reviews("r.state IN ('asked', 'running') ORDER BY r.seq LIMIT ?", (limit,))
        return [*waiting, *self._reviews(f"{over} ORDER BY r.seq DESC LIMIT ?", (limit - len(waiting),))]

    async def overdue(self, limit: int) -> list[Review]:
        return self._reviews(
            "r.state IN ('asked', 'running') AND r.state = 'running' AND r.deadline <= ? ORDER BY r.seq LIMIT ?",
            (self._at, limit),
        )

    async def warned(self, before: datetime, limit: int) -> list[Review]:
        return self._reviews(
            """
            r.decision = 'warn' AND r.holds = 1 AND r.answered_at <= ?
              AND EXISTS (SELECT 1 FROM tasks AS t WHERE t.id = r.task_id AND t.status = 'pending')
              AND NOT EXISTS (
                SELECT 1 FROM reviews AS later
                WHERE later.task_id = r.task_id AND (
                  (later.round > r.round AND later.holds = 1) OR (later.round = r.round AND later.answered_at > r.answered_at)
                  OR (later.round = r.round AND later.answered_at = r.answered_at AND later.seq > r.seq)
                )
              )
            ORDER BY r.seq LIMIT ?""",
            (iso(before), limit),
        )

    async def unreviewed(self, since: datetime, limit: int) -> list[str]:
        return self._rows.column(
            """
            SELECT t.id FROM tasks AS t
            WHERE t.status = 'in_progress' AND NOT EXISTS (
              SELECT 1 FROM reviews AS r WHERE r.task_id = t.id AND r.asked_at > ?
            ) AND NOT EXISTS (
              SELECT 1 FROM events AS e WHERE e.task_id = t.id AND e.kind = 'task.claimed' AND e.at > ?
            )
            ORDER BY t.seq LIMIT ?""",
            (iso(since), iso(since), limit),
        )

    async def last_of_milestone(self, task_id: str, milestone_id: str) -> bool:
        other = """
            SELECT 1 FROM tasks
            WHERE milestone_id = ? AND id <> ? AND status NOT IN ('done', 'cancelled', 'in_review') LIMIT 1"""
        return self._rows.value(other, (milestone_id, task_id)) is None

    def _reviews(self, rest: str, params: Any) -> list[Review]:
        rows = self._rows.all(f"SELECT {_REVIEW} FROM reviews AS r WHERE {rest}", params)
        return [
            Review.model_validate(
                {**row, "issues": json.loads(row["issues"]), "candidates": json.loads(row["candidates"])}
            )
            for row in rows
        ]


def _clean(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What people or programs said may hold a secret that they saw."""
    return {name: redacted(value) if name in _SAID else value for name, value in fields.items()}
