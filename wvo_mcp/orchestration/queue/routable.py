"""The best task for which there are means, when there are none for the best of all.

The best are looked at by every claim; what stands behind them in turns, some by each claim, from where the last one
stopped. So a claim stays short in a queue of any length, and no task is out of sight for ever.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.providers.routing import Decision
from wvo_mcp.domain.task import Task
from wvo_mcp.orchestration.routing.router import Router
from wvo_mcp.ports import Outline, Row, Transaction

BEST, _BEST_STEP = 500, 100
FAR, _FAR_STEP = 2_000, 500
REST = timedelta(minutes=1)
"""Between two rounds through all that stands behind the best."""


@dataclass(frozen=True, slots=True)
class Found:
    """`more`: nothing so far, and not all was looked at: ask again at once."""

    task: Task | None
    decision: Decision | None = None
    more: bool = False


class Search:
    """For one claim. `admit` tells of a lane whether its tasks may be claimed."""

    def __init__(
        self,
        tx: Transaction,
        router: Router,
        admit: Callable[[Row], Awaitable[bool]],
        epics: Collection[str] | None,
    ) -> None:
        self._tx = tx
        self._router = router
        self._admit = admit
        self._epics = epics
        self._lanes: dict[int, bool] = {}
        self._fact = "routable" if epics is None else f"routable {' '.join(sorted(epics))}"

    async def run(self) -> Found:
        queue, place = self._tx.queue, None
        for _ in range(0, BEST, _BEST_STEP):
            step = await queue.outlines(self._epics, _BEST_STEP, place)
            found = await self._fitting(step)
            if found is not None or len(step) < _BEST_STEP:
                return found or Found(None)
            place = step[-1].place
        return await self._behind(place or ())

    async def _behind(self, best: Sequence[Any]) -> Found:
        known: dict[str, Any] = await self._tx.state.get(self._fact) or {}
        if "ended" in known and self._tx.now - instant(known["ended"]) < REST:
            return Found(None)
        begins = place = known.get("behind", best)
        for _ in range(0, FAR, _FAR_STEP):
            step = await self._tx.queue.outlines(self._epics, _FAR_STEP, place)
            found = await self._fitting(step)
            if found is not None:
                if place is not begins:  # its like may stand there too
                    await self._tx.state.put(self._fact, {"behind": list(place)})
                return found
            if len(step) < _FAR_STEP:
                await self._tx.state.put(self._fact, {"ended": iso(self._tx.now)})
                return Found(None)
            place = step[-1].place
        await self._tx.state.put(self._fact, {"behind": list(place)})
        return Found(None, more=True)

    async def _fitting(self, step: Sequence[Outline]) -> Found | None:
        for one in step:
            if one.gates or not await self._router.may(one):
                continue
            lane = one.lane["id"]
            if lane not in self._lanes:
                self._lanes[lane] = await self._admit(one.lane)
            if not self._lanes[lane]:
                continue
            task = await self._tx.tasks.get(one.id)
            decision = await self._router.decide(task)
            if decision is None or not decision.withheld:
                return Found(task, decision)
        return None
