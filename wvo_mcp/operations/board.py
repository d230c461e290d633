"""All tasks at a glance: in columns by status, by epic or by milestone. What people see on a screen; agents have list_tasks."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.task import GATE_BITS, SETTLED, Priority, Status, Task
from wvo_mcp.domain.text import Id, Label, Text
from wvo_mcp.errors import InvalidInput, NotFound
from wvo_mcp.operations.inputs import Input, Output, first
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.operations.results import MAX_CHARACTERS, compact, position
from wvo_mcp.orchestration.queue.planning import best_ready
from wvo_mcp.orchestration.tasks.lifecycle import check_epic
from wvo_mcp.ports import Row, Transaction

_COUNTED = 5_000
_GROUPS = 20
_IN_GROUP = 3
_ROOM = 1_500
_FILTERS = ("status", "epic_id", "milestone_id", "label", "agent_id", "query")
_ORDER = (
    Status.PENDING,
    Status.IN_PROGRESS,
    Status.IN_REVIEW,
    Status.AWAITING_APPROVAL,
    Status.BLOCKED,
    Status.FAILED,
    Status.DONE,
    Status.CANCELLED,
)


class BoardTask(Output):
    id: str
    title: Annotated[str, first(120)]
    status: Status
    priority: Priority
    business_value: float | None = None
    epic_id: str | None = None
    milestone_id: str | None = None
    assigned_to: str | None = None
    unmet_deps: int = 0
    gates: list[str] = Field(default=[], description="What else keeps it: not_before, approval, children, kept.")
    version: int


class Column(Output):
    key: str = Field(description="Status, epic or milestone.")
    title: str
    count: int
    capped: bool = Field(default=False, description="There may be more: so many were counted.")
    counts: dict[Status, int] = Field(default={}, description="By status.")
    due_at: Instant | None = None
    wip_limit: int | None = None
    tasks: list[BoardTask]


class Board(Output):
    view: str
    columns: list[Column]
    total: int | None = Field(default=None, description="Tasks that match.")
    capped: bool = Field(default=False, description="There may be more: so many were counted.")
    next_cursor: str | None = Field(default=None, description="Of the one column, or of the groups.")


class BoardAsk(Input):
    view: Literal["status", "epic", "milestone"] = Field(default="status", description="What columns are.")
    status: Status | None = Field(default=None, description="Only this column, page by page.")
    epic_id: Id | None = Field(default=None, description="Only this epic.")
    milestone_id: Id | None = Field(default=None, description="Only this milestone.")
    label: Label | None = Field(default=None, description="Only with this label.")
    agent_id: Id | None = Field(default=None, description="Only tasks assigned to this agent.")
    query: Text | None = Field(default=None, description="Words in id, title or description.")
    limit: int | None = Field(default=None, ge=1, le=100, description="Tasks of a column; default 8, 50 of one alone.")
    cursor: str | None = Field(default=None, max_length=40, description="next_cursor of the previous page.")


@operation(toolset="people", effect=Effect.READ, audience=Audience.PEOPLE)
async def board(ctx: Context, params: BoardAsk) -> Board:
    """Show all tasks in columns: by status, by epic or by milestone, with counts and the first of each."""
    tx = ctx.tx
    where = params.model_dump(include=set(_FILTERS), exclude_none=True, mode="json")
    if params.view != "status":
        if where:
            raise InvalidInput(next(iter(where)), "narrows the view by status only")
        return await _grouped(tx, params.view, position(params.cursor) or 0)
    await check_epic(tx, params.epic_id)
    if params.milestone_id is not None and await tx.tasks.milestone(params.milestone_id) is None:
        near = await tx.tasks.near_milestones(params.milestone_id)
        raise NotFound("milestone", params.milestone_id, near, field="milestone_id")
    if params.status is not None:
        return await _alone(tx, where, params.status, position(params.cursor), params.limit or 50)
    limit = params.limit or 8
    if where:
        return await _narrowed(tx, where, limit)
    counts = await tx.tasks.counts()
    columns: list[Column] = []
    for status in _ORDER:
        tasks = await _first_of(tx, status, limit) if counts.get(status.value) else []
        columns.append(_column(status.value, counts.get(status.value, 0), tasks))
    return Board(view="status", columns=_fitted(columns), total=sum(one.count for one in columns))


def _column(key: str, count: int, tasks: Iterable[Task], **more: Any) -> Column:
    title = more.pop("title", None) or key.replace("_", " ")
    return Column(key=key, title=title, count=count, tasks=[_shown(task) for task in tasks], **more)


def _shown(task: Task) -> BoardTask:
    waits = task.status is Status.PENDING
    gates = [gate.value for gate, bit in GATE_BITS.items() if waits and task.gates & bit]
    return BoardTask.of(task, gates=gates, unmet_deps=task.unmet_deps if waits else 0)


async def _first_of(tx: Transaction, status: Status, limit: int) -> list[Task]:
    """Pending ones as they would be claimed; what has ended newest first."""
    if status is Status.PENDING:
        ready = await best_ready(tx, limit)
        return ready if len(ready) >= limit else await _ranked(tx, 0, limit)
    if status in SETTLED:
        return await tx.tasks.latest({"status": status.value}, None, limit)
    return await tx.tasks.page({"status": status.value}, 0, limit)


async def _ranked(tx: Transaction, skip: int, limit: int) -> list[Task]:
    """Pending ones by rank: those that wait for no other, then the rest."""
    free = (await tx.tasks.counts())["ready"]
    found = await tx.queue.ready(None, limit, skip) if skip < free else []
    if len(found) < limit:
        found += await tx.queue.waiting(None, limit - len(found), max(0, skip - free))
    return found


async def _alone(tx: Transaction, where: dict[str, Any], status: Status, cursor: int | None, limit: int) -> Board:
    """One column, a page of it."""
    whole = len(where) == 1
    if whole and status is Status.PENDING:
        found = await _ranked(tx, cursor or 0, limit + 1)
    elif status in SETTLED:
        found = await tx.tasks.latest(where, cursor, limit + 1)
    else:
        found = await tx.tasks.page(where, cursor or 0, limit + 1)
    count = (await tx.tasks.counts()).get(status.value, 0) if whole else await tx.tasks.count(where, _COUNTED + 1)
    capped = not whole and count > _COUNTED
    column = _column(status.value, min(count, count if whole else _COUNTED), found[:limit], capped=capped)
    (column,) = _fitted([column])
    shown = len(column.tasks)
    following = None
    if shown < len(found):
        last = found[shown - 1].seq
        following = str((cursor or 0) + shown if whole and status is Status.PENDING else last)
    return Board(view="status", columns=[column], total=column.count, capped=capped, next_cursor=following)


async def _narrowed(tx: Transaction, where: dict[str, Any], limit: int) -> Board:
    """One look at what matches, however common it is."""
    found = await tx.tasks.statuses_of(where, _COUNTED + 1)
    capped = len(found) > _COUNTED
    of_status = _by_status(found[:_COUNTED])
    chosen = {
        status: seqs[-limit:][::-1] if status in SETTLED and not capped else seqs[:limit]
        for status, seqs in of_status.items()
    }
    tasks = {task.seq: task for task in await tx.tasks.numbered([seq for seqs in chosen.values() for seq in seqs])}
    columns = [
        _column(status.value, len(of_status[status]), [tasks[seq] for seq in chosen[status]], capped=capped)
        for status in _ORDER
        if status in of_status
    ]
    return Board(view="status", columns=_fitted(columns), total=min(len(found), _COUNTED), capped=capped)


def _by_status(found: Sequence[tuple[int, Status]]) -> dict[Status, list[int]]:
    of_status: dict[Status, list[int]] = {}
    for seq, status in found:
        of_status.setdefault(status, []).append(seq)
    return of_status


async def _grouped(tx: Transaction, view: str, skip: int) -> Board:
    """Epics or milestones, a page of them, each with its counts and the first that are not done."""
    groups = await tx.tasks.epics() if view == "epic" else await tx.tasks.milestones()
    columns = [await _group(tx, f"{view}_id", group) for group in groups[skip : skip + _GROUPS]]
    more = skip + _GROUPS < len(groups)
    return Board(view=view, columns=_fitted(columns), next_cursor=str(skip + _GROUPS) if more else None)


async def _group(tx: Transaction, name: str, group: Row) -> Column:
    found = await tx.tasks.statuses_of({name: group["id"]}, _COUNTED + 1)
    of_status = _by_status(found[:_COUNTED])
    open_ones = [seq for status in _ORDER[1:6] + _ORDER[:1] for seq in of_status.get(status, ())]
    tasks = {task.seq: task for task in await tx.tasks.numbered(open_ones[:_IN_GROUP])}
    return _column(
        group["id"],
        min(len(found), _COUNTED),
        [tasks[seq] for seq in open_ones[:_IN_GROUP]],
        title=group["title"],
        capped=len(found) > _COUNTED,
        counts={status: len(of_status[status]) for status in _ORDER if status in of_status},
        due_at=group.get("due_at"),
        wip_limit=group.get("wip_limit"),
    )


def _fitted(columns: Sequence[Column]) -> list[Column]:
    """As many tasks as fit into one result: the longest columns yield."""
    kept = {column.key: list(column.tasks) for column in columns}
    sizes = {key: [len(compact(task.model_dump(mode="json"))) + 1 for task in tasks] for key, tasks in kept.items()}
    bare = sum(len(compact(one.model_copy(update={"tasks": []}).model_dump(mode="json"))) for one in columns)
    total = bare + sum(map(sum, sizes.values()))
    while total > MAX_CHARACTERS - _ROOM and any(len(tasks) > 1 for tasks in kept.values()):
        longest = max(kept, key=lambda key: len(kept[key]))
        kept[longest].pop()
        total -= sizes[longest].pop()
    return [one.model_copy(update={"tasks": kept[one.key]}) for one in columns]
