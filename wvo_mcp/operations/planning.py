"""A goal becomes a plan: an agent writes it as data, we check it, a person accepts it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from wvo_mcp.domain.instant import Instant, instant
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.plans import AIMED, Plan, check, schema, shares
from wvo_mcp.domain.providers.crew import Part
from wvo_mcp.domain.task import Status
from wvo_mcp.domain.text import Id, Prose, Text
from wvo_mcp.errors import InvalidInput, problem_of
from wvo_mcp.operations.inputs import Input, OrNull, Output, first
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.orchestration.planning import drafting, ending
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.planning import AcceptedCommands
from wvo_mcp.ports.rules import ProjectRules

_LISTED = 50


class PlanGoal(Input):
    goal: Prose = Field(description="What is to be reached.")
    plan: dict[str, Any] | None = Field(
        default=None, description="The plan by the schema; leave it out to get that, and what to know."
    )


class Share(Output):
    part: Part
    percent: int
    aimed: str


class Drafted(Output):
    id: str | None = Field(default=None, description="Of the draft; absent: none was kept.")
    wrong: list[str] = Field(default=[], description="What to mend before it can be kept.")
    outside: list[str] = Field(default=[], description="Shares that are not as aimed at; mend them if you can.")
    shares: list[Share] = Field(default=[])
    new_commands: list[str] = Field(
        default=[], description="Commands that the project does not have: a person decides."
    )
    accept: OrNull = Field(default=None, description="The command that a person accepts it with.")
    verify: list[str] = Field(default=[], description="The project's commands that prove work.")
    plan_schema: dict[str, Any] | None = None


@operation(toolset="plan", effect=Effect.WRITE)
async def plan_goal(ctx: Context, params: PlanGoal, rules: ProjectRules) -> Drafted:
    """Turn a goal into a plan of tasks. Call it with the goal to get the schema, then with the plan that you wrote. It becomes
    tasks when a person accepts it."""
    project = rules.current().verify
    if params.plan is None:
        return Drafted(verify=[*project], plan_schema=schema())
    try:
        plan = Plan.model_validate(params.plan)
    except ValidationError as error:
        found = error.errors(include_url=False)[:10]
        return Drafted(wrong=[f"{'.'.join(map(str, one['loc'])) or 'plan'}: {problem_of(dict(one))}" for one in found])
    checked = check(plan, project)
    shown = _shares(checked.shares)
    if checked.wrong:
        return Drafted(wrong=checked.wrong, outside=checked.outside, shares=shown, verify=[*project])
    await ctx.tx.sessions.ensure()
    row = await drafting.draft(ctx.tx, params.goal, plan, checked)
    new = [f"{name}: {command}" for name, commands in checked.new.items() for command in commands]
    known = row["orchestration_id"]
    accept = f"wvo-mcp plan-accept {known}" + (" --commands accept" if new else "")
    return Drafted(id=known, outside=checked.outside, shares=shown, new_commands=new, accept=accept)


class PlanLine(Output):
    id: str
    goal: Annotated[str, first(200)]
    state: str
    tasks: int
    done: int = Field(default=0, description="Of its tasks.")
    asked_by: OrNull = None
    created_at: Instant


class PlanList(Output):
    plans: list[PlanLine]


class PlansAsk(Input):
    limit: int = Field(default=20, ge=1, le=_LISTED, description="How many at most.")


@operation(toolset="plan", effect=Effect.READ, audience=Audience.PEOPLE)
async def plans(ctx: Context, params: PlansAsk) -> PlanList:
    """List goals with their plans, the newest first. plan-show has one whole."""
    return PlanList(plans=[await _line(ctx.tx, row) for row in await ctx.tx.orchestrations.listed(params.limit)])


async def _line(tx: Transaction, row: drafting.Row) -> PlanLine:
    known, tasks = row["orchestration_id"], len(row["plan"]["tasks"]) if row["plan"] else 0
    done = (
        await tx.tasks.count({"epic_id": known, "status": Status.DONE}, tasks)
        if row["state"] in ("running", "done")
        else 0
    )
    return PlanLine.of({**row, "id": known, "tasks": tasks, "done": done, "asked_by": row["facts"].get("asked_by")})


class PlanAsk(Input):
    id: Id = Field(description="Id of the plan (O-3).")


class PlannedLine(Output):
    id: str
    title: str
    description: str = Field(default="")
    part: Part
    complexity: int
    depends_on: list[str] = Field(default=[])
    files: list[str] = Field(default=[])
    acceptance: list[str] = Field(default=[])
    verify: list[str] = Field(default=[])


class PlanShown(PlanLine):
    plan_hash: str
    summary: str
    plan: list[PlannedLine]
    shares: list[Share]
    tier: int | None = Field(default=None, description="1 to 5: which programs there are for it.")
    missing: dict[str, str] = Field(default={}, description="Why others do not take part.")
    new_commands: list[str] = Field(default=[], description="They run only once a person has accepted them.")


@operation(toolset="plan", effect=Effect.READ, audience=Audience.PEOPLE)
async def plan_show(ctx: Context, params: PlanAsk) -> PlanShown:
    """Show a plan: its tasks in order, what each changes, and what proves it."""
    return await _shown(ctx.tx, params.id)


async def _shown(tx: Transaction, known: str) -> PlanShown:
    row = await drafting.begun(tx, known)
    plan = Plan.model_validate(row["plan"])
    new = [f"{name}: {command}" for name, commands in row["facts"]["new"].items() for command in commands]
    lines = [PlannedLine.of(one) for one in plan.tasks]
    return PlanShown.of(
        await _line(tx, row),
        plan_hash=row["plan_hash"],
        summary=plan.summary,
        plan=lines,
        shares=_shares(shares(plan)),
        tier=row["tier"],
        missing=row["facts"].get("missing") or {},
        new_commands=new,
    )


def _shares(found: Mapping[Part, int]) -> list[Share]:
    return [Share(part=part, percent=of, aimed="{}-{} %".format(*AIMED[part])) for part, of in found.items()]


class PlanAccept(PlanAsk):
    commands: Literal["accept", "leave"] | None = Field(
        default=None, description="Its new commands: let them run for its tasks, or not. Required where it has any."
    )
    plan_hash: OrNull = Field(default=None, description="Of the plan that you saw: another is refused.")


class PlanAccepted(Output):
    id: str
    created: list[str]
    accepted: list[str] = Field(default=[], description="Commands that run for its tasks from now on.")


@operation(
    toolset="plan", effect=Effect.WRITE, audience=Audience.PEOPLE, role=Role.OPERATOR, manages_own_transactions=True
)
async def plan_accept(
    ctx: Context, params: PlanAccept, store: WatchedStore, commands: AcceptedCommands
) -> PlanAccepted:
    """Accept a plan: its tasks are created, all or none. New commands run only if you accept them too."""

    async def look(tx: Transaction) -> drafting.Row:
        await tx.sessions.ensure()
        return await drafting.drafted(tx, params.id, params.plan_hash)

    row = await store.write(ctx.caller, look)
    new = drafting.commands_of(row)
    if new and params.commands is None:
        named = "; ".join(f"{name}: {', '.join(each)}" for name, each in new.items())
        raise InvalidInput(
            "commands", f"the plan has commands that the project does not have ({named}): accept or leave them"
        )
    taken = new if params.commands == "accept" else {}
    # Before the tasks: a crash in between leaves commands of tasks that there are not.
    await commands.accept({name: taken.get(name, ()) for name in drafting.tasks_of(row)})
    created = await store.write(ctx.caller, lambda tx: drafting.begin(tx, row))
    return PlanAccepted(id=params.id, created=created, accepted=[one for each in taken.values() for one in each])


class PlanEdit(PlanAsk):
    plan: dict[str, Any] = Field(description="The whole plan, by the schema that plan_goal gives.")


@operation(toolset="plan", effect=Effect.WRITE, audience=Audience.PEOPLE, role=Role.OPERATOR)
async def plan_edit(ctx: Context, params: PlanEdit, rules: ProjectRules) -> PlanShown:
    """Put another plan in the place of one that waits to be accepted."""
    await ctx.tx.sessions.ensure()
    row = await drafting.drafted(ctx.tx, params.id)
    try:
        plan = Plan.model_validate(params.plan)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidInput(".".join(("plan", *map(str, first["loc"]))), problem_of(dict(first))) from None
    checked = check(plan, rules.current().verify)
    if checked.wrong:
        raise InvalidInput("plan", "; ".join(checked.wrong))
    await drafting.planned(ctx.tx, row, plan, checked)
    return await _shown(ctx.tx, params.id)


class DonePoint(Output):
    point: str
    met: bool
    found: str


class PlanEnd(PlanLine):
    tier: int | None = Field(default=None, description="1 to 5: which programs took part.")
    met: bool = Field(description="Every point of the definition of done is met.")
    points: list[DonePoint]
    cost_usd: float
    seconds: int = Field(description="Since the goal was given, until it was reached.")
    decisions: list[Annotated[str, first(300)]] = Field(default=[], description="What was decided about its tasks.")
    recoveries: list[Annotated[str, first(300)]] = Field(default=[], description="What went wrong and was mended.")


@operation(toolset="plan", effect=Effect.WRITE, audience=Audience.PEOPLE, role=Role.OPERATOR)
async def plan_check(ctx: Context, params: PlanAsk) -> PlanEnd:
    """Check the definition of done of a goal, point by point; it is done when each is met."""
    await ctx.tx.sessions.ensure()
    row = await drafting.accepted(ctx.tx, params.id)
    found = await ending.ended(ctx.tx, row)
    state = "done" if found.done else "running"
    if state != row["state"]:
        row = await ctx.tx.orchestrations.change(params.id, {"state": state})
    until = instant(row["updated_at"]) if state == "done" else ctx.tx.now
    return PlanEnd.of(
        await _line(ctx.tx, row),
        tier=row["tier"],
        met=found.done,
        points=[DonePoint.of(one) for one in found.points],
        cost_usd=found.cost_usd,
        seconds=int((until - instant(row["created_at"])).total_seconds()),
        decisions=[*found.decisions],
        recoveries=[*found.recoveries],
    )


class PlanDrop(PlanAsk):
    reason: Text = Field(description="Why, kept in the history.")


@operation(toolset="plan", effect=Effect.WRITE, audience=Audience.PEOPLE, role=Role.OPERATOR)
async def plan_drop(ctx: Context, params: PlanDrop) -> PlanLine:
    """Drop a goal that is not reached. Its plan can no longer be accepted; tasks of it that are not done are cancelled."""
    await ctx.tx.sessions.ensure()
    return await _line(ctx.tx, await drafting.drop(ctx.tx, params.id, params.reason))
