"""Sessions and agents of the virtual store; what it counts, and the little that it remembers."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from wvo_mcp.domain.event import Event
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.task import Task
from wvo_mcp.ports.prefetch import Prefetched
from wvo_mcp.store.virtual.world import World


class VirtualSessions:
    """`ports.SessionRepository`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def ensure(self, *, but_agent: bool = False) -> None:
        world, caller = self._world, self._world.caller
        session = world.sessions.get(caller.session_id)
        if session is None:
            session = world.sessions[caller.session_id] = {
                "session_id": caller.session_id,
                "durable": int(caller.durable),
                "client": caller.client,
                "started_at": world.now,
            }
        session["agent_id"] = caller.agent_id
        session["last_call_at"] = world.now
        session["ended_at"] = None
        agent = None if but_agent else world.agents.get(caller.agent_id)
        if agent is not None:
            agent["last_seen_at"] = world.now
            if agent["status"] == "offline":
                agent["status"] = "idle" if agent["current_task_id"] is None else "busy"

    async def touch_agent(self, agent_id: str, task_id: str | None = None) -> None:
        world, caller = self._world, self._world.caller
        agent = world.agents.get(agent_id)
        if agent is None:
            agent = world.agents[agent_id] = {
                "agent_id": agent_id,
                "provider": None,
                "current_task_id": None,
                "assigned_at": None,
                "capabilities": (),
            }
        agent["last_seen_at"] = world.now
        if task_id is not None:
            agent["current_task_id"] = task_id
            agent["assigned_at"] = world.now
        agent["status"] = "idle" if agent["current_task_id"] is None else "busy"
        agent["provider"] = caller.provider or agent["provider"]
        if agent_id == caller.agent_id and caller.capabilities:
            agent["capabilities"] = caller.capabilities

    async def left(self, agent_id: str) -> None:
        agent = self._world.agents.get(agent_id)
        if agent is None:
            return
        other = next(iter(self._world.by_agent.get(agent_id, ())), None)
        agent["current_task_id"] = other
        if other is None:
            agent["assigned_at"] = None
        if agent["status"] != "offline":
            agent["status"] = "idle" if other is None else "busy"

    async def get(self, session_id: str) -> dict[str, Any] | None:
        return self._world.sessions.get(session_id)

    async def end(self, session_id: str) -> None:
        world = self._world
        session = world.sessions.get(session_id)
        if session is None:
            return
        if session["ended_at"] is None:
            session["ended_at"] = world.now
        agent = world.agents.get(session["agent_id"])
        if agent is not None and not any(
            one["ended_at"] is None for one in world.sessions.values() if one["agent_id"] == session["agent_id"]
        ):
            agent["status"] = "offline"

    async def connected(self) -> list[str]:
        return [key for key, one in self._world.sessions.items() if one["ended_at"] is None and not one["durable"]]

    async def forget(self, before: datetime, limit: int) -> int:
        return 0  # no plan lasts so long

    async def agents(self, limit: int) -> list[dict[str, Any]]:
        rows = sorted(self._world.agents.values(), key=lambda one: (-one["last_seen_at"].timestamp(), one["agent_id"]))
        times = ("assigned_at", "last_seen_at")
        return [{**row, **{name: row[name] and iso(row[name]) for name in times}} for row in rows[:limit]]

    async def capabilities(self, agent_id: str) -> tuple[str, ...]:
        caller = self._world.caller
        if agent_id == caller.agent_id and caller.capabilities:
            return caller.capabilities
        agent = self._world.agents.get(agent_id)
        return (*caller.capabilities, *(agent["capabilities"] if agent is not None else ()))


class VirtualEvents:
    """`ports.EventRepository`: events are counted, by kind, and not kept."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def append(self, kind: str, task_id: str | None, data: Mapping[str, Any]) -> None:
        self._world.events[kind] += 1

    async def of_task(self, task_id: str, limit: int) -> list[Event]:
        return []

    async def last_seq(self) -> int:
        return self._world.events.total()


class VirtualAlerts:
    """`ports.AlertRepository`, as far as decisions need it: what is open, by kind and task."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._open: dict[tuple[str, str | None], dict[str, Any]] = {}

    async def raise_alert(
        self, kind: str, severity: str, task_id: str | None, message: str, evidence: Mapping[str, Any] | None = None
    ) -> bool:
        new = (kind, task_id) not in self._open
        self._open[kind, task_id] = {
            "kind": kind,
            "severity": severity,
            "task_id": task_id,
            "message": message,
            "evidence": dict(evidence or {}),
            "last_seen_at": iso(self._world.now),
        }
        self._world.events["alert.raised"] += new
        return new

    async def resolve_alert(self, kind: str, task_id: str | None) -> bool:
        return self._open.pop((kind, task_id), None) is not None

    async def find(self, kind: str, task_id: str | None) -> dict[str, Any] | None:
        return self._open.get((kind, task_id))

    async def open_alerts(self, limit: int) -> list[dict[str, Any]]:
        return list(self._open.values())[::-1][:limit]


class VirtualMemory:
    """`ports.MemoryRepository`: nobody has ever written anything."""

    async def anything(self) -> bool:
        return False

    async def last_checkpoint(self, task_id: str) -> None:
        return None


class VirtualState:
    """`ports.StateRepository`, but leadership: a simulation has one leader."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._entries: dict[str, dict[str, Any]] = {}

    async def get(self, name: str) -> Any:
        return self._world.facts.get(name)

    async def put(self, name: str, value: Any) -> None:
        self._world.facts[name] = value

    async def set_time_back(self, to: datetime, *, apply: bool) -> dict[str, int]:
        return {}  # a simulation has the time that it is given

    async def roadmap_entries(self) -> dict[str, dict[str, Any]]:
        return dict(self._entries)

    async def put_roadmap_entries(self, entries: Mapping[str, dict[str, Any]], gone: Iterable[str]) -> None:
        self._entries.update(entries)
        for task_id in gone:
            self._entries.pop(task_id, None)

    async def roadmap_tasks(self) -> list[Task]:
        return [record.present() for record in self._world.records.values()]

    async def dependency_edges(self) -> list[tuple[str, str]]:
        return [(task_id, other) for task_id, needs in self._world.needs.items() for other in needs]


class VirtualPrefetch:
    """`ports.PrefetchRepository`: nothing is prefetched in a simulation."""

    async def entries(self) -> list[str]:
        return []

    async def current(self) -> list[Prefetched]:
        return []

    async def replace(self, task_ids: Sequence[str]) -> None:
        return

    async def capabilities(self, limit: int) -> list[frozenset[str]]:
        return []
