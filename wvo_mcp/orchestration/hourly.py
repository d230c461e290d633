"""What is kept by the hour: backups, and the running context in words, from which a new agent continues the work."""

import re
from collections.abc import Iterator
from datetime import datetime

from wvo_mcp.domain.backup import Kind, due, hour, surplus
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.memory import ContextEntry
from wvo_mcp.domain.task import Checkpoint, Status, Task
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm
from wvo_mcp.orchestration.queue.planning import best_ready
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.ports.backend import Backups, DamagedStore, Made, Snapshot, Snapshots

_LOOK_SECONDS = 60.0
FAILED = "backup_failed"
DAMAGED = "database"
RESTORED = "store.restored"
_HELD, _READY, _ENTRIES, _ALERTS, _STRANDED = 200, 20, 20, 50, 20
_EVENT = re.compile(r"^Up to event (\d+)\b", re.MULTILINE)


async def hourly(store: Store, backups: Backups, caller: Caller) -> bool:
    """Take the backup of this clock hour unless there is one; True when it was taken. A store without a history has none.

    What exists is judged by the folder, and the hour by the store's time: a new leader repeats nothing, and a wall clock
    that is set back skips nothing. Raises as `Backups.create`: the job that fails becomes an alert, `backup_failed`.
    """

    async def look(tx: Transaction) -> tuple[datetime, bool, datetime | None]:
        behind = await tx.events.before_last(1, None, RESTORED)
        restored = await tx.events.after(behind, 1, None, RESTORED)
        return tx.now, await tx.events.last_seq() > 0, restored[0].at if restored else None

    now, anything, restored = await store.read(caller, look)
    if not anything:
        return False
    existing = await backups.all()
    # What was copied before a restore is another history, and must not be what a repair brings back.
    taken = [b.at for b in existing if b.kind is not Kind.SAFETY and (restored is None or b.at > restored)]
    if not due(now, taken):
        # Copies made by hand, or by a leader that ended, leave some behind.
        if surplus(existing, now):
            await backups.prune(now)
        return False
    try:
        await take(store, backups, caller)
    except DamagedStore as error:
        message = f"{error.message} {error.hint}"[:2_000]
        await store.write(caller, lambda tx: tx.alerts.raise_alert(DAMAGED, "critical", None, message))
        raise
    return True


def leader_jobs(backups: Backups | None, snapshots: Snapshots) -> tuple[LeaderJob, ...]:
    """Looked at every minute, done once an hour."""

    async def copy(term: LeaderTerm) -> None:
        if backups is not None:
            await term.check()  # two at once do no harm, and cost
            await hourly(term, backups, term.caller)

    async def describe(term: LeaderTerm) -> None:
        await term.check()
        await describe_hourly(term, snapshots, term.caller)

    return (LeaderJob("backup", _LOOK_SECONDS, copy), LeaderJob("context_snapshot", _LOOK_SECONDS, describe))


async def take(store: Store, backups: Backups, caller: Caller) -> Made:
    """One backup now, and those that no rule keeps go; a good one ends the alerts of those that failed. Raises as
    `Backups.create`."""

    async def read_now(tx: Transaction) -> datetime:
        return tx.now

    async def alerted(tx: Transaction) -> bool:
        return any([await tx.alerts.find(kind, None) for kind in (FAILED, DAMAGED)])

    async def resolve(tx: Transaction) -> None:
        await tx.alerts.resolve_alert(FAILED, None)
        damaged = await tx.alerts.find(DAMAGED, None)
        if damaged is not None and not damaged["evidence"]:
            # One with evidence was raised by the health cycle, for a full disk say, and is ended by it.
            await tx.alerts.resolve_alert(DAMAGED, None)

    now = await store.read(caller, read_now)
    made = await backups.create(now)
    await backups.prune(now)
    if await store.read(caller, alerted):
        await store.write(caller, resolve)
    return made


async def snapshot(store: Store, snapshots: Snapshots, caller: Caller) -> Snapshot:
    """Write it now. Raises StoreUnavailable."""

    async def read(tx: Transaction) -> tuple[datetime, str]:
        return tx.now, "\n".join(await _markdown(tx)) + "\n"

    return await snapshots.write(*await store.read(caller, read))


async def describe_hourly(store: Store, snapshots: Snapshots, caller: Caller) -> bool:
    """Write it once in a clock hour in which something happened; True when it was written."""
    newest = await snapshots.newest()

    async def due(tx: Transaction) -> bool:
        last = await tx.events.last_seq()
        if newest is None:
            return last > 0
        seen = _EVENT.search(newest.text)
        return (seen is None or int(seen[1]) != last) and hour(tx.now) > hour(newest.at)

    if not await store.read(caller, due):
        return False
    await snapshot(store, snapshots, caller)
    return True


async def _markdown(tx: Transaction) -> list[str]:
    counts = await tx.tasks.counts()
    counted = ((status.value.replace("_", " "), counts.get(status.value, 0)) for status in Status)
    shown = ", ".join(f"{n} {name}" for name, n in counted if n) or "No tasks yet"
    lines = [
        f"# The running context, {iso(tx.now)}",
        "",
        f"Up to event {await tx.events.last_seq()}. {shown}; {await tx.health.claimable()} ready.",
    ]
    if await tx.state.get("paused"):
        lines.append(f"Work is paused: {_line(str(await tx.state.get('paused_reason') or 'no reason given'))}.")
    held = await tx.tasks.page({"status": Status.IN_PROGRESS.value}, 0, _HELD)
    sections = {
        "In progress": [line for task in held for line in _held(task, await tx.memory.last_checkpoint(task.id))],
        "Ready, best first": [
            f"- {task.id}: {_line(task.title)} (score {task.score:g})" for task in await best_ready(tx, _READY)
        ],
        "Alerts": [
            f"- {row['severity']} {row['kind']}: {_line(row['message'])}"
            for row in await tx.alerts.open_alerts(_ALERTS)
        ],
        "Stranded": [f"- {task_id} waits for {_line(other)}" for task_id, other in await tx.health.stranded(_STRANDED)],
        "Remembered, newest first": [
            line for entry in await tx.memory.latest(None, _ENTRIES) for line in _entry(entry)
        ],
    }
    for title, found in sections.items():
        lines += ["", f"## {title}", "", *(found or ["Nothing."])]
    return lines


def _held(task: Task, last: Checkpoint | None) -> Iterator[str]:
    progress = "" if task.progress is None else f", {task.progress} %"
    until = "" if task.lease_expires_at is None else f" until {iso(task.lease_expires_at)}"
    yield f"- {task.id}: {_line(task.title)} (held by {task.assigned_to}{until}{progress})"
    if last is None:
        yield "  - no checkpoint yet"
        return
    yield f"  - checkpoint {last.seq} of {iso(last.created_at)}: {_line(last.summary)}"
    if last.next_steps:
        yield f"  - next: {_line(last.next_steps)}"
    if last.files:
        yield f"  - files: {', '.join(map(_line, last.files))}"


def _entry(entry: ContextEntry) -> Iterator[str]:
    tags = f" [{', '.join(map(_line, entry.tags))}]" if entry.tags else ""
    yield f"### {_line(entry.topic)} (version {entry.version}, {iso(entry.at)}){tags}"
    yield ""
    # Quoted, so that a heading in the text is not taken for one of ours.
    yield from (f"> {line}".rstrip() for line in entry.content.splitlines() or [""])
    yield ""


def _line(text: str) -> str:
    return " ".join(text.split())
