"""A person asks for a review, or is the reviewer (contract, section 12)."""

from collections.abc import Mapping, Sequence
from typing import Any

from wvo_mcp.domain.merging import OPEN, WAITS, EntryKind
from wvo_mcp.domain.review import Review, ReviewDecision, ReviewState, ReviewTrigger, Ruled, Verdict
from wvo_mcp.domain.task import BlockAuthor, Status, Task
from wvo_mcp.errors import IllegalTransition
from wvo_mcp.orchestration.checking import asking, deciding, triggers
from wvo_mcp.orchestration.tasks import lifecycle, protecting, reviewing, settling
from wvo_mcp.ports import Transaction

_LOOKED_AT = 20


async def ask(tx: Transaction, task: Task, question: str | None, candidates: Sequence[str]) -> list[Review]:
    """Of what is in review, which waits for it then; else of the newest that there is of the work. Raises Conflict: it is
    landing."""
    if task.status is not Status.IN_REVIEW:
        return await triggers.of_work(tx, task, ReviewTrigger.HUMAN, tx.caller.agent_id, candidates, question)
    entry = await _entry(tx, task)
    commit, base = await _content(tx, task, entry)
    return await asking.ask(
        tx,
        task,
        commit=commit,
        base=base,
        trigger=ReviewTrigger.HUMAN,
        asked_by=tx.caller.agent_id,
        entry=entry,
        question=question,
        candidates=candidates,
    )


async def tried_again(tx: Transaction, entry: Mapping[str, Any], candidates: Sequence[str]) -> None:
    """What a person had parked is in the queue again. If it still waits for a review that nobody is asked for, since the
    answer was no, or came while it was parked, it is asked for once more."""
    rows = [one for one in await tx.reviews.of_task(entry["task_id"], _LOOKED_AT) if one.entry_id == entry["entry_id"]]
    if entry["review"] == WAITS and rows and not any(one.is_open for one in rows):
        await asking.again(tx, await tx.tasks.get(entry["task_id"]), rows[0], candidates)


async def judge(tx: Transaction, task: Task, verdict: Verdict, reason: str) -> Task:
    """A person's own verdict, in place of all that were asked. Passed, the work goes on, be it stopped or sent back before;
    stopped, it is blocked. Raises IllegalTransition, and Conflict: it is landing."""
    entry = await _entry(tx, task)
    if not _can_be_judged(task, entry, verdict):
        why = "Only work that is in review, or that a review has stopped or sent back, can be passed or stopped."
        raise IllegalTransition(task.id, task.status, verdict, why)
    if entry is not None:
        await asking.hold(tx, entry)
    await reviewing.ended(tx, task.id)
    await protecting.void(tx, task.id, of_reviews=True)
    await _record(tx, task, entry, verdict, reason)
    if verdict is Verdict.BLOCKER:
        return await settling.stopped(tx, task, f"Stopped by {tx.caller.agent_id}: {reason}")
    if task.status is not Status.IN_REVIEW:
        back = {"progress": 100}
        task = (await lifecycle.move(tx, task, Status.IN_REVIEW, "task.in_review", back, {"reason": reason})).task
    return await settling.passed(tx, task, entry)


def _can_be_judged(task: Task, entry: Mapping[str, Any] | None, verdict: Verdict) -> bool:
    if task.status is Status.IN_REVIEW:
        return True
    stopped = task.status is Status.BLOCKED and task.block_author is BlockAuthor.REVIEW
    if stopped and verdict is Verdict.APPROVED:
        return True
    return entry is not None and task.status is Status.PENDING


async def _entry(tx: Transaction, task: Task) -> dict[str, Any] | None:
    """What the task has in the queue."""
    for entry in await tx.submissions.of_task(task.id):
        if entry["kind"] == EntryKind.SUBMISSION and entry["state"] in OPEN:
            return entry
    return None


async def _content(tx: Transaction, task: Task, entry: Mapping[str, Any] | None) -> tuple[str, str | None]:
    """(commit, base) of what waits for the review; an empty commit where nothing was handed in."""
    if entry is not None:
        return entry["commit_sha"], entry["base_sha"]
    last = await reviewing.of_copy(tx, task.id)
    return ("", None) if last is None else (last.commit_sha, last.base_sha)


async def _record(tx: Transaction, task: Task, entry: Mapping[str, Any] | None, verdict: Verdict, reason: str) -> None:
    author = await asking.author_of(tx, task, entry)
    commit, base = await _content(tx, task, entry)
    who = tx.caller.agent_id
    row = await tx.reviews.add(
        {
            "task_id": task.id,
            "round": 1 + await tx.reviews.last_round(task.id),
            "entry_id": None if entry is None else entry["entry_id"],
            "commit_sha": commit,
            "base_sha": base,
            "holds": True,
            "author": author.agent_id,
            "author_session": author.session_id,
            "author_provider": author.provider,
            "trigger": ReviewTrigger.HUMAN,
            "asked_by": who,
            "reviewer": who,
            "reviewer_session": tx.caller.session_id,
            "state": ReviewState.ANSWERED,
            "verdict": verdict,
            "summary": reason,
            "answered_at": tx.now,
        }
    )
    stopped = verdict is Verdict.BLOCKER
    said = f"{who} {'stopped' if stopped else 'passed'} it: {reason}"
    decision = ReviewDecision.STOP if stopped else ReviewDecision.CONTINUE
    await deciding.record(tx, [row], Ruled(decision, said))
