"""Is a goal reached? Its definition of done, point by point, and what the way there took."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wvo_mcp.domain.mended import Gaps, sentence
from wvo_mcp.domain.merging import VERIFIED, EntryKind, EntryState
from wvo_mcp.domain.plans import Plan
from wvo_mcp.domain.providers.crew import Part, part_of
from wvo_mcp.domain.review import ReviewState
from wvo_mcp.domain.task import Origin, Status, Task
from wvo_mcp.domain.worker import Worker
from wvo_mcp.orchestration.checking.proving import proof
from wvo_mcp.orchestration.planning.drafting import Row, task_id
from wvo_mcp.ports import Transaction

_MOST = 1_000
_EVENTS = 500
_NAMED = 5
_LINES = 20


@dataclass(frozen=True, slots=True)
class Point:
    point: str
    met: bool
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    points: Sequence[Point]
    cost_usd: float
    decisions: Sequence[str]
    recoveries: Sequence[str]

    @property
    def done(self) -> bool:
        return all(one.met for one in self.points)


async def ended(tx: Transaction, row: Row) -> Ended:
    """Of one whose tasks exist: those of its plan, wherever they were moved, and what came to its epic. Tasks that people
    cancelled are no longer part of it; what agents cancelled is."""
    known = str(row["orchestration_id"])
    parts = {task_id(known, one.id): one.part for one in Plan.model_validate(row["plan"]).tasks}
    everything = list(await tx.tasks.page({"epic_id": known}, 0, _MOST))
    there = {one.id for one in everything}
    everything += [await tx.tasks.get(name) for name in parts if name not in there]
    tasks = [one for one in everything if not _left_out(one)]
    workers = await tx.workers.about([known, *(one.id for one in everything)])
    entries = {one.id: next(iter(await tx.submissions.of_task(one.id)), None) for one in tasks}
    points = [
        _all_done(tasks, len(everything) - len(tasks)),
        _landed(tasks, entries),
        _verified(entries),
        await _evidence(tx, tasks),
        await _looked_at(tx, tasks, workers, parts),
        await _nothing_waits(tx, tasks),
    ]
    decisions, recoveries = await _told(tx, everything)
    cost = round(sum(one.cost_usd for one in workers), 4)
    return Ended(points=points, cost_usd=cost, decisions=decisions, recoveries=recoveries)


def _all_done(tasks: Sequence[Task], cancelled: int) -> Point:
    open_ones = [f"{one.id} is {one.status.value.replace('_', ' ')}" for one in tasks if one.status is not Status.DONE]
    done = f"{len(tasks) - len(open_ones)} of {len(tasks)}"
    done += f", and {cancelled} cancelled" if cancelled else ""
    return Point("Every task is done", bool(tasks) and not open_ones, _listed(done, open_ones))


def _landed(tasks: Sequence[Task], entries: Mapping[str, Row | None]) -> Point:
    """What a task left unchanged needs no landing."""
    there = {name: entry for name, entry in entries.items() if entry is not None}
    out = [f"{name} is {entry['state']}" for name, entry in there.items() if entry["state"] != EntryState.MERGED]
    out += [f"{name} was taken back" for name, entry in there.items() if entry["kind"] == EntryKind.REVERT]
    writes = {one.id for one in tasks if one.files}
    out += [f"{name} changed nothing" for name in sorted(writes - there.keys())]
    targets = ", ".join(sorted({str(entry["target"]) for entry in there.values()})) or "the target"
    return Point(f"Its changes have landed in {targets}", not out, _listed(f"{len(there)} submissions", out))


def _verified(entries: Mapping[str, Row | None]) -> Point:
    there = {name: entry for name, entry in entries.items() if entry is not None}
    out = [name for name, entry in there.items() if entry["verified"] != VERIFIED]
    found = f"{len(there) - len(out)} of {len(there)}"
    return Point("What landed was verified by commands", not out, _listed(found, [f"{name} was not" for name in out]))


async def _evidence(tx: Transaction, tasks: Iterable[Task]) -> Point:
    lacking: list[str] = []
    many = 0
    for one in tasks:
        many += len(one.acceptance)
        found = await proof(tx, one)
        given = {} if found is None else {text: evidence for text, evidence in found.criteria if evidence}
        lacking += [f"{one.id}: {text[:80]}" for text in one.acceptance if text not in given]
    return Point("Each criterion has evidence", not lacking, _listed(f"{many - len(lacking)} of {many}", lacking))


async def _looked_at(
    tx: Transaction, tasks: Sequence[Task], workers: Sequence[Worker], parts: Mapping[str, Part]
) -> Point:
    """By a task of the plan, or by reviews; best by another program."""
    of_review = {one.id for one in tasks if parts.get(one.id, _named(one)) is Part.REVIEW}
    by_task = {one.task_id: one.provider for one in workers if one.review_id is None}  # the last worker of each
    wrote = {by_task[one.id] for one in tasks if one.id not in of_review and one.id in by_task}
    looked = {by_task.get(one.id, "an agent") for one in tasks if one.id in of_review and _is_done(one)}
    for one in tasks:
        looked |= {
            str(each.provider)
            for each in await tx.reviews.of_task(one.id, _NAMED)
            if each.state is ReviewState.ANSWERED
        }
    others = looked - wrote
    by = ", ".join(sorted(looked))
    found = (
        f"by {by}" if others else f"by {by}, which wrote it too: no other program took part" if looked else "by nobody"
    )
    return Point("Somebody else looked at the work", bool(looked), found)


def _named(task: Task) -> Part | None:
    """The part of a task that came later, where people say so."""
    return None if task.origin is Origin.AGENT else part_of(task.labels)


def _left_out(task: Task) -> bool:
    return task.status is Status.CANCELLED and task.metadata.get("cancelled_by") != "agent"


def _is_done(task: Task) -> bool:
    return task.status is Status.DONE


async def _nothing_waits(tx: Transaction, tasks: Iterable[Task]) -> Point:
    waits: list[str] = []
    for one in tasks:
        waits += [f"wvo-mcp approve {each.approval_id}" for each in await tx.approvals.open_of_task(one.id)]
        waits += [f"review {each.review_id} of {one.id}" for each in await tx.reviews.open_of_task(one.id)]
    return Point("Nothing waits for a person or a reviewer", not waits, _listed(f"{len(waits)} open", waits))


async def _told(tx: Transaction, tasks: Iterable[Task]) -> tuple[list[str], list[str]]:
    """What was decided about them, and what went wrong and was mended, by time for each task."""
    decisions: list[str] = []
    recoveries: list[str] = []
    for task in tasks:
        for one in await tx.events.of_task(task.id, _EVENTS):
            if one.kind in _DECIDED:
                decisions.append(_line(task, _DECIDED[one.kind].format_map(Gaps(one.data))))
            elif one.kind in _MENDED:
                recoveries.append(_line(task, sentence(one.kind, one.data)))
    return decisions[-_LINES:], recoveries[-_LINES:]


def _line(task: Task, said: str) -> str:
    return f"{task.id}: {said}".replace("_", " ")


_DECIDED = {
    "approval.decided": "{approval_id} was {state}",
    "review.answered": "review {review} by {reviewer}: {verdict}",
    "task.approved": "approved",
}
_MENDED = frozenset(
    {"worker.recovery", "review.lost", "task.failed_attempt", "task.returned", "lease.expired", "merge.parked"}
)


def _listed(found: str, wrong: Sequence[str]) -> str:
    more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    return found + (f": {', '.join(wrong[:_NAMED])}{more}" if wrong else "")
