"""Random plans with everything that shuts tasks out: epics with limits, capabilities, files, times, parents, due dates."""

import random
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.task import Origin
from wvo_mcp.orchestration.tasks.editing import Draft, create
from wvo_mcp.ports import Transaction

CAPABILITIES: tuple[tuple[str, ...], ...] = ((), (), (), ("gpu",), ("db",), ("db", "gpu"))
SCOPES = ((), (), (), ("src/**",), ("src/a.py",), ("docs/*.md",))


class Plan:
    """`count` tasks of a seed, to be put into an empty store."""

    def __init__(self, count: int, seed: int, start: datetime, *, breadth: int = 12) -> None:
        chance = random.Random(seed)
        self.epics = {"E1": 1, "E2": 2, "E3": None}
        self.milestones = {"M1": iso(start + timedelta(days=1)), "M2": iso(start + timedelta(days=9)), "M3": None}
        self.drafts: list[Draft] = []
        for place in range(count):
            near = range(max(0, place - breadth), place)
            on = chance.sample(near, min(len(near), chance.choice((0, 0, 1, 1, 2))))
            fields: dict[str, Any] = {
                "title": f"Step {place}",
                "priority": chance.choice(("critical", "high", "medium", "low")),
                "complexity": chance.randint(1, 10),
                "epic_id": chance.choice(("E1", "E2", "E3", None)),
                "milestone_id": chance.choice(("M1", "M2", "M3", None)),
                "capabilities": chance.choice(CAPABILITIES),
                "files": chance.choice(SCOPES),
                "max_attempts": chance.randint(1, 3),
            }
            if chance.random() < 0.1:
                fields["not_before"] = start + timedelta(minutes=chance.randint(-60, 600))
            if chance.random() < 0.1:
                fields["business_value"] = chance.randint(0, 20)
            if chance.random() < 0.02:
                fields["requires_approval"] = True
            parent = f"T{place + 1}" if place + 1 < count and chance.random() < 0.1 else None
            self.drafts.append(Draft(f"T{place}", fields, [f"T{other}" for other in sorted(on)], parent))

    async def put(self, tx: Transaction) -> None:
        for epic_id, limit in self.epics.items():
            await tx.tasks.ensure_epic(epic_id, epic_id, limit)
        for milestone_id, due in self.milestones.items():
            await tx.tasks.put_milestone(milestone_id, {"due_at": due})
        await create(tx, self.drafts, Origin.ROADMAP)
