"""What is kept beside the tasks, within one transaction: audit, alerts, memory, sessions, replays, health, small facts."""

# pyright: reportReturnType=false

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from wvo_mcp.domain.event import Event
from wvo_mcp.domain.memory import ContextEntry, Scope
from wvo_mcp.domain.task import Checkpoint, Task

if TYPE_CHECKING:  # a first call needs nothing of these
    from wvo_mcp.domain.health import Held, Hour, Provider

Row = dict[str, Any]


class EventRepository(Protocol):
    @property
    def appended(self) -> Sequence[tuple[str, str | None, Mapping[str, Any]]]:
        """(kind, task, data) of what this transaction has appended so far."""

    async def append(self, kind: str, task_id: str | None, data: Mapping[str, Any]) -> None:
        """Append to the audit trail in the caller's name, chained to the task's last event."""

    async def count(self, kind: str) -> int:
        """All there ever were of this kind; for kinds that are rare."""

    async def since(self, kind: str, at: datetime, limit: int) -> int:
        """How many of this kind came after `at`; at most `limit`, which bounds the work."""

    async def by_hour(self, kind: str, at: datetime, limit: int) -> dict[str, int]:
        """How many of this kind came in each hour (`2026-01-05T08`) from the one of `at` on; of more than `limit` only the
        newest, of which the first hour is then not whole."""

    async def of_task(self, task_id: str, limit: int) -> list[Event]:
        """The last `limit`, oldest first."""

    async def after(self, seq: int, limit: int, task_id: str | None, kind: str | None) -> list[Event]: ...

    async def prune(self, before: datetime, limit: int) -> int:
        """Remove heartbeats of tasks and events without a task from before then, of each at most `limit`; how many went.
        Each chain that lost some gets one `chain.pruned` with their count and digest, so that it can still be checked."""

    async def broken_chain(self, task_id: str | None) -> int | None:
        """`seq` of the first event whose chain does not hold (None: sound)."""

    async def of_kinds(
        self, kinds: Collection[str], limit: int, task_id: str | None = None, before: int | None = None
    ) -> list[Event]:
        """The last `limit` of these kinds, newest first; of the task, and with a seq below `before`, where that is given."""

    async def last_seq(self) -> int: ...

    async def before_last(self, limit: int, task_id: str | None, kind: str | None, before: int | None = None) -> int:
        """The seq behind which the last `limit` events of the task and kind stand."""


class AlertRepository(Protocol):
    """What people should look at. An alert is open until it is resolved; one open alert per kind and task.

    A row is {id, kind, severity (info, warning, critical), task_id, message, evidence, times, raised_at, last_seen_at,
    acknowledged_at, acknowledged_by, remedy_failures, escalated_at, resolved_at}. Each change that people should hear of
    is kept as news in the same transaction, for delivery.
    """

    async def raise_alert(
        self,
        kind: str,
        severity: str,
        task_id: str | None,
        message: str,
        evidence: Mapping[str, Any] | None = None,
    ) -> bool:
        """True when it is new. One that is open is refreshed and counted; it is news again only when it became worse."""

    async def resolve_alert(self, kind: str, task_id: str | None) -> bool:
        """Was there one?"""

    async def acknowledge(self, alert_id: int, note: str | None = None) -> Row:
        """A person has seen it: no more news of it but its end. The first one counts. Raises NotFound."""

    async def close(self, alert_id: int, reason: str | None) -> Row:
        """Resolve it by hand, if it is open. Raises NotFound."""

    async def page(self, where: Mapping[str, Any], before: int | None, limit: int) -> list[Row]:
        """Newest first, with smaller ids than `before`. `where`: open (True: only those), kind, least (severity)."""

    async def open_counts(self) -> list[Row]:
        """{kind, severity, n} of the open ones."""

    async def remedy_failed(self, kind: str, task_id: str | None) -> int:
        """Count a failed remedy of the open alert; how many that were. 0 without an open alert."""

    async def escalate(self, kind: str, task_id: str | None, why: str) -> bool:
        """Make the open alert critical, with news of it; once in its life. True when done."""

    async def find(self, kind: str, task_id: str | None) -> Row | None:
        """The open alert."""

    async def get(self, alert_id: int) -> Row:
        """Open or not. Raises NotFound."""

    async def open_alerts(self, limit: int) -> list[Row]:
        """The worst first, of these the newest."""


