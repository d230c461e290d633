"""The running context in words: what a person or a new agent needs to go on where everybody stopped."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wvo_mcp.domain.backup import hour
from wvo_mcp.domain.checkpoint import Checkpoint
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.memory import ContextEntry
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.orchestration.queue.planning import best_ready
from wvo_mcp.ports import Row, Store, Transaction
from wvo_mcp.ports.backups import Snapshot, Snapshots

_HELD, _READY, _ENTRIES, _ALERTS, _STRANDED = 200, 20, 20, 50, 20
_EVENT = re.compile(r"^Up to event (\d+)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _View:
    tx: Transaction
    last_event: int
    counts: dict[str, int]
    held: Sequence[tuple[Task, Checkpoint | None]]
    claimable: int
    ready: Sequence[Task]
    entries: Sequence[ContextEntry]
    alerts: Sequence[Row]
    stranded: Sequence[Row]
    paused: str | None


async def snapshot(store: Store, snapshots: Snapshots, caller: Caller) -> Snapshot:
    """Write it now. Raises StoreUnavailable."""

    async def looked(tx: Transaction) -> tuple[Transaction, str]:
        return tx, "\n".join(_markdown(await _view(tx))) + "\n"

    tx, text = await store.read(caller, looked)
    return await snapshots.write(tx.now, text)


async def hourly(store: Store, snapshots: Snapshots, caller: Caller) -> bool:
    """Write it once in a clock hour in which something happened; True when it was written."""
    newest = await snapshots.newest()
    if newest is None:
        if not await store.read(caller, _anything):
            return False
    else:

        async def unchanged(tx: Transaction) -> bool:
            seen = _EVENT.search(newest.text)
            same = seen is not None and int(seen[1]) == await tx.events.last_seq()
            return same or hour(tx.now) <= hour(newest.at)

        if await store.read(caller, unchanged):
            return False
    await snapshot(store, snapshots, caller)
    return True


async def _anything(tx: Transaction) -> bool:
    return await tx.events.last_seq() > 0


async def _view(tx: Transaction) -> _View:
    held = await tx.tasks.page({"status": Status.IN_PROGRESS.value}, 0, _HELD)
    paused = bool(await tx.state.get("paused"))
    return _View(
        tx,
        last_event=await tx.events.last_seq(),
        counts=await tx.tasks.counts(),
        claimable=await tx.health.claimable(),
        held=[(task, await tx.memory.last_checkpoint(task.id)) for task in held],
        ready=await best_ready(tx, _READY),
        entries=await tx.memory.latest(None, _ENTRIES),
        alerts=await tx.alerts.open_alerts(_ALERTS),
        stranded=await tx.tasks.stranded(_STRANDED),
        paused=str(await tx.state.get("paused_reason") or "no reason given") if paused else None,
    )


def _markdown(view: _View) -> Iterator[str]:
    yield f"# The running context, {iso(view.tx.now)}"
    yield ""
    counted = ((status.value.replace("_", " "), view.counts.get(status.value, 0)) for status in Status)
    counts = ", ".join(f"{n} {name}" for name, n in counted if n)
    yield f"Up to event {view.last_event}. {counts or 'No tasks yet'}; {view.claimable} ready."
    if view.paused is not None:
        yield f"Work is paused: {_line(view.paused)}."
    yield from _section("In progress", [line for task, last in view.held for line in _held(task, last)])
    yield from _section("Ready, best first", [f"- {t.id}: {_line(t.title)} (score {t.score:g})" for t in view.ready])
    yield from _section(
        "Alerts", [f"- {row['severity']} {row['kind']}: {_line(row['message'])}" for row in view.alerts]
    )
    yield from _section(
        "Stranded", [f"- {row['id']} waits for {_line(str(row['waiting_for']))}" for row in view.stranded]
    )
    yield from _section("Remembered, newest first", [line for entry in view.entries for line in _entry(entry)])


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""
    yield from lines or ["Nothing."]


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
