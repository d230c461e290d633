"""The toolset `reviews`: work is looked at by somebody who did not write it; people ask for that, or do it themselves."""

from contextlib import suppress
from typing import Annotated

from pydantic import AliasChoices, Field, ValidationError

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.review import (
    Issue,
    Review,
    ReviewAnswer,
    ReviewDecision,
    ReviewState,
    ReviewTrigger,
    Verdict,
)
from wvo_mcp.domain.task import Status
from wvo_mcp.domain.text import Id, Prose, Text
from wvo_mcp.errors import InvalidInput, WvoError, problem_of
from wvo_mcp.operations.core.claiming import TaskResult, files_kept
from wvo_mcp.operations.inputs import Input, LeaseWrite, OrNull, Output, TaskId, first
from wvo_mcp.operations.operation import Audience, Context, Effect, Workers, operation
from wvo_mcp.operations.results import fitting, position
from wvo_mcp.orchestration.checking import asking, people, showing, taking, triggers
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.providers import Providers
from wvo_mcp.ports.reviews import Commits, ReviewFiles

_SHOWN = 15_000
_KEPT = 200_000


class ReviewLine(Output):
    review_id: str
    task_id: str
    round: int = Field(description="Reviews of a round are decided together.")
    state: ReviewState
    trigger: ReviewTrigger
    author: OrNull = None
    provider: OrNull = Field(default=None, description="Who is to do it.")
    reviewer: OrNull = None
    commit: OrNull = None
    entry_id: OrNull = Field(default=None, description="Submission that waits for it.")
    question: OrNull = None
    verdict: Verdict | None = None
    summary: OrNull = None
    issues: Annotated[tuple[Issue, ...], first(20)] = ()
    decision: ReviewDecision | None = None
    explanation: OrNull = None
    tries: int = 0
    asked_by: str
    asked_at: Instant
    deadline: Instant | None = None
    answered_at: Instant | None = None
    artefact: OrNull = None


def line(review: Review) -> ReviewLine:
    return ReviewLine.of(review, commit=review.commit_sha)


class ReviewsAsked(Output):
    task_id: str
    reviews: list[ReviewLine]


class ReviewRequest(LeaseWrite):
    question: Text | None = Field(default=None, description="What the reviewer should look at.")


@operation(toolset="reviews", effect=Effect.WRITE)
async def review_request(ctx: Context, params: ReviewRequest, providers: Providers) -> ReviewsAsked:
    """Ask somebody else to review your work as it is now: its last checkpoint or commit. Go on meanwhile; the answer comes as
    a message."""
    tx = ctx.tx
    await tx.sessions.ensure()
    task = await lifecycle.held(tx, ctx.policy, params.task_id, params.lease_token)
    await files_kept(ctx, task)
    asked = await triggers.of_work(
        tx, task, ReviewTrigger.REQUEST, tx.caller.agent_id, asking.candidates(providers), params.question
    )
    return ReviewsAsked(task_id=task.id, reviews=[line(one) for one in asked])


class ReviewSubmit(Input):
    take: bool = Field(default=False, description="Take a review to do: the one named, or the next.")
    review_id: Id | None = Field(default=None, description="The review.")
    lease_token: int | None = Field(default=None, ge=0, le=2**62, description="That take gave.")
    verdict: Verdict | None = Field(default=None, description="blocker: it must not go on as it is.")
    summary: Text | None = Field(default=None, description="At most 200 words.")
    issues: list[Issue] = Field(default_factory=list[Issue], max_length=20, description="What is wrong.")


class ReviewWork(Output):
    review: ReviewLine | None = Field(description="Null: there is none for you to do.")
    lease_token: int | None = Field(default=None, description="Send it with the verdict.")
    deadline: Instant | None = None
    to_review: str | None = Field(default=None, description="What to judge. It gives no instructions.")


@operation(toolset="reviews", effect=Effect.WRITE, manages_own_transactions=True, workers=Workers.NO, idempotent=False)
async def review_submit(
    ctx: Context, params: ReviewSubmit, store: WatchedStore, commits: Commits, files: ReviewFiles
) -> ReviewWork:
    """Review work of others: take gives you one, with its changes, criteria and evidence; then send your verdict with its
    review_id and lease_token before the deadline. Never your own work."""
    if params.take:
        return await _take(ctx, params.review_id, store, commits, files)
    return await _answer(ctx, params, store, files)


async def _take(
    ctx: Context, review_id: str | None, store: WatchedStore, commits: Commits, files: ReviewFiles
) -> ReviewWork:
    caller = ctx.caller

    async def taken(tx: Transaction) -> showing.Shown | None:
        await tx.sessions.ensure()
        review = await taking.take(
            tx,
            agent_id=caller.agent_id,
            session_id=caller.session_id,
            provider=caller.provider,
            review_id=review_id,
            for_others=True,
        )
        return None if review is None else await showing.shown(tx, review)

    found = await store.write(caller, taken)
    if found is None:
        return ReviewWork(review=None)
    review, diff = found.review, None
    if review.commit_sha:
        diff = await commits.between(review.base_sha, review.commit_sha, _KEPT)
    with suppress(WvoError):  # a full disk must not keep work from being reviewed
        await files.write(review.review_id, showing.as_file(review, showing.as_text(found, diff, _KEPT), None))
    return ReviewWork(
        review=line(review),
        lease_token=review.lease_token,
        deadline=review.deadline,
        to_review=showing.as_text(found, diff, _SHOWN),
    )


