"""What the leader looks after: reviews that nobody answers, concerns that nobody mends, work that nobody has looked at."""

from datetime import timedelta

from wvo_mcp.domain.review import KEPT, SILENCE, Review, ReviewTrigger
from wvo_mcp.domain.rules import Review as Demand
from wvo_mcp.domain.task import Status
from wvo_mcp.orchestration.checking import asking, taking, triggers
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm
from wvo_mcp.orchestration.tasks import lifecycle, reviewing, settling
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Providers
from wvo_mcp.ports.rules import ProjectRules

_LOOK_SECONDS = 5.0
_AT_ONCE = 100
_EVENTS = 200
_MOVES = frozenset({reviewing.CONCERNS, "task.claimed", "task.in_review", "task.blocked", "task.cancelled"})
"""How work that came back ceases to wait for its author; that it is edited meanwhile changes nothing."""
_ANYBODY = timedelta(minutes=5)
"""After so long a review may be done by any provider but the author, whoever it was asked of."""
_TOLD = timedelta(minutes=15)
"""After so long people hear that nobody takes it."""


def watching(rules: ProjectRules, providers: Providers) -> LeaderJob:
    async def run(term: LeaderTerm) -> None:
        await providers.refresh()
        await rules.refresh()
        names = asking.candidates(providers)
        if await term.read(term.caller, _anything):
            await term.write(term.caller, lambda tx: look(tx, names))
        if rules.current().review is not Demand.OFF and await term.read(term.caller, _unreviewed):
            await term.write(term.caller, lambda tx: ask_of_silent(tx, names))

    return LeaderJob("reviews", _LOOK_SECONDS, run)


async def _anything(tx: Transaction) -> bool:
    late = [await _late(tx, one) for one in await tx.reviews.to_do(_AT_ONCE)]
    return any(late) or bool(await tx.reviews.overdue(1) or await tx.reviews.warned(tx.now - KEPT, 1))


async def _late(tx: Transaction, asked: Review) -> bool:
    since = tx.now - asked.asked_at
    if since >= _ANYBODY and asked.provider is not None:
        return True
    return since >= _TOLD and asked.holds and await tx.alerts.find(reviewing.ALERT, asked.task_id) is None


async def _unreviewed(tx: Transaction) -> list[str]:
    return await tx.reviews.unreviewed(tx.now - SILENCE, _AT_ONCE)


async def look(tx: Transaction, candidates: list[str]) -> None:
    for review in await tx.reviews.overdue(_AT_ONCE):
        await taking.lost(tx, review, "it was not answered in time")
    for review in await tx.reviews.warned(tx.now - KEPT, _AT_ONCE):
        await _once_more(tx, review, candidates)
    for review in await tx.reviews.to_do(_AT_ONCE):
        if await _late(tx, review):
            await _nobody_takes(tx, review)


async def _once_more(tx: Transaction, warned: Review, candidates: list[str]) -> None:
    """Its author did not come within the time: what there is is reviewed once more."""
    task = await tx.tasks.get(warned.task_id)
    moves = [one.kind for one in await tx.events.of_task(task.id, _EVENTS) if one.kind in _MOVES]
    if task.status is not Status.PENDING or not moves or moves[-1] != reviewing.CONCERNS:
        return  # somebody has taken it since, or it was opened again for another reason
    entry = await settling.held_entry(tx, task.id)
    if (entry["entry_id"] if entry else None) != warned.entry_id:
        return
    back = {"progress": 100, "assigned_to": warned.author}
    moved = await lifecycle.move(tx, task, Status.IN_REVIEW, "task.in_review", back, {"round": warned.round})
    await asking.again(tx, moved.task, warned, candidates)


async def _nobody_takes(tx: Transaction, asked: Review) -> None:
    if asked.provider is not None:
        await tx.reviews.change(asked.review_id, {"provider": None})
    if tx.now - asked.asked_at < _TOLD or not asked.holds:
        return
    whom = f" {', '.join(asked.candidates)} could;" if asked.candidates else ""
    message = (
        f"Nobody reviews {asked.task_id}, and its work waits for it ({asked.review_id}):{whom} wvo-mcp run launches one,"
        f' an agent takes it with review_submit, or you decide: wvo-mcp review {asked.task_id} --pass "reason"'
    )
    if await tx.alerts.find(reviewing.ALERT, asked.task_id) is None:
        await tx.alerts.raise_alert(reviewing.ALERT, "warning", asked.task_id, message)


async def ask_of_silent(tx: Transaction, candidates: list[str]) -> None:
    """Of work that went on for long without a review, and of which a checkpoint shows something new."""
    for task_id in await _unreviewed(tx):
        task = await tx.tasks.get(task_id)
        commit, _ = await triggers.newest(tx, task)
        known = {one.commit_sha for one in await tx.reviews.of_task(task_id, _AT_ONCE)}
        if commit and commit not in known:
            await triggers.of_work(tx, task, ReviewTrigger.SILENCE, tx.caller.agent_id, candidates)
