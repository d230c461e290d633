"""How the work of a task was shown to be done: what its agent said of each criterion, what verification and reviewers found."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wvo_mcp.domain.review import Review, ReviewState
from wvo_mcp.domain.task import Task
from wvo_mcp.ports import Transaction

_EVENTS = 200
_REVIEWS = 10
_TAIL = 2_000


@dataclass(frozen=True, slots=True)
class Failed:
    """The end of the log of a command of `verify` that failed on a submission."""

    entry_id: str
    command: str
    tail: str


@dataclass(frozen=True, slots=True)
class Proof:
    """`criteria`: each with the evidence for it, in their order, and what was given beyond them. `reviews`: answered ones, the
    newest first."""

    criteria: list[tuple[str | None, str | None]]
    failed: Failed | None
    reviews: list[Review]


async def proof(tx: Transaction, task: Task) -> Proof | None:
    """None where nothing was said, found or reviewed yet."""
    given = [str(one) for one in (await said(tx, task)).get("evidence", ())]
    found = await failed(tx, task)
    known = await tx.reviews.of_task(task.id, _REVIEWS)
    reviews = [one for one in known if one.state is ReviewState.ANSWERED]
    if not given and found is None and not reviews:
        return None
    longest = max(len(given), len(task.acceptance))
    texts: list[str | None] = [*task.acceptance, *[None] * (longest - len(task.acceptance))]
    evidence: list[str | None] = [*given, *[None] * (longest - len(given))]
    return Proof(list(zip(texts, evidence, strict=True)), found, reviews)


async def said(tx: Transaction, task: Task) -> Mapping[str, Any]:
    """When it was completed last, else in its last checkpoint: {summary, evidence}."""
    for event in reversed(await tx.events.of_task(task.id, _EVENTS)):
        if event.kind in ("task.submitted", "task.completed") and "summary" in event.data:
            return event.data
    last = await tx.memory.last_checkpoint(task.id)
    return {} if last is None else {"summary": last.summary}


async def failed(tx: Transaction, task: Task) -> Failed | None:
    """Of the last submission that came back for it."""
    for entry in await tx.submissions.of_task(task.id):
        found = json.loads(entry["findings"])
        if "tail" in found:
            return Failed(entry["entry_id"], str(found.get("command")), str(found["tail"])[-_TAIL:])
    return None
