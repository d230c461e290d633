"""The roadmap and the store: a three-way merge between the file, the store, and the file as it was at the last sync.

What people changed in the file wins over what agents changed meanwhile; what people left alone stays as agents made it;
progress always belongs to the store.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from wvo_mcp.domain.dependency import in_batches
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.roadmap import TASK_KEYS, Entry, Roadmap, RoadmapTask
from wvo_mcp.domain.task import SETTLED, BlockAuthor, Origin, Status, Task
from wvo_mcp.errors import DependencyCycle, IllegalTransition
from wvo_mcp.orchestration.plan import guard
from wvo_mcp.orchestration.plan.guard import SYNCED
from wvo_mcp.orchestration.tasks import editing, lifecycle
from wvo_mcp.orchestration.tasks.editing import Draft, create
from wvo_mcp.ports import RoadmapFiles, Store, Transaction

_NOT_COLUMNS = ("id", "depends_on", "verify", "status")
COLUMNS = ("epic_id", *(field for field in TASK_KEYS.values() if field not in _NOT_COLUMNS))
"""Fields of the file that are columns of the task."""

BATCH = 100
"""Changes merged in one transaction: PostgreSQL's write lock is held for some 0.3 s, and is free in between."""

MERGING = "roadmap_merging"
"""Name of the fact with the digest of the version that is being merged in several transactions."""

HOME = "roadmap_home"
"""Name of the fact that names which of several files is the roadmap."""


@dataclass(slots=True)
class Report:
    """Ids by what the sync did with them; `warnings` are moves that the state machine refused. `waiting`: tasks whose
    cancellation waits for a person, for the reason in `guard`."""

    created: list[str] = field(default_factory=list[str])
    updated: list[str] = field(default_factory=list[str])
    cancelled: list[str] = field(default_factory=list[str])
    restored: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    waiting: list[str] = field(default_factory=list[str])
    guard: str | None = None
    tasks: int = 0
    sync_ratio: float = 1.0
    unchanged: bool = False
    refused: bool = False
    """Nothing of the file was taken."""
    unfinished: bool = False
    """Only a part of the changes was merged; the next transaction goes on."""
    overtaken: bool = False
    """Another sync has begun with another version since, or has ended: the rest is not merged by this one."""


async def read_file(store: Store, files: RoadmapFiles, caller: Caller) -> Roadmap:
    """Parse and check the file against the ids of the store. Raises NotFound without a file, InvalidInput with lines."""

    async def known(task_ids: Iterable[str]) -> set[str]:
        wanted = list(task_ids)
        return await store.read(caller, lambda tx: tx.tasks.known(wanted))

    return await files.read(known)


async def kept_elsewhere(store: Store, files: RoadmapFiles, caller: Caller) -> str | None:
    """Where the roadmap of the store is, if that is another file than this one.

    Hosts that share a store have a file each, and one that is a day behind would undo what the other one says: only
    the file that was synced first, or last on request, is followed automatically.
    """
    if files.location is None:
        return None
    home = await store.read(caller, lambda tx: tx.state.get(HOME))
    return home if home not in (None, files.location) else None


async def sync_file(store: Store, files: RoadmapFiles, caller: Caller, *, allow_cancel: bool = False) -> Report:
    """Read the file and merge it; from now on it is the one that is followed. `allow_cancel`: a person has said that it may
    cancel what it cancels.

    More than BATCH changes are merged in several transactions, so that others get the write lock in between; what an
    interrupted sync left is merged by the next one. Raises what `read_file` and `sync` raise: nothing of the transaction
    that failed is stored.
    """
    digest = await files.digest()
    same = await store.read(caller, lambda tx: _as_before(tx, digest, allow_cancel=allow_cancel))
    if same is not None and not await kept_elsewhere(store, files, caller):
        return same
    parsed = await read_file(store, files, caller)

    async def merge(tx: Transaction, before: Report | None, most: int | None) -> Report:
        report = await sync(tx, parsed, allow_cancel=allow_cancel, before=before, most=most)
        if files.location is not None and not report.refused:
            await tx.state.put(HOME, files.location)
        return report

    most: int | None = BATCH
    report: Report | None = None
    while report is None or report.unfinished:
        try:
            report = await store.write(caller, partial(merge, before=report, most=most))
        except DependencyCycle:
            if most is None:
                raise
            most = None  # edges that were turned round make a circle with those of a later batch
    if report.overtaken:  # the file may be another one by now
        return await sync_file(store, files, caller, allow_cancel=allow_cancel)
    return report


async def _as_before(tx: Transaction, digest: str | None, *, allow_cancel: bool) -> Report | None:
    """The report when this version was judged last, and nothing has been decided since."""
    last = await tx.state.get(SYNCED)
    held = await tx.state.get(guard.GUARD)
    if held is None:
        if last is None or last["digest"] != digest:
            return None
    elif held["digest"] != digest or allow_cancel or await guard.is_outdated(tx):
        return None
    report = Report(unchanged=True)
    if last is not None:
        report.tasks, report.sync_ratio = last["tasks"], last["sync_ratio"]
    if held is not None:
        report.waiting, report.guard = list(held["waiting"]), held["message"]
    return report