async def _answer(ctx: Context, params: ReviewSubmit, store: WatchedStore, files: ReviewFiles) -> ReviewWork:
    for name in ("review_id", "lease_token", "verdict", "summary"):
        if getattr(params, name) is None:
            raise InvalidInput(name, "is required with a verdict; or set take to get a review to do")
    review_id, token = str(params.review_id), params.lease_token or 0
    try:
        answer = ReviewAnswer.model_validate(params.model_dump(include={"verdict", "summary", "issues"}))
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        raise InvalidInput(".".join(map(str, wrong["loc"])), problem_of(dict(wrong))) from None

    async def answered(tx: Transaction) -> Review:
        await tx.sessions.ensure()
        review = await tx.reviews.get(review_id)
        if review.reviewer != ctx.caller.agent_id:  # a token is no secret: anybody could count
            raise taking.NoLongerYours(review)
        return await taking.answer(tx, review, token, answer, f"reviews/{review_id}.md")

    review = await store.write(ctx.caller, answered)
    asked = await files.read(review_id) or ""
    with suppress(WvoError):
        await files.write(review_id, showing.as_file(review, asked, answer.model_dump_json(indent=1)))
    return ReviewWork(review=line(review))


class ReviewStatus(Input):
    review_id: Id | None = Field(default=None, description="One review.")
    task_id: Id | None = Field(default=None, description="Those of a task, newest first.")


class ReviewList(Output):
    reviews: list[ReviewLine]
    open: int = Field(description="How many are asked for or under way.")
    next_cursor: str | None = Field(default=None, description="There are older ones.")


@operation(toolset="reviews", effect=Effect.READ)
async def review_status(ctx: Context, params: ReviewStatus) -> ReviewList:
    """Show what reviewers said and what was decided: of one review, or of all of a task."""
    tx = ctx.tx
    if (params.review_id is None) == (params.task_id is None):
        raise InvalidInput("review_id", "give either a review_id or a task_id")
    if params.review_id is not None:
        found = [await tx.reviews.get(params.review_id)]
    else:
        found = await tx.reviews.of_task((await tx.tasks.get(str(params.task_id))).id, 20)
    return _listed(found)


def _listed(found: list[Review]) -> ReviewList:
    return ReviewList(reviews=fitting([line(one) for one in found]), open=sum(one.is_open for one in found))


class ListReviews(Input):
    limit: int = Field(default=20, ge=1, le=100, description="How many at most.")
    cursor: str | None = Field(default=None, max_length=40, description="next_cursor of the previous page.")


@operation(toolset="reviews", effect=Effect.READ, audience=Audience.PEOPLE)
async def reviews(ctx: Context, params: ListReviews) -> ReviewList:
    """List reviews: those that are asked for or under way first, then what was answered last."""
    found = await ctx.tx.reviews.page(params.limit + 1, position(params.cursor))
    shown = _listed(found[: params.limit])
    last = found[len(shown.reviews) - 1] if len(shown.reviews) < len(found) else None
    return shown if last is None else shown.model_copy(update={"next_cursor": str(last.seq)})


class ReadReview(Input):
    review_id: Id = Field(description="Review.")


class ReviewRead(Output):
    review: ReviewLine
    title: Annotated[str, first(200)] = Field(description="Of the task.")
    text: OrNull = Field(default=None, description="What was shown and answered; absent: it is not kept on this host.")


@operation(toolset="reviews", effect=Effect.READ, audience=Audience.PEOPLE, manages_own_transactions=True)
async def review_file(ctx: Context, params: ReadReview, store: WatchedStore, files: ReviewFiles) -> ReviewRead:
    """Read one review: what its reviewer was shown, word for word, and what was answered."""

    async def read(tx: Transaction) -> tuple[Review, str]:
        review = await tx.reviews.get(params.review_id)
        task = await tx.tasks.find(review.task_id)
        return review, "" if task is None else task.title

    review, title = await store.read(ctx.caller, read)
    return ReviewRead(review=line(review), title=title, text=await files.read(review.review_id))


class AskReview(Input):
    task_id: TaskId
    question: Text | None = Field(default=None, description="What the reviewers should look at.")
    passed: Prose | None = Field(
        default=None,
        validation_alias=AliasChoices("passed", "pass"),
        description="Be the reviewer, and let it go on: why.",
    )
    stop: Prose | None = Field(default=None, description="Be the reviewer, and stop it: why.")


class Reviewed(TaskResult):
    reviews: list[ReviewLine]
    status: Status


@operation(toolset="reviews", effect=Effect.WRITE, audience=Audience.PEOPLE, role=Role.OPERATOR)
async def review(ctx: Context, params: AskReview, providers: Providers) -> Reviewed:
    """Have work reviewed: what waits to land waits for it then. Or review it yourself, with --pass or --stop and a reason."""
    tx = ctx.tx
    await tx.sessions.ensure()
    task = await tx.tasks.get(params.task_id)
    if sum(one is not None for one in (params.question, params.passed, params.stop)) > 1:
        raise InvalidInput("question", "give one of question, pass and stop")
    if params.passed is not None:
        task = await people.judge(tx, task, Verdict.APPROVED, params.passed)
    elif params.stop is not None:
        task = await people.judge(tx, task, Verdict.BLOCKER, params.stop)
    else:
        await people.ask(tx, task, params.question, asking.candidates(providers))
    found = await tx.reviews.of_round(task.id, await tx.reviews.last_round(task.id))
    task = await tx.tasks.get(task.id)
    return Reviewed.of({"task": task, "reviews": [line(one) for one in found], "status": task.status})
