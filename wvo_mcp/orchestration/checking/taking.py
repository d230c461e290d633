"""Somebody takes a review, and answers it or does not (contract, section 12)."""

from datetime import timedelta

from wvo_mcp.domain.review import DEADLINE_SECONDS, MOST_TRIES, Review, ReviewAnswer, ReviewState, related
from wvo_mcp.errors import Conflict, Forbidden, StaleLease
from wvo_mcp.orchestration.checking import deciding
from wvo_mcp.ports import Transaction

_LOOKED_AT = 200


class NoLongerYours(StaleLease):
    """The review was given to another, or its work is gone."""

    hint = "Stop reviewing it; review_submit with take gives another."

    def __init__(self, review: Review) -> None:
        super().__init__(review.task_id, review.reviewer)
        state = f"{review.review_id} is {review.state}"
        self.message = f"{state}, and this token is not its current one: this answer changed nothing."
        self.details["review_id"] = review.review_id


async def take(
    tx: Transaction,
    *,
    agent_id: str,
    session_id: str,
    provider: str | None,
    review_id: str | None = None,
    seconds: int = DEADLINE_SECONDS,
    for_others: bool = False,
) -> Review | None:
    """The review that this reviewer does next, running until its deadline; None when there is none for it.

    Never one of its own work: `session_id` is the reviewer's own, not that of a process that also holds tasks. What is
    asked of its provider comes first, then what is asked of nobody in particular, and with `for_others` what is asked of
    other providers. Raises NotFound, and Conflict and Forbidden for a `review_id` that it may not take.
    """
    if review_id is not None:
        review = await tx.reviews.get(review_id)
        if review.is_authors(agent_id, session_id):
            raise Forbidden(f"{review_id} is of your own work: somebody else reviews it.")
        if review.state is not ReviewState.ASKED:
            raise Conflict(f"{review_id} is {review.state}.", hint="Take another.", state=review.state)
        if await _took_part(tx, review, agent_id, session_id):
            raise Forbidden(f"You have worked on {review.task_id}: somebody else reviews it.")
        if await _looks_twice(tx, review, agent_id, provider):
            raise Forbidden(f"You have taken another review of round {review.round} of {review.task_id}.")
        return await _taken(tx, review, agent_id, session_id, provider, seconds)
    asked = await tx.reviews.to_do(_LOOKED_AT)
    mine = [one for one in asked if for_others or one.provider in (provider, None)]
    for review in sorted(mine, key=lambda one: (one.provider != provider, one.provider is not None, one.seq)):
        if review.is_authors(agent_id, session_id) or await _looks_twice(tx, review, agent_id, provider):
            continue
        if await _took_part(tx, review, agent_id, session_id):
            continue
        return await _taken(tx, review, agent_id, session_id, provider, seconds)
    return None


async def _took_part(tx: Transaction, review: Review, agent_id: str, session_id: str) -> bool:
    """Has it held the task before the author did? What it wrote then is part of the work."""
    for event in await tx.events.of_task(review.task_id, _LOOKED_AT):
        holder = str(event.data.get("agent") or event.agent_id or "")  # a pool claims for its workers
        if event.kind == "task.claimed" and (event.session_id == session_id or related(agent_id, holder)):
            return True
    return False


async def _looks_twice(tx: Transaction, review: Review, agent_id: str, provider: str | None) -> bool:
    """Does it do another one of the round, or has done?"""
    for other in await tx.reviews.of_round(review.task_id, review.round):
        at_it = other.state in (ReviewState.RUNNING, ReviewState.ANSWERED)
        if at_it and other.reviewer == agent_id and other.provider in (provider, None):
            return True
    return False


async def _taken(
    tx: Transaction, review: Review, agent_id: str, session_id: str, provider: str | None, seconds: int
) -> Review:
    fields = {
        "state": ReviewState.RUNNING,
        "reviewer": agent_id,
        "reviewer_session": session_id,
        "provider": provider,
        "lease_token": review.lease_token + 1,
        "deadline": tx.now + timedelta(seconds=seconds),
    }
    taken = await tx.reviews.change(review.review_id, fields)
    said = {"review": review.review_id, "reviewer": taken.by, "try": review.tries + 1}
    await tx.events.append("review.taken", review.task_id, said)
    return taken


async def answer(
    tx: Transaction, review: Review, token: int, answer: ReviewAnswer, artefact: str | None = None
) -> Review:
    """The answer of who took it, though the deadline is over; the round is decided with its last one. Raises StaleLease."""
    current = await tx.reviews.get(review.review_id)
    if current.state is not ReviewState.RUNNING or current.lease_token != token:
        raise NoLongerYours(current)
    said = {**answer.model_dump(mode="json"), "state": ReviewState.ANSWERED, "answered_at": tx.now, "deadline": None}
    if artefact is not None:
        said["artefact"] = artefact
    answered = await tx.reviews.change(current.review_id, said)
    about = {"review": current.review_id, "reviewer": answered.by, "verdict": answer.verdict.value}
    await tx.events.append("review.answered", current.task_id, about)
    await deciding.decide(tx, current.task_id, current.round)
    return await tx.reviews.get(current.review_id)


async def lost(tx: Transaction, review: Review, why: str) -> Review:
    """Nobody answers it any more: it is asked of another provider where there is one, up to three times in all. The round is
    decided without it then. Nothing happens where it is not this try that runs."""
    current = await tx.reviews.get(review.review_id)
    if not current.is_open or current.lease_token != review.lease_token:
        return current
    tries = current.tries + 1
    gone = tries >= MOST_TRIES
    fields = {
        "state": ReviewState.LOST if gone else ReviewState.ASKED,
        "tries": tries,
        "deadline": None,
        "reviewer": current.reviewer if gone else None,
        "reviewer_session": current.reviewer_session if gone else None,
        "provider": current.provider if gone else await _other(tx, current),
    }
    after = await tx.reviews.change(current.review_id, fields)
    said = {"review": current.review_id, "reviewer": current.by if current.reviewer else None, "why": why[:500]}
    await tx.events.append("review.lost", current.task_id, {**said, "tries": tries, "again": not gone})
    if gone:
        await deciding.decide(tx, current.task_id, current.round)
    return after


async def _other(tx: Transaction, review: Review) -> str | None:
    """The next candidate that nobody else of the round is, else the same again."""
    round = await tx.reviews.of_round(review.task_id, review.round)
    used = {one.provider for one in round if one.review_id != review.review_id}
    names = [*review.candidates]
    if review.provider in names:  # in turn, so that three tries reach three
        place = names.index(review.provider)
        names = [*names[place + 1 :], *names[:place]]
    return next((name for name in names if name not in used), review.provider)
