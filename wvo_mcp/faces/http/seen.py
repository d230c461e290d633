"""Whether what a form acts on is still as the person saw it: the form says up to which event its page knew the store."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from wvo_mcp.domain.event import HEARTBEAT, Event
from wvo_mcp.errors import Conflict, InvalidInput
from wvo_mcp.operations.operation import Precondition
from wvo_mcp.ports import Transaction

SIGNS_OF_LIFE = frozenset({HEARTBEAT, "task.checkpoint"})
"""Events of a task after which what a person decides about it is as good as before."""
LOOKED_AT = 200
_MOST = 2_000


@dataclass(frozen=True, slots=True)
class Watched:
    """What an operation acts on, where that is no task: events of these kinds change it. `same` are the fields of their data
    that name it, with the fields of the form that do."""

    what: str
    kinds: frozenset[str]
    same: Mapping[str, str] = field(default_factory=dict[str, str])


# That it is raised again and again while its cause lasts is nothing new; that it got worse is.
_ALERT = Watched(
    "The alert",
    frozenset({"alert.acknowledged", "alert.escalated", "alert.resolved", "alert.worsened"}),
    {"alert": "alert_id"},
)
_WORK = Watched("Whether work goes on", frozenset({"work.paused", "work.stopped", "work.resumed"}))
_WORKER = Watched(
    "The worker",
    frozenset({"worker.stop_asked", "worker.ended", "task.parked", "task.paused", "task.kept"}),
    {"worker": "worker_id"},
)
WATCHED: Mapping[str, Watched] = {
    "alert_ack": _ALERT,
    "alert_resolve": _ALERT,
    "budget_raise": Watched("The budget", frozenset({"budget.raised"}), {"scope": "scope", "name": "name"}),
    "pause": _WORK,
    "resume": _WORK,
    "routing_mode": Watched("The routing mode", frozenset({"routing.mode"})),
    "stop": _WORK,
    "worker_stop": _WORKER,
}
"""By operation. Their forms must carry `seen`."""


def still_as_seen(operation: str, field_of: Callable[[str], str | None]) -> Precondition | None:
    """What the transaction of the operation asks first; `field_of` gives a field of the form. None where the form acts on
    nothing that can be out of date. Raises InvalidInput."""
    watched, task_id, text = WATCHED.get(operation), field_of("seen_task"), field_of("seen")
    if watched is None and task_id is None:
        return None
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidInput("seen", "the number of the last event that the page knew")
    if watched is None:
        return partial(_task_as_seen, task_id=str(task_id), seen=int(text))
    same = {name: field_of(of_form) or "" for name, of_form in watched.same.items()}
    return partial(_watched_as_seen, watched=watched, same=same, seen=int(text))


async def _task_as_seen(tx: Transaction, task_id: str, seen: int) -> None:
    """Raises Conflict: something has happened to the task that the person could not have seen. Signs of life are nothing."""
    await _check_same_store(tx, seen)
    found, more = seen, True
    while more:
        events = await tx.events.after(found, LOOKED_AT, task_id, None)
        more = len(events) == LOOKED_AT
        found = events[-1].seq if events else found
        for event in events:
            if event.kind not in SIGNS_OF_LIFE:
                raise _changed(f"Task {task_id}", event, seen)


async def _watched_as_seen(tx: Transaction, watched: Watched, same: Mapping[str, str], seen: int) -> None:
    """Raises Conflict. A page that is older than so many events of these kinds is too old to act at all."""
    await _check_same_store(tx, seen)
    before: int | None = None
    for _ in range(_MOST // LOOKED_AT):
        events = await tx.events.of_kinds(watched.kinds, LOOKED_AT, None, before)
        newer = [event for event in events if event.seq > seen]
        for event in newer:
            if all(str(event.data.get(name)) == value for name, value in same.items()):
                raise _changed(watched.what, event, seen)
        if len(newer) < LOOKED_AT:
            return
        before = newer[-1].seq
    raise Conflict("This page is too old to act on. Nothing was done.", hint="Reload it, and decide then.", seen=seen)


async def _check_same_store(tx: Transaction, seen: int) -> None:
    """Raises Conflict: an earlier store took the place of the one that the page shows, and numbers began again."""
    if seen > await tx.events.last_seq():
        raise Conflict(
            "The store was restored since this page was read. Nothing was done.",
            hint="Look at it again, and decide then.",
            seen=seen,
        )


def _changed(what: str, event: Event, seen: int) -> Conflict:
    return Conflict(
        f"{what} has changed since this page was read ({event.kind} by {event.agent_id},"
        f" {event.at:%H:%M:%S} UTC). Nothing was done.",
        hint="Look at it again, and decide then.",
        task_id=event.task_id,
        seen=seen,
        event=event.seq,
    )
