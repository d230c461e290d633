"""A bench to work at: services over a real store, and short ways to call operations."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

from tests.support.clock import StoppedClock
from tests.support.databases import Source
from tests.support.services import Services
from tests.support.sessions import Servers, a_person, an_agent
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.task import Task
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.operations import ALL
from wvo_mcp.ports import Transaction
from wvo_mcp.store.postgres.store import PostgresStore
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.store import SqliteStore

AnyStore = SqliteStore | PostgresStore

T = TypeVar("T")

ANN = an_agent("ann")
BOB = an_agent("bob")
OWNER = a_person()


def a_task(task_id: str | None = None, **fields: Any) -> dict[str, Any]:
    """An item of create_tasks."""
    named = {} if task_id is None else {"id": task_id}
    return {**named, "title": f"Do {task_id or 'it'}", **fields}


class Bench:
    """Calls operations as a face does: whole, through validation, transaction and replay."""

    def __init__(self, services: Services, store: AnyStore, clock: StoppedClock, servers: Servers) -> None:
        self.services = services
        self.store = store
        self.clock = clock
        self.servers = servers
        self.workers = False
        """Callers are workers that we launched: what a route names is who does the task."""

    @property
    def path(self) -> Path:
        """The file of the embedded store."""
        assert isinstance(self.store, SqliteStore)
        return self.store.path

    @property
    def source(self) -> Source:
        """What to look at with `tests.support.databases`."""
        return self.store.path if isinstance(self.store, SqliteStore) else self.store.writer.url

    @property
    def roadmap(self) -> Path:
        return cast(RoadmapSource, self.services.roadmap)._path

    def limits(self, **limits: int) -> None:
        """Work under other limits from now on: fields of `Policy`."""
        self.services = replace(self.services, policy=replace(self.services.policy, **limits))

    @property
    def policy(self) -> Policy:
        return self.services.policy

    async def call(self, name: str, caller: Caller = ANN, **arguments: Any) -> dict[str, Any]:
        return await ALL[name](self.services, replace(caller, worker=self.workers), arguments)

    async def create(self, *tasks: Mapping[str, Any], caller: Caller = ANN) -> list[str]:
        """The ids of the new tasks."""
        created = await self.call("create_tasks", caller, tasks=[dict(task) for task in tasks])
        return list(created["created"])

    async def claim(self, caller: Caller = ANN, task_id: str | None = None, **arguments: Any) -> dict[str, Any]:
        named = {} if task_id is None else {"task_id": task_id}
        return await self.call("claim_task", caller, **named, **arguments)

    async def complete(self, task_id: str, caller: Caller = ANN, **arguments: Any) -> dict[str, Any]:
        return await self.call("complete_task", caller, task_id=task_id, **{"summary": "done", **arguments})

    async def done(self, *task_ids: str, caller: Caller = ANN) -> None:
        """Claim and complete each in turn."""
        for task_id in task_ids:
            await self.claim(caller, task_id)
            await self.complete(task_id, caller)

    async def task(self, task_id: str) -> Task:
        return await self.read(lambda tx: tx.tasks.get(task_id))

    async def status(self, *task_ids: str) -> list[str]:
        return [(await self.task(task_id)).status.value for task_id in task_ids]

    async def kinds(self, task_id: str) -> list[str]:
        """Kinds of the task's events, oldest first."""
        events = await self.read(lambda tx: tx.events.of_task(task_id, 1_000))
        return [event.kind for event in events]

    async def alerts(self) -> list[tuple[str, str, str | None]]:
        """(kind, severity, task) of the open alerts, oldest first."""
        rows = await self.read(lambda tx: tx.alerts.open_alerts(1_000))
        by_age = sorted(rows, key=lambda row: int(row["id"]))
        return [(row["kind"], row["severity"], row["task_id"]) for row in by_age]

    async def read(self, work: Callable[[Transaction], Awaitable[T]], caller: Caller = ANN) -> T:
        return await self.store.read(caller, work)

    async def write(self, work: Callable[[Transaction], Awaitable[T]], caller: Caller = ANN) -> T:
        return await self.store.write(caller, work)

    async def sql(self, statement: str, *params: Any) -> list[dict[str, Any]]:
        """Rows of a statement, as the sqlite3 program would show them."""

        async def select(rows: Rows) -> list[dict[str, Any]]:
            return rows.all(statement, params)

        return await self.store.writer.read(select)

    async def force(self, statement: str, *params: Any) -> int:
        """Change the database behind the product's back; how many rows."""

        async def change(rows: Rows) -> int:
            return rows.run(statement, params)

        return await self.store.writer.write(change)
