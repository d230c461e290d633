"""What needs a person, what keeps work from being begun, and what to do next: in one order and the same words for the
terminal and the page."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from wvo_mcp.domain.approval import Approval
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.merging import SENT_BACK, EntryState
from wvo_mcp.domain.messages import PERSON
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.domain.worker import Worker, WorkerState
from wvo_mcp.orchestration.merging import unattended
from wvo_mcp.orchestration.pool import facts
from wvo_mcp.orchestration.routing.overview import Overview
from wvo_mcp.orchestration.tasks import asked, review
from wvo_mcp.ports import Row, Transaction

EACH = 20
"""How many of each kind are looked at."""
_APPROVALS = 50
_LOOKED_AT = 200
_CURES = {
    "roadmap_guard": "alerts",
    "roadmap_invalid": "roadmap-sync",
    "trust": "trust",
    "trust_roadmap": "trust",
    "clock_ahead": "set-time-back",
    "providers_file": "doctor",
}
"""Alerts with a command that explains or ends them; to acknowledge these would only hide them."""


class Why(StrEnum):
    CRITICAL = "critical"
    """An alert of this severity."""
    APPROVAL = "approval"
    QUESTION = "question"
    FAILED = "failed"
    BLOCKED = "blocked"
    PARKED = "parked"
    """A submission that waits for a person."""
    RED = "red"
    CONFLICT = "conflict"
    WARNING = "warning"
    STRANDED = "stranded"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One thing that waits for a person. `id`: the task, submission or message that it is about, or `alert N`; `run`: the
    command that ends it, after `wvo-mcp`. The rest is what it rests on."""

    id: str
    why: Why
    run: str
    text: str | None = None
    since: datetime | None = None
    task: Task | None = None
    approval: Approval | None = None
    entry: Row | None = None
    alert: Row | None = None
    message: Row | None = None
    waiting_for: str | None = None

    @property
    def approval_id(self) -> str | None:
        return None if self.approval is None else self.approval.approval_id

    @property
    def tail(self) -> str | None:
        """The end of what the verification printed."""
        return None if self.entry is None else json.loads(self.entry["findings"] or "{}").get("tail")


async def needs(tx: Transaction) -> list[Need]:
    """What frees the most work first: critical alerts, what is asked, what failed or is blocked, submissions that wait, other
    alerts, stranded tasks, notes. An alert about what is named already says nothing more, and is left out."""
    decisions = await _decisions(tx)
    messages = await _messages(tx)
    tasks = [*decisions, *await _ended(tx)]
    named = {one.task.id for one in tasks if one.task is not None}
    tasks += await _parked(tx, named)
    named |= {one.task.id for one in tasks if one.task is not None}
    told = {asked.alert_of(one.approval) for one in decisions if one.approval is not None}
    alerts = [one for one in await _alerts(tx, named) if one.alert is not None and one.alert["kind"] not in told]
    return [
        *(one for one in alerts if one.why is Why.CRITICAL),
        *decisions,
        *(one for one in messages if one.why is Why.QUESTION),
        *tasks[len(decisions) :],
        *(one for one in alerts if one.why is not Why.CRITICAL),
        *await _stranded(tx),
        *(one for one in messages if one.why is Why.NOTE),
    ]


async def _decisions(tx: Transaction) -> list[Need]:
    """What is asked, what expires first at the top; then tasks that wait as a whole."""
    found: list[Need] = []
    for approval in await tx.approvals.waiting(_APPROVALS):
        if approval.gate:  # its task says more, below
            continue
        task = None if approval.task_id is None else await tx.tasks.find(approval.task_id)
        known = approval.approval_id
        found.append(
            Need(
                id=known if task is None else task.id,
                why=Why.QUESTION if approval.question else Why.APPROVAL,
                run=f'answer {known} "your answer"' if approval.question else f"approve {known}",
                text=approval.about,
                since=approval.created_at,
                task=task,
                approval=approval,
            )
        )
    named = {one.task.id for one in found if one.task is not None}
    for where in ({"status": Status.AWAITING_APPROVAL.value}, {"unapproved": True}):
        for task in await tx.tasks.page(where, 0, EACH):
            if task.id not in named:
                gates = [one for one in await tx.approvals.open_of_task(task.id) if one.gate]
                found.append(
                    Need(
                        id=task.id,
                        why=Why.APPROVAL,
                        run=f"approve {task.id}",
                        since=gates[0].created_at if gates else task.updated_at,
                        task=task,
                        approval=gates[0] if gates else None,
                    )
                )
    return found