async def sync(
    tx: Transaction,
    roadmap: Roadmap,
    *,
    allow_cancel: bool = False,
    before: Report | None = None,
    most: int | None = None,
) -> Report:
    """Merge the file into the store, but for cancellations that wait: all of it, or the next `most` changes after those of
    which `before` is the report. Raises Conflict, DependencyCycle, NotFound."""
    same = None if before is not None else await _as_before(tx, roadmap.digest, allow_cancel=allow_cancel)
    if same is not None:
        return same
    merging = await tx.state.get(MERGING)
    if before is not None and merging != roadmap.digest:
        return replace(before, overtaken=True, unfinished=False)
    last = await tx.state.get(SYNCED)
    base = await tx.state.roadmap_entries()
    await tx.sessions.ensure()
    if before is not None:  # judged by the store as it was at the beginning
        verdict = guard.Verdict(tuple(before.waiting), message=before.guard or "")
        report = deepcopy(before)
    else:
        verdict = guard.Verdict() if allow_cancel else await guard.judge(tx, roadmap, base, last)
        report = Report(tasks=len(roadmap.tasks), waiting=list(verdict.waiting), guard=verdict.message or None)
        if verdict.whole:
            await guard.keep(tx, roadmap, verdict, last)
            report.refused = report.unchanged = True
            return report
        report.warnings += roadmap.warnings
        await _groups(tx, roadmap)
    entries = {task.id: task.entry() for task in roadmap.tasks}
    for task_id in verdict.waiting:
        if task_id in entries:  # it says `status: cancelled`: as long as that waits, it counts as not said
            entries[task_id].pop("status", None)
            entries[task_id] |= {key: base[task_id][key] for key in ("status",) if key in base.get(task_id, {})}
    touched = [task for task in roadmap.tasks if base.get(task.id) != entries[task.id]]
    next_ones = _next(touched, most)
    gone = [task_id for task_id in base if task_id not in entries and task_id not in verdict.waiting]
    await _merge_all(tx, next_ones, base, entries, report)
    left = len(touched) - len(next_ones)
    report.unfinished = left > 0 or (most is not None and len(gone) > most)
    if report.unfinished and merging != roadmap.digest:
        await tx.state.put(MERGING, roadmap.digest)
    if left:
        return report
    for task_id in gone[:most]:
        await _remove(tx, task_id, report)
    await tx.state.put_roadmap_entries({}, gone[:most])
    if report.unfinished:
        return report
    if merging is not None:
        await tx.state.put(MERGING, None)
    await guard.keep(tx, roadmap, verdict, last)
    written = sum(len(set(task.depends_on)) for task in roadmap.tasks)
    if written:
        edges = await tx.state.dependency_edges()
        report.sync_ratio = round(sum(task_id in entries for task_id, _ in edges) / written, 4)
    synced = {"digest": roadmap.digest, "at": iso(tx.now), "tasks": report.tasks, "sync_ratio": report.sync_ratio}
    await tx.state.put(SYNCED, synced)
    counts = {name: len(getattr(report, name)) for name in ("created", "updated", "cancelled", "restored", "waiting")}
    await tx.events.append("roadmap.synced", None, {"digest": roadmap.digest, **counts})
    return report


def _next(touched: list[RoadmapTask], most: int | None) -> list[RoadmapTask]:
    """Those to be merged now, in the order of the file: each behind what it waits for, and together with its parent, which
    would be ready without its children."""
    if most is None or len(touched) <= most:
        return touched
    needs: dict[str, list[str]] = {task.id: list(task.depends_on) for task in touched}
    for task in touched:
        if task.parent_id in needs:
            needs[task.id].append(task.parent_id)
            needs[task.parent_id].append(task.id)
    first = set(in_batches(needs, most)[0])
    return [task for task in touched if task.id in first]


async def _merge_all(
    tx: Transaction, tasks: list[RoadmapTask], base: Mapping[str, Entry], entries: Mapping[str, Entry], report: Report
) -> None:
    """Merge what the file says now (`entries`) of these tasks; `base` is what it said before."""
    known = await tx.tasks.known(task.id for task in tasks)
    existing = [task for task in tasks if task.id in known]
    # Old links go before new ones come: only the file as a whole is free of circles.
    for task in existing:
        was = base.get(task.id, {}).get("depends_on", [])
        if task.id not in base and (await tx.tasks.get(task.id)).origin is Origin.ROADMAP:
            # It was in the file before and comes back: what it said then is not known, so all that it says now counts.
            was = [row["id"] for row in await tx.tasks.dependencies(task.id)]
        gone = tuple(other for other in was if other not in task.depends_on)
        if gone:
            edit = editing.Edit(remove_depends_on=gone)
            await editing.change_links(tx, await tx.tasks.get(task.id), edit, by_people=True)
    new = [task for task in tasks if task.id not in known]
    columns = [name for name in COLUMNS if name != "parent_id"]
    drafts = [Draft(t.id, {name: getattr(t, name) for name in columns}, t.depends_on, t.parent_id) for t in new]
    report.created += await create(tx, drafts, Origin.ROADMAP) if drafts else []
    for task in existing:
        await _merge(tx, task, base.get(task.id, {}), entries[task.id], report)
    for task in tasks:
        await _apply_status(tx, task, base.get(task.id, {}), entries[task.id], report)
    await tx.state.put_roadmap_entries({task.id: entries[task.id] for task in tasks}, ())