class NewsRepository(Protocol):
    """News that channels still have to deliver. News is {news_id, change, at, alert}, where alert is its row as it is now."""

    async def last(self) -> int:
        """Number of the newest news; 0 when there is none."""

    async def behind(self, news_id: int, channel: str, limit: int) -> list[Row]:
        """News with a higher number, oldest first; `begun` is true where the channel was given earlier news of the same
        alert."""

    async def open_now(self, limit: int) -> list[Row]:
        """The newest news of each alert that is open and not acknowledged, the worst and of these the newest first."""

    async def enrol(self, channel: str, news_ids: Sequence[int]) -> None:
        """These are to be delivered, from now on."""

    async def due(self, channel: str, limit: int) -> list[Row]:
        """Enrolled news that may be tried now, oldest first, with `attempts`; never before earlier news of the same alert
        was delivered or given up."""

    async def delivered(self, channel: str, news_id: int) -> None: ...

    async def failed(self, channel: str, news_id: int, error: str, again_at: datetime | None) -> None:
        """Count an attempt; None: it was the last one."""

    async def dropped(self, channel: str, news_id: int, why: str) -> None:
        """It need not be delivered any more."""

    async def forget(self, before: datetime) -> int:
        """Delete the news of alerts that were resolved before then; how many news."""


class MemoryRepository(Protocol):
    async def add_checkpoint(
        self, task_id: str, summary: str, next_steps: str | None, progress: int | None, files: Sequence[str]
    ) -> Checkpoint: ...

    async def last_checkpoint(self, task_id: str) -> Checkpoint | None: ...

    async def checkpoints(self, task_id: str, limit: int) -> list[Checkpoint]:
        """The last `limit`, oldest first."""

    async def write(
        self, topic: str, content: str, tags: Sequence[str], scope: Scope, task_id: str | None, epic_id: str | None
    ) -> int:
        """Append a version of the topic; its number, from 1."""

    async def versions(self, topic: str, limit: int) -> list[ContextEntry]:
        """Newest first."""

    async def search(self, query: str, task_id: str | None, limit: int, *, recent_only: bool) -> list[ContextEntry]:
        """Newest versions that match any word of the query, best first. `recent_only` bounds the work to the newest
        entries."""

    async def latest(self, task_id: str | None, limit: int) -> list[ContextEntry]: ...

    async def for_task(self, task: Task, limit: int) -> list[ContextEntry]:
        """What was written for the task itself, then for its epic; newest first."""

    async def anything(self) -> bool:
        """Has anything ever been written?"""

    async def topics_near(self, wanted: str) -> list[str]: ...


class SessionRepository(Protocol):
    async def ensure(self, *, but_agent: bool = False) -> None:
        """The caller's session is on record and was heard now; its agent, if on record, is not offline.

        `but_agent` is for those who touch that agent themselves in this transaction.
        """

    async def touch_agent(self, agent_id: str, task_id: str | None = None) -> None:
        """The agent is on record and was seen now; it began `task_id`, if one is given."""

    async def left(self, agent_id: str) -> None:
        """The agent left a task, and shows another of its own, if any."""

    async def connected(self) -> list[str]:
        """Every session of a server that has not ended."""

    async def get(self, session_id: str) -> Row | None:
        """{session_id, agent_id, pid, ended_at, durable}."""

    async def end(self, session_id: str) -> None: ...

    async def forget(self, before: datetime, limit: int) -> int:
        """Remove sessions that ended before, durable ones and agents not heard of since, at most so many of each; never
        one that a task in progress names, nor an agent with a session. How many of the larger part."""

    async def has_connected(self, agent_id: str) -> bool:
        """Has it, or had it, a session of its own, not only a name that another's calls give?"""

    async def latest_of(self, agent_id: str) -> str | None:
        """Its session that began last and has not ended."""

    async def known(self, agent_id: str) -> bool:
        """Is it in the pool, or has it a session that has not ended?"""

    async def describe(self, agent_id: str, said: Mapping[str, Any]) -> None:
        """The agent is on record with what it says of itself: capabilities, role, about."""

    async def agents(self, limit: int) -> list[Row]: ...
    async def described(self, status: str | None, limit: int) -> list[Row]:
        """{agent_id, provider, status, task_id, last_seen_at, capabilities (JSON), role, about}, seen latest first."""

    async def provider(self, agent_id: str) -> str | None:
        """That of an agent, as far as it is known."""

    async def capabilities(self, agent_id: str) -> tuple[str, ...]: ...


class ReplayRepository(Protocol):
    """First results of calls, for repeats. Kept for 24 hours."""

    async def by_request(self, agent_id: str, tool: str, request_id: str, input_hash: str) -> str | None:
        """The stored result. Raises RequestIdReused when the input differs."""

    async def keep_request(self, agent_id: str, tool: str, request_id: str, input_hash: str, result: str) -> None: ...

    async def by_lease(self, task_id: str, token: int | None, tool: str, input_hash: str) -> Row | None:
        """{status, lease_token} of the task, and {result, session_id, agent_id} of the lease write that did the same
        with this token (None: the task's), which are null if there was none. None when there is no such task."""

    async def keep_lease(self, task_id: str, token: int, tool: str, input_hash: str, result: str) -> None: ...

    async def forget(self, before: datetime) -> None: ...


