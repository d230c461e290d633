"""The plan: how it goes down, its milestones, its graph, and when it will be done. Nothing here waits for long work: what is
not there yet is said to be under way."""

from dataclasses import replace
from typing import Any

import anyio

from wvo_mcp.errors import NotFound
from wvo_mcp.faces.http.pages.page import Data, Page, Visit
from wvo_mcp.orchestration.jobs import LongWork

PATIENCE_SECONDS = 0.25
_PARTS = 40
"""Of a graph: each result holds some hundred nodes."""


async def _plan(visit: Visit) -> Data:
    """{progress, milestones}: as burn_down and milestones have them. The graph is at /plan/graph.json."""
    return {
        "progress": await visit.ask("burn_down", days=visit.number("days", 28, 84)),
        "milestones": await visit.ask("milestones"),
    }


async def _graph(visit: Visit) -> Data:
    """{graph: all of plan_graph, chains: plan_chains}; {pending: {progress, note}} while a large plan is read."""
    unfolded = [name for name in (visit.filter("open") or "").split(",") if name]
    found = await _soon(visit, "plan_graph", unfolded=unfolded)
    if "handle" in found:
        return {"pending": _progress(found)}
    parts = [found]
    while (cursor := parts[-1].get("next_cursor")) is not None and len(parts) < _PARTS:
        parts.append(await visit.ask("plan_graph", unfolded=unfolded, cursor=cursor))
    chains = await visit.ask("plan_chains")
    if pending := next((part for part in (*parts, chains) if "handle" in part), None):
        return {"pending": _progress(pending)}
    nodes = [node for part in parts for node in part["nodes"]]
    rest = {name: value for name, value in found.items() if name != "next_cursor"}
    return {"graph": {**rest, "nodes": nodes}, "chains": chains}


async def _soon(visit: Visit, operation: str, **arguments: Any) -> Data:
    """As `Visit.ask`; a page waits less long than a call does. The work goes on, and whoever asks again finds it."""
    with anyio.move_on_after(PATIENCE_SECONDS):
        return await visit.ask(operation, **arguments)
    return {"handle": "", "progress": 0.0, "note": ""}


async def _forecast(visit: Visit) -> Data:
    """{forecast}, or {pending: {progress, note}, handle}: ask again with the handle."""
    handle = visit.filter("handle")
    jobs = visit.services.get(LongWork).within(PATIENCE_SECONDS)
    soon = replace(visit, services=visit.services.having({LongWork: jobs}))
    try:
        found = await soon.ask("forecast", handle=handle)
    except NotFound:  # of another server, or forgotten
        found = await soon.ask("forecast")
    if "handle" in found:
        return {"pending": _progress(found), "handle": found["handle"]}
    return {"forecast": found}


def _progress(job: Data) -> dict[str, Any]:
    return {"progress": job["progress"], "note": job["note"]}


PLAN = Page("/plan", "plan.html", "Plan", _plan, nav="Plan", query=frozenset({"days", "open"}))
GRAPH = Page("/plan/graph", "plan_graph.html", "Dependencies", _graph, query=frozenset({"open"}))
FORECAST = Page("/plan/forecast", "forecast.html", "Forecast", _forecast, query=frozenset({"handle"}), live=False)
