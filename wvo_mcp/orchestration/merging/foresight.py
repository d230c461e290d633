"""Conflicts among what waits, and with the target, shown before they happen (MERGE-5)."""

import json
from collections.abc import Sequence
from typing import Any

from wvo_mcp.orchestration.leader import LeaderTerm
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.merging import Landing, Predicted, Repository

_PATHS = 20


class Foresight:
    """Looks again when the target or what waits has changed."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._seen: tuple[str, ...] = ()

    async def look(self, term: LeaderTerm, landings: Sequence[Landing]) -> None:
        """`findings.predicted` of each entry becomes [{with: entry or null for the target, paths}]. Raises NotNow."""
        if not landings:
            return
        tip = await self._repository.tip(landings[0].target, landings[0].mode)
        key = (tip, *(one.entry_id for one in landings))
        if key == self._seen:
            return
        found = await self._repository.predict(tip, [one for one in landings if not one.undo])
        await term.write(term.caller, lambda tx: _written(tx, landings, found))
        self._seen = key


async def _written(tx: Transaction, landings: Sequence[Landing], found: Sequence[Predicted]) -> None:
    for landing in landings:
        entry = await tx.submissions.get(landing.entry_id)
        if entry is None:
            continue
        findings: dict[str, Any] = json.loads(entry["findings"])
        now = [_of(one, landing.entry_id) for one in found if landing.entry_id in (one.entry_id, one.other)]
        if now != findings.get("predicted", []):
            findings["predicted"] = now
            await tx.submissions.change(landing.entry_id, {"findings": json.dumps(findings)})


def _of(one: Predicted, entry_id: str) -> dict[str, Any]:
    other = one.other if one.entry_id == entry_id else one.entry_id
    return {"with": other, "paths": [path.encode(errors="replace").decode() for path in one.paths[:_PATHS]]}