async def _ended(tx: Transaction) -> list[Need]:
    """Failed tasks, then blocked ones that do not return by themselves."""
    found = [
        Need(id=task.id, why=Why.FAILED, run=f"retry {task.id}", text=task.last_error, since=task.updated_at, task=task)
        for task in await tx.tasks.page({"status": Status.FAILED.value}, 0, EACH)
    ]
    blocked = await tx.tasks.page({"status": Status.BLOCKED.value}, 0, EACH)
    return [*found, *[await _blocked(tx, task) for task in blocked if not await tx.tasks.waits(task.id)]]


async def _blocked(tx: Transaction, task: Task) -> Need:
    given: dict[str, Any] = {"id": task.id, "text": task.blocked_reason, "since": task.updated_at, "task": task}
    entry = next(iter(await tx.submissions.of_task(task.id)), None)
    if entry is not None and entry["state"] == EntryState.PARKED:
        run = f"merge retry {entry['entry_id']}" if review.lands_again(task) else f"unblock {task.id}"
        return Need(why=Why.PARKED, run=run, entry=entry, **given)
    if entry is not None and entry["state"] in SENT_BACK:
        return Need(why=Why(entry["state"]), run=f"unblock {task.id}", entry=entry, **given)
    return Need(why=Why.BLOCKED, run=f"unblock {task.id}", **given)


async def _parked(tx: Transaction, named: Iterable[str]) -> list[Need]:
    """Submissions that no time brings back, of tasks that are not named."""
    found: list[Need] = []
    for entry in await tx.submissions.in_states((EntryState.PARKED,), _LOOKED_AT):
        if entry["retry_at"] is None and entry["task_id"] not in named:
            task = await tx.tasks.find(entry["task_id"])
            run = f"merge retry {entry['entry_id']}"
            since = instant(entry["updated_at"])
            found.append(
                Need(
                    id=entry["task_id"],
                    why=Why.PARKED,
                    run=run,
                    text=entry["reason"],
                    since=since,
                    task=task,
                    entry=entry,
                )
            )
    return found


async def _messages(tx: Transaction) -> list[Need]:
    """What agents wrote to people: questions have no end but an answer, notes are acknowledged."""
    return [
        Need(
            id=row["message_id"],
            why=Why.QUESTION if row["needs_answer"] else Why.NOTE,
            run=f'answer {row["message_id"]} "your answer"' if row["needs_answer"] else "message-inbox",
            text=row["body"],
            since=instant(row["created_at"]),
            message=row,
        )
        for row in await tx.messages.listed(PERSON, EACH, 0, all_of_them=False)
    ]


async def _alerts(tx: Transaction, named: set[str]) -> list[Need]:
    rows = [one for one in await tx.alerts.open_alerts(EACH) if one["task_id"] not in named]
    return [
        Need(
            id=f"alert {one['id']}",
            why=Why(one["severity"]),
            run=_CURES.get(one["kind"], f"alert-ack {one['id']}"),
            text=one["message"],
            since=instant(one["raised_at"]),
            alert=one,
        )
        for one in sorted(rows, key=lambda one: -one["id"])
        if one["acknowledged_at"] is None and one["severity"] != "info"
    ]


async def _stranded(tx: Transaction) -> list[Need]:
    return [
        Need(
            id=task_id,
            why=Why.STRANDED,
            run=f"get-task {other}",
            text=f"waits for {other}, which is cancelled or failed",
            waiting_for=other,
        )
        for task_id, other in await tx.health.stranded(EACH)
    ]


@dataclass(frozen=True, slots=True)
class Hold:
    """Why work is not begun: a sentence, until when, and the command that helps, after `wvo-mcp`."""

    kind: str
    text: str
    run: str | None = None
    until: datetime | None = None


