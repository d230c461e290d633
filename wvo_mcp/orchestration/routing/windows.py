"""The windows of budgets, as one transaction finds them."""

from dataclasses import replace
from datetime import datetime

from wvo_mcp.domain.providers.catalogue import Catalogue
from wvo_mcp.domain.providers.state import (
    HOUR,
    NOTHING,
    RoutingState,
    Window,
    left_at,
    windows_of,
    windows_of_providers,
    windows_of_work,
)
from wvo_mcp.ports import Transaction

_SHOWN = 20


async def minutes_of(tx: Transaction, window: Window) -> list[tuple[str, int]]:
    """(minute, tokens) of what is used of an hour, oldest first."""
    return await tx.routing.minutes(window.scope, window.name) if window.period == HOUR and window.used else []


async def empty_at(tx: Transaction, window: Window) -> datetime | None:
    """When all that is used of the window now has left it; None when nothing is."""
    minutes = await minutes_of(tx, window)
    return left_at(minutes[-1][0]) if minutes else window.resets_at


async def windows_now(tx: Transaction, catalogue: Catalogue, agent_id: str = "", task_id: str = "") -> list[Window]:
    """Every window of providers and tiers, and those of the agent and of the task; hours without their `resets_at`."""
    state = await tx.routing.state(agent_id)
    used = await tx.routing.used_by_task(task_id) if task_id else NOTHING
    work = windows_of_work(catalogue, state, task_id, used)
    return windows_of_providers(catalogue, state) + [one for one in work if one.name]


async def window_of(tx: Transaction, catalogue: Catalogue, scope: str, name: str, period: str) -> Window | None:
    """One window as it is; None when it has no limit."""
    agent_id, task_id = (name if scope == kind else "" for kind in ("agent", "task"))
    found = await windows_now(tx, catalogue, agent_id, task_id)
    return next((one for one in found if one.key == (scope, name, period)), None)


async def all_windows(tx: Transaction, catalogue: Catalogue) -> list[Window]:
    """Of providers and tiers, and of the agents that used most today where agents have limits."""
    state = await tx.routing.state("")
    found = windows_of_providers(catalogue, state) + await windows_of_agents(tx, catalogue, state)
    return [replace(window, resets_at=await empty_at(tx, window)) for window in found]


async def windows_of_agents(tx: Transaction, catalogue: Catalogue, state: RoutingState) -> list[Window]:
    """Of those that used most today, where agents have limits."""
    users = [] if catalogue.agent_limits.unlimited else await tx.routing.by_agent(_SHOWN)
    return [one for name, use in users for one in windows_of("agent", name, catalogue.agent_limits, use, state)]
