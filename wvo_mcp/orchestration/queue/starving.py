"""Room for the best task, when small ones take all of an hour's budget before there is ever enough for a large one."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.providers.catalogue import Catalogue, Tier
from wvo_mcp.domain.providers.routing import Decision, Rejected, RoutingState, Why
from wvo_mcp.domain.providers.windows import HOUR
from wvo_mcp.domain.task import Task
from wvo_mcp.orchestration.routing.budgets import in_the_way
from wvo_mcp.orchestration.routing.router import Router
from wvo_mcp.ports import Transaction

PATIENCE = timedelta(hours=1)
"""So long the best task is passed by. Then its estimate is kept free of one provider's hour, which has emptied within
another one."""
_REMEMBERED = 20


async def spared(
    tx: Transaction, router: Router, task: Task, decision: Decision, epics: Collection[str] | None
) -> Router:
    """What other work is to be routed by while the best task is withheld: as before, or beside what is kept for it."""
    catalogue = router.catalogue
    if catalogue is None:
        return router
    state = await router.state()
    kept = next((one for one in decision.rejected if _drains(catalogue, state, one)), None)
    if kept is None or not await _has_waited(tx, task, epics):
        return router
    return router.keeping(kept.provider, kept.tier, catalogue.estimates[Tier(kept.tier)], state)


def _drains(catalogue: Catalogue, state: RoutingState, one: Rejected) -> bool:
    """Does nothing but the hour of the provider or its tier stand in the way? The rest of a day does not come back."""
    if one.why is not Why.BUDGET:
        return False
    tier = Tier(one.tier)
    windows = in_the_way(catalogue, state, one.provider, tier)
    full = [window for window in windows if not window.has_room(catalogue.estimates[tier])]
    return bool(full) and all(window.period == HOUR and window.scope != "agent" for window in full)


async def _has_waited(tx: Transaction, task: Task, epics: Collection[str] | None) -> bool:
    """Remembers since when it waits. Agents of other capabilities have another best task, so a few are remembered."""
    fact = "starving" if epics is None else f"starving {' '.join(sorted(epics))}"
    known: dict[str, dict[str, Any]] = await tx.state.get(fact) or {}
    mine = known.get(task.id)
    if mine is not None and mine["token"] == task.lease_token:
        return tx.now - instant(mine["since"]) >= PATIENCE
    known[task.id] = {"token": task.lease_token, "since": iso(tx.now)}
    latest = sorted(known, key=lambda name: (known[name]["since"], name))[-_REMEMBERED:]
    await tx.state.put(fact, {name: known[name] for name in latest})
    return False
