"""The guard of the roadmap: a file that lost its tasks, or came back with another branch, cancels no work by itself.

Judged within the transaction of the sync, so that every sync (a server's start, the leader, a command, another host)
gets the same answer (contract, section 9).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.task import SETTLED, Status
from wvo_mcp.ports import RoadmapFiles, Store, Transaction

if TYPE_CHECKING:
    # A start reads what the last sync left before it imports what a sync needs.
    from wvo_mcp.domain.roadmap import Entry, Roadmap

SYNCED = "roadmap"
"""Name of the fact {digest, at, tasks, sync_ratio} about the last sync."""

GUARD = "roadmap_guard"
"""Name of the fact {digest, waiting, message} while cancellations wait, and kind of the alert."""

INVALID = "roadmap_invalid"
"""Kind of the alert while the file cannot be synced."""


async def is_settled(store: Store, files: RoadmapFiles, caller: Caller) -> bool:
    """The file is the version that was merged last, nothing waits for a person, and no alert speaks of it."""
    if files.location is not None:  # of several files, only one is followed
        return False
    digest = await files.digest()

    async def settled(tx: Transaction) -> bool:
        last = await tx.state.get(SYNCED)
        if last is None or last["digest"] != digest or await tx.state.get(GUARD) is not None:
            return False
        return await tx.alerts.find(INVALID, None) is None

    return await store.read(caller, settled)


TAKEN = "roadmap_taken"
"""Name of the fact with the digests, shortened, of the last versions that were taken; the newest last."""

_VERSIONS = 300
_DIGITS = 16
_WORK = (Status.IN_PROGRESS, Status.IN_REVIEW, Status.AWAITING_APPROVAL)
_FEW = 3
_FIFTH = 5
_NAMED = 10
_WAY_OUT = "Restore the file, or run `wvo-mcp roadmap-sync --allow-cancel`."


@dataclass(frozen=True, slots=True)
class Verdict:
    """`waiting`: tasks whose cancellation waits; `whole`: then nothing of the file is taken."""

    waiting: tuple[str, ...] = ()
    whole: bool = False
    message: str = ""


async def judge(
    tx: Transaction, roadmap: "Roadmap", base: "Mapping[str, Entry]", last: Mapping[str, Any] | None
) -> Verdict:
    """`base` is what the file said at the last sync, about which the fact `last` is."""
    stated = {task.id: task.status for task in roadmap.tasks}
    was = {task_id: entry.get("status") for task_id, entry in base.items()}
    marked = [
        name for name, status in stated.items() if status == Status.CANCELLED and was.get(name) != Status.CANCELLED
    ]
    candidates = [*(task_id for task_id in base if task_id not in stated), *marked]
    stored = await tx.tasks.statuses(candidates)
    cancelled = {name: stored[name] for name in candidates if name in stored and stored[name] not in SETTLED}
    if not cancelled:
        return Verdict()
    counts = await tx.tasks.counts()
    open_tasks = sum(counts.get(status, 0) for status in Status if status not in SETTLED)
    same = last is not None and last["digest"] == roadmap.digest  # what was taken last has not come back
    known = not same and roadmap.digest[:_DIGITS] in await _taken(tx, last)
    names = _listed(cancelled)
    if known:
        why = f"is a version that was taken before (was a branch switched?) and would cancel {names}: nothing is taken"
    elif work := [task_id for task_id, status in cancelled.items() if status in _WORK]:
        why = f"would cancel work in progress ({_listed(work)}): the cancellation of {names} waits"
    elif not roadmap.tasks or (len(cancelled) > _FEW and len(cancelled) * _FIFTH > open_tasks):
        why = f"would cancel {len(cancelled)} of {open_tasks} open tasks: the cancellation of {names} waits"
    else:
        return Verdict()
    return Verdict(tuple(cancelled), known, f"roadmap.yaml {why}. {_WAY_OUT}")


async def keep(tx: Transaction, roadmap: "Roadmap", verdict: Verdict, last: Mapping[str, Any] | None) -> None:
    """Remember the version, unless nothing of it was taken, and raise or resolve the alert."""
    if not verdict.whole:
        taken = [each for each in await _taken(tx, last) if each != roadmap.digest[:_DIGITS]]
        await tx.state.put(TAKEN, [*taken, roadmap.digest[:_DIGITS]][-_VERSIONS:])
    if not verdict.waiting:
        if await tx.state.get(GUARD) is not None:
            await tx.state.put(GUARD, None)
            await tx.alerts.resolve_alert(GUARD, None)
        return
    waiting = list(verdict.waiting)
    await tx.state.put(GUARD, {"digest": roadmap.digest, "waiting": waiting, "message": verdict.message})
    evidence = {"waiting": waiting[:100], "count": len(waiting)}
    await tx.alerts.raise_alert(GUARD, "warning", None, verdict.message, evidence)


async def is_outdated(tx: Transaction) -> bool:
    """Must the same file be judged again: have the waiting tasks ended in other ways, or was the alert resolved by hand?"""
    guard = await tx.state.get(GUARD)
    if guard is None:
        return False
    if await tx.alerts.find(GUARD, None) is None:
        return True
    return SETTLED.issuperset((await tx.tasks.statuses(guard["waiting"])).values())


async def _taken(tx: Transaction, last: Mapping[str, Any] | None) -> list[str]:
    taken = await tx.state.get(TAKEN)
    if taken is None:  # a store that was made before versions were remembered
        return [] if last is None else [last["digest"][:_DIGITS]]
    return list(taken)


def _listed(task_ids: Iterable[str]) -> str:
    names = list(task_ids)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