async def holds(tx: Transaction, policy: Policy, counts: Mapping[str, int], seen: Overview | None) -> list[Hold]:
    """What keeps ready work from being begun, or says that there is none. `counts`: by status, with `ready` as may be claimed;
    `seen`: the state of the providers, where their file can be read."""
    found: list[Hold] = []
    halt = await facts.read(tx)
    if not halt.gives_out:
        why = f": {halt.reason}" if halt.reason else ""
        how = "stopped" if halt.stop else "paused; workers finish their tasks" if not halt.interrupts else "paused"
        found.append(Hold("paused", f"Work is {how}{why}.", "resume"))
    begun, limit = counts["in_progress"], policy.wip_limit
    if begun >= limit:
        found.append(Hold("wip", f"WIP limit reached: {begun} of {limit} tasks in progress (store-wide)."))
    found += await _full_epics(tx)
    workers = await tx.workers.open()
    found += _limited(workers)
    found += [] if seen is None else _spent(seen)
    if not counts["ready"]:
        found.append(_nothing_ready(counts))
    elif not workers and await _nobody(tx):
        found.append(Hold("nobody", "No autopilot runs, and no agent is connected.", "autopilot"))
    if waits := await unattended.waiting(tx):
        what = "submission waits" if waits == 1 else "submissions wait"
        found.append(Hold("no_runner", f"{waits} {what} to land, and nothing is running that lands work here.", "run"))
    return found


async def _full_epics(tx: Transaction) -> list[Hold]:
    full = [
        epic
        for epic in await tx.tasks.epics()
        if epic["wip_limit"] is not None and epic["in_progress"] >= epic["wip_limit"]
    ]
    return [
        Hold("epic", f"Epic {epic['id']} is at its WIP limit: {epic['in_progress']} of {epic['wip_limit']}.")
        for epic in full[:EACH]
    ]


def _limited(workers: Sequence[Worker]) -> list[Hold]:
    """Providers at which all workers wait for a limit, each with the time when the first of them goes on."""
    found: list[Hold] = []
    for provider in sorted({one.provider for one in workers if one.state is WorkerState.LIMITED}):
        limited = [one for one in workers if one.provider == provider and one.state is WorkerState.LIMITED]
        until = min((one.resets_at for one in limited if one.resets_at is not None), default=None)
        tasks = ", ".join(one.task_id for one in limited[:3])
        found.append(Hold("limit", f"{provider} has reached its limit; waiting: {tasks}.", "provider-status", until))
    return found


def _spent(seen: Overview) -> list[Hold]:
    """Providers that cannot be used, and budgets that are used up."""
    found: list[Hold] = []
    for one in seen.providers:
        if not one.provider.enabled:
            continue
        if one.stopped is not None:
            kind = (one.stopped.kind or one.stopped.state).replace("_", " ")
            text = f"{one.provider.name} is not used: {kind}."
            found.append(Hold("provider", text, "provider-status", one.stopped.free_at))
        for window in one.windows:
            if window.used + window.reserved >= window.limit:
                used = f"{window.used + window.reserved:,} of {window.limit:,} tokens"
                whose = f"{window.scope} {window.name}"
                text = f"The budget of {whose} per {window.period} is used up: {used}."
                found.append(Hold("budget", text, "budget show", window.resets_at))
    return found


def _nothing_ready(counts: Mapping[str, int]) -> Hold:
    pending = counts.get("pending", 0)
    if pending:
        what = "1 task waits" if pending == 1 else f"{pending:,} tasks wait"
        return Hold("not_ready", f"No task is ready: {what} for other tasks, an approval or a time.", "plan-next")
    if any(counts.get(status.value, 0) for status in Status):
        return Hold("not_ready", "No task is ready, and none waits for another.", "add TITLE")
    return Hold("no_tasks", "There are no tasks yet.", "add TITLE")


async def _nobody(tx: Transaction) -> bool:
    """Does no living session belong to an autopilot or an agent?"""
    living = [one for one in await tx.sessions.connected() if tx.liveness.alive(one)]
    rows = [await tx.sessions.get(one) for one in living]
    return all(row is None or row["agent_id"] is None for row in rows)


@dataclass(frozen=True, slots=True)
class Next:
    """The command that makes sense now, after `wvo-mcp`, and what it does."""

    command: str
    why: str = ""


def following(counts: Mapping[str, int], wanted: Sequence[Need], *, paused: bool, roadmap: object) -> Next:
    no_file = roadmap is None and not any(counts.get(status.value, 0) for status in Status)
    choices = (
        (paused, "resume", "starts giving out tasks again"),
        (wanted, wanted[0].run if wanted else "", ""),
        (no_file, "init", "writes a sample state/roadmap.yaml; or wvo-mcp add TITLE"),
        (counts["in_progress"], "status --watch", "keeps this on the screen"),
        (counts["ready"], "claim-task", "claims the first; or start an agent here"),
        (counts.get("pending"), "plan-next", "says what the rest waits for"),
        (True, "add TITLE", "adds a task; so does state/roadmap.yaml"),
    )
    return next(Next(command, why) for applies, command, why in choices if applies)
