"""The decision of a round, and what follows from it (contract, section 12). All of it is one transaction."""

from collections.abc import Sequence

from wvo_mcp.domain.messages import MessageKind
from wvo_mcp.domain.review import Review, ReviewDecision, ReviewState, ReviewTrigger, Ruled, Verdict, rule
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.domain.visible import cut, visible
from wvo_mcp.orchestration import messages
from wvo_mcp.orchestration.pool import facts
from wvo_mcp.orchestration.tasks import reviewing, settling
from wvo_mcp.ports import Transaction

DECIDED = "review.decided"
_SHOWN, _ALERTED = 4_000, 1_500
_SEVERITY = {ReviewDecision.PAUSE: "warning", ReviewDecision.STOP: "critical"}


async def decide(tx: Transaction, task_id: str, round: int) -> ReviewDecision | None:
    """Once each row of the round is answered, or lost for good: record what follows from the verdicts, and carry it out.
    None while somebody is asked, when it is decided already, and when nobody answered, of which people hear."""
    rows = await tx.reviews.of_round(task_id, round)
    if not rows or any(one.is_open or one.decision is not None for one in rows):
        return None
    task = await tx.tasks.get(task_id)
    if not any(one.state is ReviewState.ANSWERED for one in rows):
        await _nobody(tx, task, rows[0])
        return None
    first = rows[0]
    ruled = rule(await _verdicts(tx, rows))
    second = first.holds and ruled.decision is ReviewDecision.WARN and await _warns_before(tx, first) % 2 == 1
    if second:
        ruled = Ruled(ruled.decision, f"{ruled.explanation} It is the second warn in a row, so the work goes on.")
    await record(tx, rows, ruled)
    if ruled.decision is not ReviewDecision.CONTINUE:
        from wvo_mcp.orchestration import patterns  # most work is approved

        await patterns.reviewed(tx, rows)
    told = _told(ruled, rows)
    if not first.holds:
        await _tell(tx, task, first, ruled, told)
    elif await settling.waits(tx, task, first):
        await _carry_out(tx, task, first, ReviewDecision.CONTINUE if second else ruled.decision, told)
        if second:
            await messages.send(tx, first.author, MessageKind.NOTE, told, task_id=task.id)
    return ruled.decision


async def record(tx: Transaction, rows: Sequence[Review], ruled: Ruled) -> None:
    for one in rows:
        await tx.reviews.change(one.review_id, {"decision": ruled.decision, "explanation": ruled.explanation})
    said = {"round": rows[0].round, "decision": ruled.decision.value, "explanation": ruled.explanation}
    said |= {"reviews": [one.review_id for one in rows], "commit": rows[0].commit_sha}
    await tx.events.append(DECIDED, rows[0].task_id, said)


async def _verdicts(tx: Transaction, rows: Sequence[Review]) -> dict[str, Verdict]:
    """The latest of each reviewer of the commit; where nothing was submitted, of the round."""
    first = rows[0]
    of = await tx.reviews.of_commit(first.task_id, first.commit_sha) if first.commit_sha else rows
    return {one.by: one.verdict for one in of if one.verdict is not None}


async def _warns_before(tx: Transaction, review: Review) -> int:
    """In how many rounds in a row before this one the same work came back with a warn."""
    count = 0
    for round in range(review.round - 1, 0, -1):
        row = next(iter(await tx.reviews.of_round(review.task_id, round)), None)
        if row is None or not row.holds or row.decision is None:
            continue
        if row.decision is not ReviewDecision.WARN:
            break
        count += 1
    return count


def _told(ruled: Ruled, rows: Sequence[Review]) -> str:
    """What was said against the work, for whoever mends it or decides."""
    lines = [ruled.explanation]
    for one in rows:
        if one.verdict in (Verdict.CONCERNS, Verdict.BLOCKER):
            lines.append(f"{one.review_id}, {one.by}: {one.summary}")
            lines += [f"- {issue.said}" for issue in one.issues]
    return "\n".join(lines)[:_SHOWN]


async def _carry_out(tx: Transaction, task: Task, asked: Review, decision: ReviewDecision, told: str) -> None:
    await tx.alerts.resolve_alert(reviewing.ALERT, task.id)
    match decision:
        case ReviewDecision.CONTINUE:
            await settling.passed(tx, task, await settling.held_entry(tx, task.id))
        case ReviewDecision.WARN:
            await settling.warned(tx, task, asked, told)
        case ReviewDecision.PAUSE:
            await settling.paused(tx, task, asked, told)
        case ReviewDecision.STOP:
            await settling.stopped(tx, task, told)
            if asked.trigger is ReviewTrigger.MILESTONE:
                why = f"A review of {task.id}, the last task of the milestone {task.milestone_id}, found a blocker."
                await facts.pause(tx, facts.PauseMode.NOW, why)


async def _tell(tx: Transaction, task: Task, asked: Review, ruled: Ruled, told: str) -> None:
    """Work in progress goes on: its author hears of it, and whoever asked; a person, where it matters."""
    holder = task.assigned_to if task.status is Status.IN_PROGRESS else None
    by_agent = asked.trigger in (ReviewTrigger.REQUEST, ReviewTrigger.BLOCKER)
    for agent in sorted({holder or asked.author, asked.asked_by if by_agent else asked.author}):
        await messages.send(tx, agent, MessageKind.NOTE, f"Review of your work: {told}", task_id=task.id)
    if (severity := _SEVERITY.get(ruled.decision)) is not None:
        message = (
            f"Reviewers of {task.id}, which is {task.status.value.replace('_', ' ')}: {cut(visible(told), _ALERTED)}"
        )
        await tx.alerts.raise_alert(reviewing.ALERT, severity, task.id, message)


async def _nobody(tx: Transaction, task: Task, asked: Review) -> None:
    """Three tries of each were lost."""
    message = f"Nobody reviewed {task.id} in three tries."
    await tx.events.append("review.unanswered", task.id, {"round": asked.round})
    if not asked.holds:
        await messages.send(tx, asked.author, MessageKind.NOTE, message, task_id=task.id)
        return
    then = f'Ask again: wvo-mcp review {task.id}   or review it yourself: wvo-mcp review {task.id} --pass "reason"'
    await tx.alerts.raise_alert(reviewing.ALERT, "critical", task.id, f"{message} Its work waits. {then}")
