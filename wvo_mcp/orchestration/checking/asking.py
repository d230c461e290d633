"""Who is asked to review a piece of work (contract, section 12)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wvo_mcp.domain.merging import WAITS, EntryState
from wvo_mcp.domain.review import Review, ReviewTrigger
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.errors import Conflict, InvalidInput
from wvo_mcp.orchestration.tasks import protecting, reviewing
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Providers

ASKED = "review.asked"
REVIEWERS = "reviewers"
"""Fact: the providers that a runner can launch. The server of a worker knows of none: it has nothing that people accepted."""
REASON = "review"
"""`reason` of an entry that a review holds."""
_REVIEWERS = 2
_EVENTS = 50
_AT_WORK = frozenset({EntryState.QUEUED, EntryState.BUILDING, EntryState.VERIFYING, EntryState.PARKED})


@dataclass(frozen=True, slots=True)
class Author:
    agent_id: str
    session_id: str | None = None
    provider: str | None = None


def candidates(providers: Providers) -> list[str]:
    """Providers that people configured and that this machine does not miss, in the order of their file."""
    try:
        enabled = [one.name for one in providers.current().providers if one.enabled]
    except InvalidInput:  # their file is broken: attached agents and people can still review
        return []
    known = providers.presence()
    return [name for name in enabled if name not in known or known[name].found is not False]


async def ask(
    tx: Transaction,
    task: Task,
    *,
    commit: str,
    base: str | None,
    trigger: ReviewTrigger,
    asked_by: str,
    entry: Mapping[str, Any] | None = None,
    question: str | None = None,
    candidates: Sequence[str],
) -> list[Review]:
    """One round: two rows of different providers where there are two other than the author's, else one, else one for
    whoever takes it. Work in review, and the entry if one is given, waits for it. What was asked of the same work and is
    not answered yet is no longer asked. Raises Conflict: the entry is landing, or has landed."""
    return await _ask(
        tx,
        task,
        await author_of(tx, task, entry),
        {"commit_sha": commit, "base_sha": base, "trigger": trigger, "asked_by": asked_by, "question": question},
        entry,
        candidates,
    )


async def again(tx: Transaction, task: Task, last: Review, candidates: Sequence[str]) -> list[Review]:
    """Ask once more about the work of this row, as it is."""
    entry = None if last.entry_id is None else await tx.submissions.get(last.entry_id)
    about = {"commit_sha": last.commit_sha, "base_sha": last.base_sha, "trigger": last.trigger}
    about |= {"asked_by": last.asked_by, "question": last.question}
    author = Author(last.author, last.author_session, last.author_provider)
    return await _ask(tx, task, author, about, entry, candidates or last.candidates)


async def _ask(
    tx: Transaction,
    task: Task,
    author: Author,
    about: Mapping[str, Any],
    entry: Mapping[str, Any] | None,
    candidates: Sequence[str],
) -> list[Review]:
    holds = entry is not None or task.status is Status.IN_REVIEW
    if entry is not None:
        await hold(tx, entry)
    await reviewing.ended(tx, task.id, holds=holds)
    if holds:
        await protecting.void(tx, task.id, of_reviews=True)
    names = [*candidates] or [*(await tx.state.get(REVIEWERS) or ())]
    others = [name for name in dict.fromkeys(names) if name != author.provider]
    wanted: list[str | None] = [*others[:_REVIEWERS]] or [None]
    fields = {
        **about,
        "task_id": task.id,
        "round": 1 + await tx.reviews.last_round(task.id),
        "entry_id": None if entry is None else entry["entry_id"],
        "holds": holds,
        "author": author.agent_id,
        "author_session": author.session_id,
        "author_provider": author.provider,
        "candidates": others,
    }
    asked = [await tx.reviews.add({**fields, "provider": provider}) for provider in wanted]
    said = {"round": fields["round"], "reviews": [one.review_id for one in asked], "commit": about["commit_sha"]}
    said |= {"trigger": asked[0].trigger.value, "by": about["asked_by"]}
    await tx.events.append(ASKED, task.id, {name: value for name, value in said.items() if value})
    return asked


async def hold(tx: Transaction, entry: Mapping[str, Any]) -> None:
    """It stays queued until its review has passed. Raises Conflict: it is landing, or is no longer in the queue."""
    if entry["state"] not in _AT_WORK:
        raise Conflict(f"{entry['entry_id']} is {entry['state']}: its work is not held back any more.")
    waits = {"state": EntryState.QUEUED, "review": WAITS, "reason": REASON, "retry_at": None}
    await tx.submissions.change(entry["entry_id"], waits)


async def author_of(tx: Transaction, task: Task, entry: Mapping[str, Any] | None = None) -> Author:
    """Who did the work: the agent that submitted it, else its holder, else who held it last."""
    events = list(reversed(await tx.events.of_task(task.id, _EVENTS)))
    named = (
        one.data.get("holder") or (one.data.get("agent") if one.kind == "task.claimed" else None) for one in events
    )
    holder = next((str(one) for one in named if one), None)
    agent_id = (entry["agent_id"] if entry is not None else None) or task.assigned_to or holder or ""
    session_id = next((one.session_id for one in events if one.agent_id == agent_id), None)
    workers = [one for one in await tx.workers.of_task(task.id, 1) if one.agent_id == agent_id]
    provider = workers[0].provider if workers else await tx.sessions.provider(agent_id)
    if provider is None and agent_id == tx.caller.agent_id:
        provider = tx.caller.provider
    return Author(agent_id, session_id, provider)
