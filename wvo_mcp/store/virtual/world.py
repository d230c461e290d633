"""What the virtual store holds, and the columns that follow from every change: counters, gates, lanes, the ready queue.

The databases keep these by triggers and partial indexes; here they are kept by hand: heaps with lazy deletion for the
queue, the leases and the times, sets for who holds what.
"""

import heapq
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from wvo_mcp.domain.lease import WIP_LIMIT, Caller
from wvo_mcp.domain.task import GATE_BITS, SETTLED, Gate, Status, Task
from wvo_mcp.domain.wsjf import NO_PATH
from wvo_mcp.store.ranking import Pace

Key = tuple[Any, ...]
"""Smaller is better; two tasks never have the same."""

Order = Callable[[Task, float], Key]
"""The place of a task in the ready queue, by the task and its present score."""

TIMED = GATE_BITS[Gate.NOT_BEFORE]
CHILDREN = GATE_BITS[Gate.CHILDREN]


class Attendance(Protocol):
    """`ports.Liveness` that also tells who is gone."""

    def alive(self, session_id: str) -> bool: ...

    @property
    def deaths(self) -> Sequence[str]:
        """Sessions whose servers are gone, in the order of their ends; it only grows."""
        ...


def by_score(task: Task, score: float) -> Key:
    """The order of the product: the score, then the order of creation (contract, section 4)."""
    return (-score, task.seq)


_KEPT = ("bundle_value", "bundle_size", "heard_value", "heard_size", "tail")


class Record:
    """A task and the columns that change without it: `task` is behind them while `behind` is True."""

    __slots__ = ("behind", "children", "gates", "kept", "lane", "lease", "score", "task", "unmet")

    def __init__(self, task: Task, lane: "Lane") -> None:
        self.task = task
        self.unmet = task.unmet_deps
        self.kept = (task.bundle_value, task.bundle_size, task.heard_value, task.heard_size, task.tail)
        """Value and size of the bundle, both as those above heard of them, and the tail."""
        self.score = task.score
        self.gates = task.gates
        self.children = task.open_children
        self.lease = task.lease_expires_at
        self.lane = lane
        self.behind = False

    def present(self) -> Task:
        if self.behind:
            self.task = altered(
                self.task,
                {
                    "unmet_deps": self.unmet,
                    **dict(zip(_KEPT, self.kept, strict=True)),
                    "score": self.score,
                    "gates": self.gates,
                    "open_children": self.children,
                    "lease_expires_at": self.lease,
                    "lane_id": self.lane.id,
                },
            )
            self.behind = False
        return self.task

    @property
    def free(self) -> bool:
        """In the ready queue, gated or not."""
        return self.unmet == 0 and self.task.status is Status.PENDING

    @property
    def open(self) -> bool:
        return self.task.status not in SETTLED


class Lane:
    """Tasks that the same circumstances shut out, best first."""

    __slots__ = ("heap", "id", "row", "shown")

    def __init__(self, number: int, epic_id: str, capabilities: str, files: str) -> None:
        self.id = number
        self.row: dict[str, Any] = {"id": number, "epic_id": epic_id, "capabilities": capabilities, "files": files}
        self.heap: list[tuple[Key, str]] = []
        self.shown: Key | None = None
        """Where it stands among the heads of all lanes: not behind its best task."""


