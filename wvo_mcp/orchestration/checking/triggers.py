"""When a review is asked for (contract, section 12)."""

from collections.abc import Mapping, Sequence
from typing import Any

from wvo_mcp.domain.review import Review, ReviewTrigger
from wvo_mcp.domain.rules import Review as Demand
from wvo_mcp.domain.task import Task
from wvo_mcp.orchestration.checking import asking
from wvo_mcp.ports import Transaction


async def due(tx: Transaction, task: Task, demand: Demand) -> ReviewTrigger | None:
    """What asks for a review of the task that is completed; None: nothing does."""
    last = demand is not Demand.OFF and task.milestone_id is not None
    if last and await tx.reviews.last_of_milestone(task.id, str(task.milestone_id)):
        return ReviewTrigger.MILESTONE
    return ReviewTrigger.REQUEST if demand is Demand.REQUIRED else None


async def completed(
    tx: Transaction, task: Task, work: Mapping[str, Any], trigger: ReviewTrigger, candidates: Sequence[str]
) -> list[Review]:
    """Of the task that has just been completed, and is in review for it."""
    submission = work.get("submission")
    entry = None if submission is None else await tx.submissions.get(submission["entry_id"])
    return await asking.ask(
        tx,
        task,
        commit=work.get("commit", "") if entry is None else entry["commit_sha"],
        base=work.get("base") if entry is None else entry["base_sha"],
        trigger=trigger,
        asked_by=tx.caller.agent_id,
        entry=entry,
        candidates=candidates,
    )


async def of_work(
    tx: Transaction,
    task: Task,
    trigger: ReviewTrigger,
    asked_by: str,
    candidates: Sequence[str],
    question: str | None = None,
) -> list[Review]:
    """Of the newest that there is of the work: a checkpoint of its files, or what was submitted last. What was asked of it
    already is not asked again."""
    commit, base = await newest(tx, task)
    waiting = [one for one in await tx.reviews.open_of_task(task.id) if not one.holds and one.commit_sha == commit]
    if waiting and commit and waiting[0].question == question:
        return waiting
    return await asking.ask(
        tx,
        task,
        commit=commit,
        base=base,
        trigger=trigger,
        asked_by=asked_by,
        question=question,
        candidates=candidates,
    )


async def newest(tx: Transaction, task: Task) -> tuple[str, str | None]:
    """(commit, base) of the newest work of the task; an empty commit where there is none."""
    place = await tx.workspaces.open_of(task.id)
    if place is not None:
        for kept in await tx.snapshots.of_workspace(place["workspace_id"], 1):
            return kept["commit_sha"], place["base_sha"]
    for entry in await tx.submissions.of_task(task.id):
        if entry["kind"] == "submission":
            return entry["commit_sha"], entry["base_sha"]
    return "", None
