"""Files that agents keep for themselves."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from wvo_mcp.domain.files import beginning
from wvo_mcp.store.records.rows import Numbered, encoded_all
from wvo_mcp.store.sql import parts

_COLUMNS = "reservation_id, seq, agent_id, task_id, lease_token, pattern, mode, created_at, expires_at, ended_at"
_LIVE = f"SELECT {_COLUMNS} FROM file_reservations WHERE ended_at IS NULL AND expires_at > ?"
_HIGHEST = "\U0010ffff"


class Reservations(Numbered):
    """`ports.ReservationRepository`. Two globs have no path in common unless the letters before the first wildcard of one
    begin those of the other: so those in the way of a glob are found by its own beginnings, and by what begins with it."""

    async def add(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        seq = self._next("file_reservations")
        own = {
            "reservation_id": f"F-{seq}",
            "seq": seq,
            "created_at": self._at,
            "beginning": beginning(fields["pattern"]),
        }
        self._insert("file_reservations", {**own, **encoded_all(fields)})
        return await self.get(f"F-{seq}") or {}

    async def prefetch_near(self, agent_id: str, files: Sequence[str], *, exclusive: bool) -> None:
        for statement, params in self._looks(agent_id, files, exclusive=exclusive):
            self._rows.prefetch_statement(statement, params, of="file_reservations")

    async def near(self, agent_id: str, files: Sequence[str], *, exclusive: bool) -> list[dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        for statement, params in self._looks(agent_id, files, exclusive=exclusive):
            found |= {row["seq"]: row for row in self._rows.all(statement, params)}
        return [found[seq] for seq in sorted(found)]

    def _looks(self, agent_id: str, files: Sequence[str], *, exclusive: bool) -> Iterator[tuple[str, list[Any]]]:
        others = f"{_LIVE} AND agent_id <> ?" + (" AND mode = 'exclusive'" if exclusive else "")
        begun = sorted(set(map(beginning, files)))
        shorter = {text[:end] for text in begun for end in range(len(text) + 1)}
        for some, marks in parts(sorted(shorter)):
            yield f"{others} AND beginning IN ({marks})", [self._at, agent_id, *some]
        for text in begun:
            yield f"{others} AND beginning > ? AND beginning < ?", [self._at, agent_id, text, text + _HIGHEST]

    async def of_others(self, agent_id: str) -> list[dict[str, Any]]:
        exclusive = f"{_LIVE} AND agent_id <> ? AND mode = 'exclusive' ORDER BY seq"
        return self._rows.all(exclusive, (self._at, agent_id))

    async def live(self, agent_id: str | None, limit: int) -> list[dict[str, Any]]:
        whose, who = ("", ()) if agent_id is None else (" AND agent_id = ?", (agent_id,))
        return self._rows.all(f"{_LIVE}{whose} ORDER BY seq LIMIT ?", (self._at, *who, limit))

    async def get(self, reservation_id: str) -> dict[str, Any] | None:
        return self._rows.one(f"SELECT {_COLUMNS} FROM file_reservations WHERE reservation_id = ?", (reservation_id,))

    async def end(self, reservation_ids: Collection[str]) -> None:
        for some, marks in parts(sorted(reservation_ids)):
            self._rows.put(
                f"UPDATE file_reservations SET ended_at = ? WHERE reservation_id IN ({marks}) AND ended_at IS NULL",
                (self._at, *some),
            )

    async def end_of_task(self, task_id: str) -> None:
        self._rows.put(
            "UPDATE file_reservations SET ended_at = ? WHERE ended_at IS NULL AND task_id IS NOT NULL AND task_id = ?",
            (self._at, task_id),
        )

    async def lapse(self) -> None:
        self._rows.put(
            "UPDATE file_reservations SET ended_at = expires_at WHERE ended_at IS NULL AND expires_at <= ?", (self._at,)
        )