class World:
    """All of it, and who looks at it now: `now` and `caller` are those of the transaction that runs."""

    def __init__(
        self, attendance: Attendance, order: Order = by_score, *, kept: bool = False, agents: int = WIP_LIMIT
    ) -> None:
        """`kept`: leases of living sessions are renewed as each server's keeper does, without anybody asking. `agents` may
        work at once: the ranking depends on it."""
        self.attendance = attendance
        self.order = order
        self.kept = kept
        self.now = datetime.min.replace(tzinfo=UTC)
        self.caller = Caller("", "")
        self.pace = Pace(agents, NO_PATH, -1)
        self.open_size = 0
        self.records: dict[str, Record] = {}
        self.needs: dict[str, list[str]] = {}
        self.needed_by: dict[str, list[str]] = {}
        self.parts: dict[str, list[str]] = {}
        self.waits: dict[str, list[str]] = {}
        self.waited_for: dict[str, dict[str, None]] = {}
        self.epics: dict[str, dict[str, Any]] = {}
        self.milestones: dict[str, dict[str, Any]] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.agents: dict[str, dict[str, Any]] = {}
        self.facts: dict[str, Any] = {}
        self.events: Counter[str] = Counter()
        self.counts: dict[str, int] = {**{status.value: 0 for status in Status}, "ready": 0}
        self.lanes: dict[tuple[str, str, str], Lane] = {}
        self.heads: list[tuple[Key, int]] = []
        self.by_number: list[Lane] = []
        self.leases: list[tuple[datetime, int, str]] = []
        self.timed: list[tuple[datetime, str]] = []
        self.by_agent: dict[str, dict[str, None]] = {}
        self.by_session: dict[str, dict[str, None]] = {}
        self.scopes: dict[str, str] = {}
        self.on_left: Callable[[Task], None] = lambda _: None
        """Told whenever a task leaves its holder."""
        self._length = timedelta(0)
        self._deaths = 0
        self._lost: list[str] = []

    # Lanes and the queue.

    def lane_of(self, epic_id: str | None, capabilities: Sequence[str], files: Sequence[str]) -> Lane:
        key = (epic_id or "", text(capabilities), text(files))
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(len(self.by_number), *key)
            self.by_number.append(lane)
        return lane

    def queue(self, record: Record) -> None:
        """Put it where it belongs, if it waits for nothing but its turn or its time."""
        if record.task.status is not Status.PENDING:
            return
        if record.gates & TIMED and record.task.not_before is not None:
            heapq.heappush(self.timed, (record.task.not_before, record.task.id))
        if record.unmet or record.gates:
            return
        key = self.order(record.task, record.score)
        heap = record.lane.heap
        heapq.heappush(heap, (key, record.task.id))
        if record.lane.shown is None or key < record.lane.shown:
            record.lane.shown = key
            heapq.heappush(self.heads, (key, record.lane.id))

    def head(self, lane: Lane) -> tuple[Key, str] | None:
        """The best of the lane; what has left it or stands there with an older score is dropped on the way."""
        heap = lane.heap
        while heap:
            key, task_id = heap[0]
            record = self.records[task_id]
            if (
                record.task.status is Status.PENDING
                and not record.unmet
                and not record.gates
                and record.lane is lane
                and self.order(record.task, record.score) == key
            ):
                return heap[0]
            heapq.heappop(heap)
        return None

    # Kept columns.

    def unmet(self, record: Record, by: int) -> None:
        was = record.free
        record.unmet += by
        record.behind = True
        self._freed(record, was)

    def _freed(self, record: Record, was: bool) -> None:
        if record.free != was:
            self.counts["ready"] += -1 if was else 1
            if not was:
                self.queue(record)

    def scored(self, record: Record, score: float) -> None:
        if score != record.score:
            record.score = score
            record.behind = True
            self.queue(record)

    def gated(self, record: Record, gates: int) -> None:
        if gates != record.gates:
            record.gates = gates
            record.behind = True
            self.queue(record)

    def child(self, parent_id: str | None, by: int) -> None:
        parent = None if parent_id is None else self.records.get(parent_id)
        if parent is not None:
            self.parent(parent, parent.children + by)

    def parent(self, record: Record, children: int) -> None:
        record.children = children
        record.behind = True
        self.gated(record, record.gates | CHILDREN if children else record.gates & ~CHILDREN)

    # Tasks.

    def put(self, task: Task) -> Record:
        """A task that is new to this world."""
        record = Record(task, self.lane_of(task.epic_id, task.capabilities, task.files))
        self.records[task.id] = record
        self.counts[task.status.value] += 1
        self.counts["ready"] += record.free
        self.open_size += task.complexity * record.open
        if task.parent_id is not None:
            self.parts.setdefault(task.parent_id, []).append(task.id)
            if task.status not in SETTLED:
                self.child(task.parent_id, 1)
        if task.status is Status.IN_PROGRESS:
            self._hold(task)
        self.queue(record)
        return record

    def change(self, record: Record, task: Task) -> None:
        """The task's own columns are now those of `task`; everything else follows."""
        old = record.task
        was_free = record.free
        record.task = task
        record.lease = task.lease_expires_at
        record.behind = True
        if task.status is not old.status:
            self.counts[old.status.value] -= 1
            self.counts[task.status.value] += 1
        if task.epic_id != old.epic_id or task.capabilities != old.capabilities or task.files != old.files:
            record.lane = self.lane_of(task.epic_id, task.capabilities, task.files)
        if task.parent_id != old.parent_id:
            if old.parent_id is not None:
                self.parts[old.parent_id].remove(task.id)
            if task.parent_id is not None:
                self.parts.setdefault(task.parent_id, []).append(task.id)
        closed, was_closed = task.status in SETTLED, old.status in SETTLED
        self.open_size += task.complexity * (not closed) - old.complexity * (not was_closed)
        if closed != was_closed or task.parent_id != old.parent_id:
            if not was_closed:
                self.child(old.parent_id, -1)
            if not closed:
                self.child(task.parent_id, 1)
        if old.status is Status.IN_PROGRESS:
            self._let_go(old)
            if task.status is not Status.IN_PROGRESS:
                self.on_left(task)
        if task.status is Status.IN_PROGRESS:
            self._hold(task)
        if record.free != was_free:
            self.counts["ready"] += -1 if was_free else 1
        self.queue(record)

    def _hold(self, task: Task) -> None:
        if task.assigned_to is not None:
            self.by_agent.setdefault(task.assigned_to, {})[task.id] = None
        if task.session_id is not None:
            self.by_session.setdefault(task.session_id, {})[task.id] = None
        if task.epic_id is not None and task.epic_id in self.epics:
            self.epics[task.epic_id]["in_progress"] += 1
        if task.files:
            self.scopes[task.id] = text(task.files)
        if task.lease_expires_at is not None and not self.kept:
            heapq.heappush(self.leases, (task.lease_expires_at, task.seq, task.id))
        self._length = timedelta(seconds=task.lease_seconds or 0)

    def _let_go(self, task: Task) -> None:
        if task.assigned_to is not None:
            self.by_agent[task.assigned_to].pop(task.id, None)
        if task.session_id is not None:
            self.by_session[task.session_id].pop(task.id, None)
        if task.epic_id is not None and task.epic_id in self.epics:
            self.epics[task.epic_id]["in_progress"] -= 1
        self.scopes.pop(task.id, None)

    # Leases and times.

    def lost(self) -> list[str]:
        """Sessions, not yet ended, whose server is gone while they held something."""
        fresh = self.attendance.deaths[self._deaths :]
        self._deaths += len(fresh)
        self._lost += fresh
        if self.kept:
            for session_id in fresh:  # its keeper had renewed them until now
                for task_id in self.by_session.get(session_id, ()):
                    self.lease(self.records[task_id], self.now + self._length)
        if self._lost:
            self._lost = sorted(session_id for session_id in self._lost if self._holds(session_id))
        return self._lost

    def _holds(self, session_id: str) -> bool:
        session = self.sessions.get(session_id)
        held = self.by_session.get(session_id)
        return bool(held) and session is not None and session["ended_at"] is None and not session["durable"]

    def lease(self, record: Record, until: datetime) -> None:
        record.lease = until
        record.behind = True
        heapq.heappush(self.leases, (until, record.task.seq, record.task.id))

    def next_lease(self) -> datetime | None:
        """When the lease that ends first does. Where keepers renew, that is no sooner than after two thirds of its length,
        but for leases that were cut."""
        soonest = self.now + self._length * 2 / 3 if self.kept and self.counts["in_progress"] else None
        while self.leases:
            until, _, task_id = self.leases[0]
            record = self.records[task_id]
            if record.lease == until and record.task.status is Status.IN_PROGRESS:
                return until if soonest is None else min(until, soonest)
            heapq.heappop(self.leases)
        return soonest

    def expired(self) -> list[str]:
        found: list[tuple[datetime, int, str]] = []
        while (until := self.next_lease()) is not None and until <= self.now:
            found.append(heapq.heappop(self.leases))
        for entry in found:
            heapq.heappush(self.leases, entry)
        return list(dict.fromkeys(task_id for _, _, task_id in found))

    def next_time(self) -> datetime | None:
        """When the not-before that ends first does, of those that are still shut."""
        while self.timed:
            at, task_id = self.timed[0]
            record = self.records[task_id]
            if record.task.status is Status.PENDING and record.gates & TIMED and record.task.not_before == at:
                return at
            heapq.heappop(self.timed)
        return None


def altered(task: Task, changes: Mapping[str, Any]) -> Task:
    """As `model_copy`, in a quarter of the time: a simulation does this a million times."""
    fresh = Task.__new__(Task)
    object.__setattr__(fresh, "__dict__", {**task.__dict__, **changes})
    object.__setattr__(fresh, "__pydantic_fields_set__", task.__pydantic_fields_set__)
    object.__setattr__(fresh, "__pydantic_extra__", None)
    object.__setattr__(fresh, "__pydantic_private__", None)
    return fresh


def text(values: Sequence[str]) -> str:
    """As the column of a database holds it."""
    return json.dumps(list(values), ensure_ascii=False, separators=(",", ":")) if values else "[]"
