"""The events of a store, played through from the first: was everything that happened allowed when it happened?

The order of events is the order of commits, so this finds what no look at the end state can: two holders at once, a
task begun before its dependencies were done, a limit exceeded for a moment.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Protocol

HOLDERS_ONLY = frozenset(
    {"task.heartbeat", "task.checkpoint", "task.completed", "task.failed", "task.failed_attempt", "task.released"}
    | {"task.submitted"}
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of work in progress; None is unlimited. Those of epics are read from the store."""

    store: int | None = None
    agent: int | None = None


@dataclass(slots=True)
class Played:
    """Where a task stands at some event."""

    status: str = ""
    token: int = 0
    holder: str | None = None
    session: str | None = None
    epic: str | None = None
    lost_by: tuple[str, str] | None = None


@dataclass(slots=True)
class History:
    """What happened. `takeovers` are claims of a task whose lease ran out or whose holder's session ended, by whomever;
    `resumed` those of them in which an agent got its own task back while it was in progress."""

    problems: list[str] = field(default_factory=list[str])
    tasks: dict[str, Played] = field(default_factory=dict[str, Played])
    completions: Counter[str] = field(default_factory=Counter[str])
    openings: Counter[str] = field(default_factory=Counter[str])
    kinds: Counter[str] = field(default_factory=Counter[str])
    takeovers: int = 0
    resumed: int = 0
    taken_by_others: int = 0
    most_in_progress: int = 0
    most_by_agent: Counter[str] = field(default_factory=Counter[str])
    most_by_epic: Counter[str] = field(default_factory=Counter[str])

    def wrong(self, event: dict[str, Any], what: str) -> None:
        self.problems.append(f"event {event['seq']} ({event['kind']} of {event['task_id']}): {what}")


class Asked(Protocol):
    def rows(self, sql: str, *params: Any) -> list[dict[str, Any]]: ...


def replay(database: Asked, limits: Limits) -> History:
    return _Player(database, limits).played()