class TraceRepository(Protocol):
    """The trace that goes with a task from its first claim until it is settled. Touched only by telemetry."""

    async def get(self, task_id: str) -> Row | None:
        """{lease_token, traceparent, started_at}: the last claim that was traced, and the trace that its first one began."""

    async def put(self, task_id: str, lease_token: int, traceparent: str) -> None:
        """The task is held now under this token."""

    async def forget(self, task_id: str) -> None: ...


class HealthRepository(Protocol):
    """Measurements and what they are made of, within one transaction. Nothing here takes longer in a larger store."""

    async def completions(self, since: datetime) -> dict[str, int]:
        """Completed tasks after `since`, exactly, by minute (`2026-11-20T10:00`) and time; minutes with none are left out."""

    async def count_hours(self) -> None:
        """Count completions by hour, since the hour that was counted last."""

    async def hours(self, since: datetime) -> list[Hour]:
        """By time; hours in which nothing was completed nor looked at are left out."""

    async def note_hour(self, *, working: bool) -> None:
        """A cycle looked, and saw work or none."""

    async def add_sample(self, entry: Mapping[str, Any]) -> None:
        """Keep one entry of the metrics' history; only the last 100 stay."""

    async def samples(self, limit: int) -> list[Row]:
        """The last `limit` entries, oldest first."""

    async def held(self, limit: int) -> list[Held]:
        """Tasks in progress, those first whose leases end first."""

    async def held_one(self, task_id: str) -> Held | None:
        """None when it is not in progress."""

    async def claimable(self) -> int:
        """How many tasks are ready: what the view `ready_tasks` holds, from kept counters."""

    async def agents(self) -> dict[str, int]:
        """How many agents there are by status."""

    async def vacant(self, limit: int) -> list[str]:
        """Agents that are shown with a task, or busy, and hold none."""

    async def departed(self, seen_before: datetime, limit: int) -> list[str]:
        """Idle agents that were seen last before then and have no session of their own that lives."""

    async def put_offline(self, agent_id: str) -> bool:
        """Was it still idle, or busy with nothing?"""

    async def edge_changes(self) -> int:
        """How often any dependency was made, removed or turned."""

    async def edges_behind(self, last: tuple[str, str], limit: int) -> list[tuple[str, str, int, int]]:
        """(task, what it waits for, seq of either) in the order of the ids, behind `last`."""

    async def ids(self, seqs: Sequence[int]) -> dict[int, str]: ...

    async def written_links(self, after: str, limit: int) -> tuple[str | None, int, int]:
        """The roadmap's entries behind the task `after`: (last task looked at or None at the end, dependencies that they
        write, those of them that the table has)."""

    async def stranded(self, limit: int) -> list[tuple[str, str]]:
        """(open task, cancelled or failed one that it waits for), of the latest such."""

    async def providers(self) -> list[Provider]: ...


class StateRepository(Protocol):
    """Small durable facts: the pause switch, leadership, the roadmap's last sync."""

    async def get(self, name: str) -> Any: ...

    async def put(self, name: str, value: Any) -> None: ...

    async def named(self, prefix: str) -> dict[str, Any]:
        """Facts whose name begins so, in ASCII."""

    async def drop(self, name: str) -> None: ...

    async def lead(self, role: str, seconds: float, *, force: bool = False) -> int | None:
        """Take or keep the leader lease of `role`; its fencing token, or None while another session holds it.
        `force` takes it from a session that is known to be dead."""

    async def leader(self, role: str) -> Row | None: ...

    async def resign(self, role: str) -> None: ...

    async def set_time_back(self, to: datetime, *, apply: bool) -> dict[str, int]:
        """The store's time is that of `to` from the next transaction on, and what was written under a wrong clock moves to
        when it happened; how many values, by table and column. Nothing else may be written in this transaction. Without
        `apply` only counted."""

    async def roadmap_entries(self) -> dict[str, dict[str, Any]]:
        """Task id -> entry as it stood in the file at the last sync."""

    async def put_roadmap_entries(self, entries: Mapping[str, dict[str, Any]], gone: Iterable[str]) -> None: ...

    async def roadmap_tasks(self) -> list[Task]:
        """All tasks whose origin is the roadmap, and those of other origins, by seq."""

    async def dependency_edges(self) -> list[tuple[str, str]]:
        """(task, what it depends on), the whole store."""
