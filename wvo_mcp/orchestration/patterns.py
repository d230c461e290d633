"""The memory of errors: fed by what becomes of tasks, offered to whoever meets the same again (CTX-3).

What a pattern says is data of whoever wrote it. It decides nothing: no task, lease or review follows from it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.likeness import LEAST
from wvo_mcp.domain.memory import ContextEntry
from wvo_mcp.domain.pattern import (
    MOST,
    OFFERED,
    OVERRULED,
    TRUSTED,
    Category,
    Found,
    Pattern,
    Source,
    kept_files,
    kept_text,
    outcome,
)
from wvo_mcp.domain.review import Review, Verdict
from wvo_mcp.domain.signature import Signature, signature
from wvo_mcp.domain.task import Task
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm
from wvo_mcp.ports import Store, Transaction

LEARNED = "pattern.learned"
_WIDER = 10
_OF_REVIEW, _OF_ROUND = 3, 6
_BATCH, _ROUNDS = 200, 50
_LOOK_SECONDS = 3_600.0
_PAGE = 200


async def failed(tx: Transaction, task: Task, error: str) -> list[Found]:
    """An attempt ended with this error: it is kept under its signature, and what was offered for the same is trusted less.
    What is known of it, best first."""
    said = signature(error)
    if not said.lines:
        return []
    own = await _met(tx, said)
    for pattern, failed_as, share in await tx.patterns.open_of(task.id):
        if failed_as == own.pattern_id:
            own = await _judged(tx, task.id, pattern, own, helped=False, share=share)
    spent = await tx.patterns.judged_of(task.id)
    found = [one for one in await tx.patterns.alike(said, _WIDER, LEAST) if one.pattern.pattern_id not in spent]
    offers = [one for one in found if _offered(one.pattern)][:OFFERED]
    share = 1 / max(1, len(offers))
    for pattern_id in dict.fromkeys([*(one.pattern.pattern_id for one in offers), own.pattern_id]):
        await tx.patterns.met(task.id, pattern_id, own.pattern_id, share)
    return offers


def _offered(pattern: Pattern) -> bool:
    return pattern.solution is not None and pattern.category is not Category.META and pattern.confidence >= TRUSTED


async def _met(tx: Transaction, said: Signature) -> Pattern:
    known = await tx.patterns.of(said)
    if known is None:
        return await tx.patterns.add(said, {"category": Category.FAILURE, "source": Source.OUTCOME})
    return await tx.patterns.change(known, {"frequency": known.frequency + 1})


async def _judged(
    tx: Transaction, task_id: str, pattern: Pattern, own: Pattern, *, helped: bool, share: float
) -> Pattern:
    """`own` as it is afterwards, which may be the one that is judged."""
    await tx.patterns.judge(task_id, pattern.pattern_id, "worked" if helped else "failed")
    worked, lost = outcome(pattern.worked, pattern.failed, helped=helped, share=share)
    fields: dict[str, Any] = {"worked": worked, "failed": lost}
    if pattern.category is not Category.META:
        fields["category"] = Category.SUCCESS if worked >= lost else Category.FAILURE
    if pattern.pattern_id == own.pattern_id:
        pattern = own
    changed = await tx.patterns.change(pattern, fields)
    return changed if pattern.pattern_id == own.pattern_id else own


async def done(tx: Transaction, task: Task) -> None:
    """It is done after failures: what was offered for them is trusted more."""
    for pattern, _, share in await tx.patterns.open_of(task.id):
        await _judged(tx, task.id, pattern, pattern, helped=True, share=share)


async def entries(tx: Transaction, task_id: str) -> list[ContextEntry]:
    """What is known of the errors that this task has met, for its next holder: one index look-up."""
    met = [pattern for pattern, _, _ in await tx.patterns.open_of(task_id) if _offered(pattern)]
    best = sorted(met, key=lambda one: -one.confidence)[:OFFERED]
    return [
        ContextEntry(
            topic=f"known error {one.pattern_id}",
            version=1,
            content=one.quoted,
            tags=("pattern", one.category.value),
            at=one.used_at,
            rank=None,
        )
        for one in best
    ]


async def learned(
    tx: Transaction,
    error: str,
    *,
    category: Category,
    cause: str | None,
    solution: str | None,
    worked: bool | None,
    source: Source,
    files: Sequence[str] = (),
    task_id: str | None = None,
    origin: str | None = None,
) -> tuple[Pattern, bool] | None:
    """The pattern after this was learned, and whether its solution is the one that was told. Same signature, same row: an
    agent's other solution is not taken while the one that there is holds (confidence); a person's is. None where the text has
    no words. `worked`: None where it was not tried."""
    said = signature(error)
    if not said.lines:
        return None
    solution, cause = kept_text(solution), kept_text(cause)
    known = await tx.patterns.of(said)
    if known is None:
        known = await tx.patterns.add(said, {"category": category, "source": source, "origin": origin})
    else:
        known = await tx.patterns.change(known, {"frequency": known.frequency + 1})
    fields: dict[str, Any] = {"files": kept_files([*known.files, *files])}
    taken = solution is not None and (
        known.solution is None
        or known.solution == solution
        or known.confidence < OVERRULED
        or (source is Source.PERSON and known.source is not Source.PERSON)
    )
    if taken and known.solution != solution:
        fields |= {
            "solution": solution,
            "cause": cause,
            "source": source,
            "category": category,
            "worked": 0.0,
            "failed": 0.0,
        }
        fields["agent_id"] = tx.caller.agent_id
        known = known.model_copy(update={"worked": 0.0, "failed": 0.0})
    elif known.cause is None and cause is not None:
        fields["cause"] = cause
    if taken and worked is not None:
        fields["worked"], fields["failed"] = outcome(known.worked, known.failed, helped=worked)
    changed = await tx.patterns.change(known, fields)
    if task_id is not None:
        await tx.patterns.met(task_id, changed.pattern_id, changed.pattern_id, 1.0)
        if taken and worked is not None:
            await tx.patterns.judge(task_id, changed.pattern_id, "worked" if worked else "failed")
    said_of = {
        "pattern": changed.pattern_id,
        "category": changed.category.value,
        "source": source.value,
        "taken": taken,
    }
    await tx.events.append(LEARNED, task_id, said_of)
    return changed, taken


async def reviewed(tx: Transaction, rows: Sequence[Review]) -> None:
    """What reviewers had against the work, a few issues of each."""
    against = [one for one in rows if one.verdict in (Verdict.CONCERNS, Verdict.BLOCKER)]
    issues = [(one, issue) for one in against for issue in one.issues[:_OF_REVIEW]][:_OF_ROUND]
    for review, issue in issues:
        about: Mapping[str, Any] = {"category": Category.META, "source": Source.REVIEW, "task_id": review.task_id}
        files = [issue.path] if issue.path else []
        await learned(
            tx, issue.problem, cause=None, solution=issue.suggestion or None, worked=None, files=files, **about
        )


def forgetting() -> LeaderJob:
    """The store stays bounded: what is useless, rare and long unused goes."""

    async def forget(term: LeaderTerm) -> None:
        for _ in range(_ROUNDS):
            if await term.write(term.caller, lambda tx: tx.patterns.forget(tx.now, MOST, _BATCH)) < _BATCH:
                return

    return LeaderJob("patterns", _LOOK_SECONDS, forget)


async def _page(tx: Transaction, after: int) -> list[Pattern]:
    return await tx.patterns.page(after, _PAGE)


async def every(store: Store, caller: Caller) -> AsyncIterator[Pattern]:
    """All with a solution, by pages."""
    after = 0
    while page := await store.read(caller, partial(_page, after=after)):
        for pattern in page:
            yield pattern
        after = page[-1].seq