async def _groups(tx: Transaction, roadmap: Roadmap) -> None:
    for epic in roadmap.epics:
        new = await tx.tasks.ensure_epic(epic.id, epic.title, epic.wip_limit)
        stored = None if new else await tx.tasks.epic(epic.id)
        if stored is not None and (stored["title"], stored["wip_limit"]) != (epic.title, epic.wip_limit):
            after = {"title": epic.title, "wip_limit": epic.wip_limit}
            await tx.tasks.change_epic(epic.id, after)
            before = {name: stored[name] for name in after}
            await tx.events.append("epic.updated", None, {"epic": epic.id, "before": before, "after": after})
    for milestone in roadmap.milestones:
        stored = await tx.tasks.milestone(milestone.id)
        due = None if milestone.due_at is None else iso(milestone.due_at)
        after = {"epic_id": milestone.epic_id, "title": milestone.title, "due_at": due}
        before = None if stored is None else {name: stored[name] for name in after}
        if before != after:
            await tx.tasks.put_milestone(milestone.id, after)
            data = {"milestone": milestone.id, "before": before, "after": after}
            await tx.events.append("milestone.created" if before is None else "milestone.updated", None, data)
            if before is not None and before["due_at"] != due:
                await tx.graph.rescore(await tx.tasks.of_milestone(milestone.id))


async def _merge(tx: Transaction, task: RoadmapTask, base: Entry, entry: Entry, report: Report) -> None:
    stored = await tx.tasks.get(task.id)
    changed = [name for name in COLUMNS if (name in entry or name in base) and entry.get(name) != base.get(name)]
    if not base and stored.origin is Origin.ROADMAP:
        changed = list(COLUMNS)
    version = stored.version
    await editing.change_fields(tx, stored, {name: getattr(task, name) for name in changed})
    added = tuple(other for other in task.depends_on if other not in base.get("depends_on", []))
    if added:
        await editing.change_links(tx, stored, editing.Edit(add_depends_on=added), by_people=True)
    stored = await tx.tasks.get(task.id)
    if stored.origin is not Origin.ROADMAP:
        # From now on people keep it in the file, whether they or an export wrote it there.
        because = {"because": "written into the roadmap"}
        stored = await tx.tasks.change(stored, "task.updated", {"origin": Origin.ROADMAP}, because)
    if stored.version != version or entry.get("depends_on") != base.get("depends_on"):
        report.updated.append(task.id)
    if stored.status is Status.CANCELLED and stored.metadata.get("cancelled_by") == "roadmap" and task.status is None:
        await lifecycle.recover(tx, stored, "task.restored", "it is in the roadmap again")
        report.restored.append(task.id)


async def _apply_status(tx: Transaction, task: RoadmapTask, base: Entry, entry: Entry, report: Report) -> None:
    """The file's status is a wish that counts when it is written, changed, or taken back; not at every sync."""
    stated, before = entry.get("status"), base.get("status")
    if stated == before:
        return
    stored = await tx.tasks.get(task.id)
    if stated is None and (stored.status.value != before or before == Status.PENDING):
        return
    wanted = Status.PENDING if stated is None else Status(stated)
    if stored.status is wanted:
        return
    try:
        if wanted is Status.BLOCKED:
            await lifecycle.block(tx, stored, "the roadmap says so", [], BlockAuthor.PERSON)
        elif wanted is Status.CANCELLED:
            await lifecycle.move(tx, stored, wanted, "task.cancelled", data={"reason": "the roadmap says so"})
            report.cancelled.append(task.id)
        elif stored.status in (Status.BLOCKED, Status.FAILED, Status.DONE, Status.CANCELLED):
            await lifecycle.recover(tx, stored, "task.reopened", "the roadmap says so")
            report.restored.append(task.id)
    except IllegalTransition as error:
        report.warnings.append(f"line {task.line}: {error.message}")


async def _remove(tx: Transaction, task_id: str, report: Report) -> None:
    stored = await tx.tasks.find(task_id)
    if stored is None or stored.status in SETTLED:
        return
    fields = {"metadata": {**stored.metadata, "cancelled_by": "roadmap"}}
    await lifecycle.move(tx, stored, Status.CANCELLED, "task.cancelled", fields, {"reason": "removed from the roadmap"})
    report.cancelled.append(task_id)


def stored_entry(task: Task, depends_on: list[str]) -> Mapping[str, Any]:
    """The task as the file would state it, every field, JSON-ready."""
    shown = task.model_dump(mode="json")
    return {"id": task.id, **{name: shown[name] for name in COLUMNS}, "depends_on": sorted(depends_on)}