class _Player:
    def __init__(self, database: Asked, limits: Limits) -> None:
        self._events = database.rows(
            "SELECT seq, at, kind, task_id, agent_id, session_id, data FROM events ORDER BY seq"
        )
        self._rows = {row["id"]: row for row in database.rows("SELECT * FROM tasks")}
        self._epic_limits = {row["id"]: row["wip_limit"] for row in database.rows("SELECT id, wip_limit FROM epics")}
        self._limits = limits
        self._waits = self._first_edges(database)
        self._ended: set[str] = set()
        self._by_agent: Counter[str] = Counter()
        self._by_epic: Counter[str] = Counter()
        self._found = History()

    def played(self) -> History:
        for event in self._events:
            self._found.kinds[event["kind"]] += 1
            data = json.loads(event["data"])
            if event["kind"] == "session.ended":
                self._ended.add(data["session"])
            elif event["kind"] == "store.restored":
                for task in self._found.tasks.values():
                    task.token += data["tokens_raised"]
            elif event["task_id"] is not None:
                self._play(event, data)
        self._compare()
        return self._found

    def _first_edges(self, database: Asked) -> dict[str, set[str]]:
        """Dependencies as they were at the beginning: the present ones, with every later change taken back."""
        waits: dict[str, set[str]] = defaultdict(set)
        for row in database.rows("SELECT task_id, depends_on_task_id FROM task_dependencies"):
            waits[row["task_id"]].add(row["depends_on_task_id"])
        for event in reversed(self._events):
            if event["kind"] == "task.linked":
                data = json.loads(event["data"])
                waits[event["task_id"]] -= set(data["added"])
                waits[event["task_id"]] |= set(data["removed"])
        return waits

    def _play(self, event: dict[str, Any], data: dict[str, Any]) -> None:
        found = self._found
        task = found.tasks.setdefault(event["task_id"], Played())
        kind = event["kind"]
        if kind == "task.created":
            if task.status:
                found.wrong(event, "it was created before")
            task.status = "pending"
            task.epic = data.get("epic_id")
            found.openings[event["task_id"]] += 1
        elif kind == "task.linked":
            self._waits[event["task_id"]] |= set(data["added"])
            self._waits[event["task_id"]] -= set(data["removed"])
        elif kind == "task.updated" and "epic_id" in data.get("after", {}):
            self._count(task, -1)
            task.epic = data["after"]["epic_id"]
            self._count(task, +1)
        elif kind == "lease.adopted":
            self._adopt(event, data, task)
        by = data.get("lease_session", event["session_id"])  # of a worker: the session that holds for it
        landed = kind == "task.completed" and task.status == "in_review"
        if kind in HOLDERS_ONLY and not landed and (task.status != "in_progress" or by != task.session):
            found.wrong(event, f"written by {by}, but {task.session} holds the task ({task.status})")
        if kind == "task.claimed":
            self._claim(event, data, task)
        elif {"from", "to"} <= data.keys():
            self._move(event, data, task)

    def _claim(self, event: dict[str, Any], data: dict[str, Any], task: Played) -> None:
        found = self._found
        resumed = task.status == "in_progress"
        if data["lease_token"] != task.token + 1:
            found.wrong(event, f"token {data['lease_token']} follows {task.token}")
        if resumed:
            if task.session not in self._ended:
                found.wrong(event, f"the session {task.session} still held it")
            found.resumed += 1
            found.takeovers += 1
            found.taken_by_others += data["agent"] != task.holder
            self._count(task, -1)
        elif task.status != "pending":
            found.wrong(event, f"it was {task.status}")
        elif task.lost_by is not None:
            found.takeovers += 1
            found.taken_by_others += data["agent"] != task.lost_by[0]
        unmet = [other for other in self._waits[event["task_id"]] if found.tasks[other].status != "done"]
        if unmet:
            found.wrong(event, f"claimed before {unmet} were done")
        task.status, task.token, task.lost_by = "in_progress", data["lease_token"], None
        task.holder, task.session = data["agent"], event["session_id"]
        self._count(task, +1)
        self._check_limits(event, task, resumed)

    def _check_limits(self, event: dict[str, Any], task: Played, resumed: bool) -> None:
        """A resumed task was counted before: it may stand above a limit that was lowered meanwhile."""
        found, agent = self._found, task.holder or ""
        total = self._by_agent.total()
        found.most_in_progress = max(found.most_in_progress, total)
        found.most_by_agent[agent] = max(found.most_by_agent[agent], self._by_agent[agent])
        if resumed:
            return
        if self._limits.store is not None and total > self._limits.store:
            found.wrong(event, f"{total} tasks in progress, the limit is {self._limits.store}")
        if self._limits.agent is not None and self._by_agent[agent] > self._limits.agent:
            found.wrong(event, f"{agent} has {self._by_agent[agent]} in progress, the limit is {self._limits.agent}")
        if task.epic is not None:
            count, limit = self._by_epic[task.epic], self._epic_limits.get(task.epic)
            found.most_by_epic[task.epic] = max(found.most_by_epic[task.epic], count)
            if limit is not None and count > limit:
                found.wrong(event, f"{count} tasks of {task.epic} in progress, the limit is {limit}")

    def _adopt(self, event: dict[str, Any], data: dict[str, Any], task: Played) -> None:
        if task.status != "in_progress" or data["from"] != task.session:
            self._found.wrong(event, f"adopted from {data['from']}, but {task.session} held it ({task.status})")
        if task.session not in self._ended:
            self._found.wrong(event, f"adopted while the session {task.session} still held it")
        task.session = event["session_id"]

    def _move(self, event: dict[str, Any], data: dict[str, Any], task: Played) -> None:
        found = self._found
        if data["from"] != task.status:
            found.wrong(event, f"it moved from {data['from']}, but it was {task.status}")
        if task.status == "in_progress":
            if data.get("lease_token") != task.token:
                found.wrong(event, f"it ended the lease {data.get('lease_token')}, the present one is {task.token}")
            self._count(task, -1)
            task.lost_by = (task.holder or "", task.session or "") if event["kind"] == "lease.expired" else None
            task.holder = task.session = None
        if data["to"] == "done":
            found.completions[event["task_id"]] += 1
        if data["from"] == "done":
            found.openings[event["task_id"]] += 1
        task.status = data["to"]

    def _count(self, task: Played, by: int) -> None:
        if task.status == "in_progress" and task.holder is not None:
            self._by_agent[task.holder] += by
            if task.epic is not None:
                self._by_epic[task.epic] += by

    def _compare(self) -> None:
        """The events lead to exactly what the tables say: no event without its state, no state without its event."""
        found = self._found
        for task_id, row in self._rows.items():
            task = found.tasks.get(task_id, Played())
            told = (task.status, task.token, task.session, task.epic)
            kept = (row["status"], row["lease_token"], row["session_id"], row["epic_id"])
            if told != kept:
                found.problems.append(f"{task_id}: its events lead to {told}, its row says {kept}")
            if task.holder is not None and task.holder != row["assigned_to"]:
                found.problems.append(f"{task_id}: {task.holder} claimed it, its row names {row['assigned_to']}")
            if found.completions[task_id] > found.openings[task_id]:
                found.problems.append(f"{task_id} was completed more often than it was open")
        for task_id, waits in self._waits.items():
            if not waits <= self._rows.keys():
                found.problems.append(f"{task_id} waits for tasks that do not exist")
