"""A plan is kept as a draft, and becomes tasks once a person has accepted it: all of them or none."""

from collections.abc import Mapping, Sequence
from typing import Any

from wvo_mcp.domain.approval import subject_hash
from wvo_mcp.domain.plans import Checked, Plan, Planned
from wvo_mcp.domain.providers.crew import MARK
from wvo_mcp.domain.task import SETTLED, Origin, Status
from wvo_mcp.errors import Conflict, NotFound
from wvo_mcp.orchestration.tasks import editing
from wvo_mcp.ports import Transaction

Row = Mapping[str, Any]
_OVER = ("done", "stopped")
_LOOKED = 50
_MOST = 1_000


async def draft(tx: Transaction, goal: str, plan: Plan, checked: Checked) -> Row:
    """Keep it. `checked` found nothing wrong with it."""
    return await planned(tx, await ask(tx, goal, tx.caller.agent_id), plan, checked)


async def ask(tx: Transaction, goal: str, asked_by: str, **facts: Any) -> Row:
    """A goal that has no plan yet."""
    known: dict[str, Any] = {"asked_by": asked_by, "new": {}, **facts}
    return await tx.orchestrations.add({"goal": goal, "state": "planning", "facts": known})


async def planned(tx: Transaction, row: Row, plan: Plan, checked: Checked) -> Row:
    """Its plan, or another in its place."""
    said = plan.model_dump(mode="json")
    facts = {**row["facts"], "new": {name: list(commands) for name, commands in checked.new.items()}}
    fields = {"state": "planned", "plan": said, "plan_hash": subject_hash(said), "facts": facts}
    row = await tx.orchestrations.change(row["orchestration_id"], fields)
    data = {"orchestration": row["orchestration_id"], "tasks": len(plan.tasks), "plan_hash": row["plan_hash"]}
    await tx.events.append("plan.drafted", None, data)
    return row


async def unfinished(tx: Transaction, orchestration_id: str | None) -> Row:
    """One that can go on; without an id the newest of them. Raises NotFound, Conflict."""
    if orchestration_id is None:
        rows = [one for one in await tx.orchestrations.listed(_LOOKED) if one["state"] not in _OVER]
        if rows:
            return rows[0]
        raise NotFound("plan", "to go on with", [], field="id", hint='wvo-mcp orchestrate "GOAL" begins one.')
    row = await _known(tx, orchestration_id)
    if row["state"] in _OVER:
        raise Conflict(f"{orchestration_id} is {row['state']}.", hint="wvo-mcp plans", state=row["state"])
    return row


async def drafted(tx: Transaction, orchestration_id: str, plan_hash: str | None = None) -> Row:
    """One that waits for a person. Raises NotFound, and Conflict for any other or for a plan that has not this hash."""
    row = await _known(tx, orchestration_id)
    if row["state"] != "planned":
        raise Conflict(f"{orchestration_id} is {row['state']}.", hint="wvo-mcp plans", state=row["state"])
    if plan_hash is not None and plan_hash != row["plan_hash"]:
        changed = f"The plan of {orchestration_id} was changed meanwhile."
        raise Conflict(changed, hint=f"wvo-mcp plan-show {orchestration_id}")
    return row


async def _known(tx: Transaction, orchestration_id: str) -> Row:
    row = await tx.orchestrations.get(orchestration_id)
    if row is None:
        near = [one["orchestration_id"] for one in await tx.orchestrations.listed(5)]
        raise NotFound("plan", orchestration_id, near, field="id", hint="wvo-mcp plans lists them.")
    return row


async def begun(tx: Transaction, orchestration_id: str) -> Row:
    """One that has a plan. Raises NotFound, Conflict while none is made."""
    row = await _known(tx, orchestration_id)
    if row["plan"] is None:
        raise Conflict(f"{orchestration_id} has no plan yet.", hint=f"wvo-mcp orchestrate --resume {orchestration_id}")
    return row


async def accepted(tx: Transaction, orchestration_id: str) -> Row:
    """One whose tasks exist. Raises NotFound, Conflict."""
    row = await begun(tx, orchestration_id)
    if row["state"] not in ("running", "done"):
        raise Conflict(f"{orchestration_id} is {row['state']}, and has no tasks.", hint="wvo-mcp plans")
    return row


async def begin(tx: Transaction, row: Row) -> list[str]:
    """Its tasks, with ids that begin with its own, in an epic of that name. Raises Conflict: another was faster, has changed
    the plan since it was read, or has taken an id."""
    now = await drafted(tx, row["orchestration_id"], row["plan_hash"])
    known, plan = str(now["orchestration_id"]), Plan.model_validate(now["plan"])
    if taken := await tx.tasks.known([task_id(known, one.id) for one in plan.tasks]):
        raise Conflict(
            f"There are tasks with ids of this plan: {', '.join(sorted(taken))}.",
            hint=f"wvo-mcp orchestrate --resume {known}, and edit the ids; or wvo-mcp plan-drop {known} --reason WHY.",
        )
    await tx.tasks.ensure_epic(known, now["goal"].partition("\n")[0][:200])
    created = await editing.create(tx, [_as_draft(known, one) for one in plan.tasks], Origin.HUMAN)
    await tx.orchestrations.change(known, {"state": "running"})
    await tx.events.append("plan.accepted", None, {"orchestration": known, "tasks": len(created)})
    return created


async def drop(tx: Transaction, orchestration_id: str, reason: str) -> Row:
    """For good. What is not done of its tasks is cancelled. Raises NotFound, Conflict: it is over."""
    now = await unfinished(tx, orchestration_id)
    for one in await tx.tasks.page({"epic_id": orchestration_id}, 0, _MOST) if now["state"] == "running" else ():
        if one.status not in SETTLED:
            await editing.set_status(tx, one, Status.CANCELLED, f"{orchestration_id} was dropped: {reason}")
    await tx.events.append("plan.dropped", None, {"orchestration": orchestration_id, "reason": reason})
    return await tx.orchestrations.change(
        orchestration_id, {"state": "stopped", "facts": {**now["facts"], "ended": reason}}
    )


def task_id(orchestration_id: str, name: str) -> str:
    return f"{orchestration_id}.{name}"


def tasks_of(row: Row) -> list[str]:
    """The ids that they get."""
    return [task_id(row["orchestration_id"], one["id"]) for one in row["plan"]["tasks"]]


def commands_of(row: Row) -> dict[str, Sequence[str]]:
    """Those that each task adds to the project's, by the id that it gets."""
    return {task_id(row["orchestration_id"], name): commands for name, commands in row["facts"]["new"].items()}


def _as_draft(known: str, one: Planned) -> editing.Draft:
    fields = {
        "title": one.title,
        "description": one.description,
        "epic_id": known,
        "complexity": one.complexity,
        "files": one.files,
        "acceptance": one.acceptance,
        "labels": (f"{MARK}{one.part}",),
    }
    return editing.Draft(task_id(known, one.id), fields, [task_id(known, name) for name in one.depends_on])
