"""Goals: their plans, and how far each has come."""

import json
from collections.abc import Mapping
from typing import Any

from wvo_mcp.store.records.rows import Numbered, encoded_all

_COLUMNS = "orchestration_id, seq, goal, state, tier, plan, plan_hash, facts, created_at, updated_at"


class Orchestrations(Numbered):
    """`ports.planning.OrchestrationRepository`."""

    async def add(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        seq = self._next("orchestrations")
        known = {"orchestration_id": f"O-{seq}", "seq": seq, "created_at": self._at, "updated_at": self._at}
        self._insert("orchestrations", {**known, **encoded_all(fields)})
        return await self.get(f"O-{seq}") or {}

    async def get(self, orchestration_id: str) -> dict[str, Any] | None:
        row = self._rows.one(f"SELECT {_COLUMNS} FROM orchestrations WHERE orchestration_id = ?", (orchestration_id,))
        return None if row is None else _decoded(row)

    async def change(self, orchestration_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        self._update("orchestrations", ("orchestration_id", orchestration_id), {**fields, "updated_at": self._now})
        return await self.get(orchestration_id) or {}

    async def listed(self, limit: int) -> list[dict[str, Any]]:
        return [
            _decoded(row)
            for row in self._rows.all(f"SELECT {_COLUMNS} FROM orchestrations ORDER BY seq DESC LIMIT ?", (limit,))
        ]


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "plan": None if row["plan"] is None else json.loads(row["plan"]), "facts": json.loads(row["facts"])}
