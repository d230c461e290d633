"""A goal becomes a plan that a person accepts: nothing of it is a task before, and its commands run only if they said so."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.rules import Rules
from wvo_mcp.errors import Conflict, Forbidden, InvalidInput, NotFound, StoreUnavailable
from wvo_mcp.execution.roadmap.plans import AcceptedPlans
from wvo_mcp.execution.roadmap.rules import RulesOfRoadmap
from wvo_mcp.execution.trust import Trust
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.planning import drafting
from wvo_mcp.ports.planning import AcceptedCommands

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-4")]

DESIGN = {"id": "design", "title": "Say how", "part": "design", "complexity": 9, "files": ["docs/api.md"]}
BUILD = {"id": "build", "title": "Build it", "part": "implementation", "complexity": 8, "files": ["src/**"]}
LOOK = {"id": "look", "title": "Look at it", "part": "review", "complexity": 3}
DONE = {"acceptance": ["It works"]}
PLAN: dict[str, Any] = {
    "summary": "First say how, then build it.",
    "tasks": [
        {**DESIGN, **DONE},
        {**BUILD, **DONE, "depends_on": ["design"]},
        {**LOOK, **DONE, "depends_on": ["build"]},
    ],
}
NEW: dict[str, Any] = {**PLAN, "tasks": [*PLAN["tasks"][:2], {**PLAN["tasks"][2], "verify": ["make check"]}]}


class Kept:
    """`ports.planning.AcceptedCommands` of a test."""

    def __init__(self) -> None:
        self.accepted: dict[str, Sequence[str]] = {}
        self.fails = False
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def accept(self, commands: Mapping[str, Sequence[str]]) -> None:
        if self.fails:
            raise StoreUnavailable("The disk is full.")
        self.accepted |= {name: each for name, each in commands.items() if each}
        if self.meanwhile is not None:
            await self.meanwhile()


class Desk:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.kept = Kept()
        rules: Any = bench.services
        rules.rules.rules = replace(Rules(), verify=("pytest -q",))

    async def ask(self, tool: str, caller: Caller = OWNER, **given: Any) -> dict[str, Any]:
        services = self.bench.services.having({AcceptedCommands: self.kept})
        return await ALL[tool](services, caller, given)

    async def drafted(self, plan: Mapping[str, Any] = PLAN) -> str:
        return str((await self.ask("plan_goal", ANN, goal="An API for prices", plan=plan))["id"])


@pytest.fixture
def desk(bench: Bench) -> Desk:
    return Desk(bench)


async def test_an_agent_first_gets_what_a_plan_is_and_which_commands_there_are(desk: Desk) -> None:
    found = await desk.ask("plan_goal", ANN, goal="An API for prices")
    assert found["verify"] == ["pytest -q"]
    assert found["plan_schema"]["properties"]["tasks"]["maxItems"] == 60
    assert "id" not in found


@pytest.mark.both_stores
async def test_a_plan_becomes_tasks_when_a_person_accepts_it(desk: Desk) -> None:
    found = await desk.ask("plan_goal", ANN, goal="An API for prices", plan=PLAN)
    assert (found["id"], found["accept"]) == ("O-1", "wvo-mcp plan-accept O-1")
    assert found.get("outside", []) == []
    assert await desk.bench.read(lambda tx: tx.tasks.known(["O-1.design"])) == set()
    shown = await desk.ask("plan_show", id="O-1")
    assert [one["id"] for one in shown["plan"]] == ["design", "build", "look"]

    accepted = await desk.ask("plan_accept", id="O-1")
    assert accepted["created"] == ["O-1.design", "O-1.build", "O-1.look"]
    build = await desk.bench.task("O-1.build")
    assert (build.epic_id, build.labels, build.files, build.unmet_deps) == (
        "O-1",
        ("part:implementation",),
        ("src/**",),
        1,
    )
    design = await desk.bench.claim(ANN, "O-1.design")
    await desk.bench.call(
        "complete_task", ANN, task_id="O-1.design", lease_token=design["lease"]["token"], summary="said"
    )
    (line,) = (await desk.ask("plans"))["plans"]
    assert (line["state"], line["tasks"], line["done"]) == ("running", 3, 1)
    with pytest.raises(Conflict):
        await desk.ask("plan_accept", id="O-1")


async def test_what_is_wrong_is_told_and_nothing_is_kept(desk: Desk) -> None:
    first, *others = PLAN["tasks"]
    circle = {**PLAN, "tasks": [{**first, "depends_on": ["look"]}, *others]}
    assert "can be first" in (await desk.ask("plan_goal", ANN, goal="x", plan=circle))["wrong"][0]
    hostile = {**PLAN, "tasks": [{**first, "requires_approval": False}, *others]}
    assert "requires_approval" in (await desk.ask("plan_goal", ANN, goal="x", plan=hostile))["wrong"][0]
    assert (await desk.ask("plans"))["plans"] == []


async def test_no_agent_accepts_or_drops_a_plan(desk: Desk) -> None:
    known = await desk.drafted()
    for tool, given in (("plan_accept", {}), ("plan_drop", {"reason": "x"})):
        with pytest.raises(Forbidden):
            await desk.ask(tool, ANN, id=known, **given)
    with pytest.raises(NotFound):
        await desk.ask("plan_accept", id="O-9")


@pytest.mark.parametrize("answer", ["accept", "leave"])
async def test_new_commands_run_only_when_a_person_said_so_by_name(desk: Desk, answer: str) -> None:
    known = await desk.drafted(NEW)
    with pytest.raises(InvalidInput, match="make check"):
        await desk.ask("plan_accept", id=known)
    assert (await desk.ask("plans"))["plans"][0]["state"] == "planned"
    await desk.ask("plan_accept", id=known, commands=answer)
    assert desk.kept.accepted == ({"O-1.look": ["make check"]} if answer == "accept" else {})


async def test_commands_that_cannot_be_kept_leave_the_plan_as_it_was(desk: Desk) -> None:
    known = await desk.drafted(NEW)
    desk.kept.fails = True
    with pytest.raises(StoreUnavailable):
        await desk.ask("plan_accept", id=known, commands="accept")
    assert (await desk.ask("plans"))["plans"][0]["state"] == "planned"
    desk.kept.fails = False
    assert len((await desk.ask("plan_accept", id=known, commands="accept"))["created"]) == 3


async def test_a_dropped_plan_is_never_begun(desk: Desk) -> None:
    known = await desk.drafted()
    assert (await desk.ask("plan_drop", id=known, reason="not now"))["state"] == "stopped"
    with pytest.raises(Conflict):
        await desk.ask("plan_check", id=known)
    with pytest.raises(Conflict):
        await desk.ask("plan_accept", id=known)


@pytest.mark.both_stores
async def test_a_goal_that_runs_is_dropped_with_what_is_not_done_of_it(desk: Desk) -> None:
    known = await desk.drafted()
    await desk.ask("plan_accept", id=known)
    claimed = await desk.bench.claim(ANN, f"{known}.design")
    token = claimed["lease"]["token"]
    await desk.bench.call("complete_task", ANN, task_id=f"{known}.design", lease_token=token, summary="said")
    await desk.bench.claim(ANN, f"{known}.build")

    assert (await desk.ask("plan_drop", id=known, reason="not now"))["state"] == "stopped"

    found = [(await desk.bench.task(f"{known}.{name}")).status.value for name in ("design", "build", "look")]
    assert found == ["done", "cancelled", "cancelled"]
    with pytest.raises(Conflict, match="is stopped"):
        await desk.ask("plan_drop", id=known, reason="again")


async def test_a_goal_that_never_got_a_plan_is_dropped(desk: Desk) -> None:
    row = await desk.bench.write(lambda tx: drafting.ask(tx, "A goal", "ann"))
    assert (await desk.ask("plan_drop", id=row["orchestration_id"], reason="no program"))["state"] == "stopped"


async def test_a_plan_that_was_changed_while_it_was_accepted_is_not_begun(desk: Desk) -> None:
    known = await desk.drafted(NEW)
    desk.kept.meanwhile = lambda: desk.ask("plan_edit", id=known, plan=PLAN)
    with pytest.raises(Conflict, match="changed meanwhile"):
        await desk.ask("plan_accept", id=known, commands="accept")
    assert await desk.bench.read(lambda tx: tx.tasks.known(["O-1.design"])) == set()


async def test_a_person_accepts_the_plan_that_they_saw_and_no_other(desk: Desk) -> None:
    known = await desk.drafted()
    seen = (await desk.ask("plan_show", id=known))["plan_hash"]
    await desk.ask("plan_edit", id=known, plan=NEW)
    with pytest.raises(Conflict, match="changed meanwhile"):
        await desk.ask("plan_accept", id=known, commands="accept", plan_hash=seen)
    assert desk.kept.accepted == {}
    seen = (await desk.ask("plan_show", id=known))["plan_hash"]
    assert len((await desk.ask("plan_accept", id=known, commands="leave", plan_hash=seen))["created"]) == 3


async def test_ids_of_tasks_that_there_are_keep_a_plan_from_being_begun_and_are_named(desk: Desk) -> None:
    await desk.ask("create_tasks", ANN, tasks=[{"id": "O-1.build", "title": "Mine"}])
    known = await desk.drafted()
    with pytest.raises(Conflict, match=r"O-1\.build") as raised:
        await desk.ask("plan_accept", id=known)
    assert "plan-drop O-1" in raised.value.hint
    renamed = [PLAN["tasks"][0], {**PLAN["tasks"][1], "id": "make"}, {**PLAN["tasks"][2], "depends_on": ["make"]}]
    await desk.ask("plan_edit", id=known, plan={**PLAN, "tasks": renamed})
    assert "O-1.make" in (await desk.ask("plan_accept", id=known))["created"]


async def test_commands_that_are_left_out_do_not_run_though_they_were_accepted_before(tmp_path: Any) -> None:
    trust = Trust({"XDG_CONFIG_HOME": str(tmp_path / "config")}, tmp_path)
    rules = RulesOfRoadmap(tmp_path / "roadmap.yaml", trust)
    await AcceptedPlans(trust).accept({"O-1.look": ["make check"], "O-1.build": ["make"]})
    await AcceptedPlans(trust).accept({"O-1.look": ()})
    await rules.refresh()
    assert rules.current().verify_of("O-1.look", "O-1") == ()
    assert rules.current().verify_of("O-1.build", "O-1") == ("make",)


async def test_accepted_commands_hold_for_their_task_beside_the_roadmap(desk: Desk, tmp_path: Any) -> None:
    trust = Trust({"XDG_CONFIG_HOME": str(tmp_path / "config")}, tmp_path)
    rules = RulesOfRoadmap(tmp_path / "roadmap.yaml", trust)
    await AcceptedPlans(trust).accept({"O-1.look": ["make check"]})
    await AcceptedPlans(trust).accept({"O-2.look": ["make other"]})
    await rules.refresh()
    assert rules.current().verify_of("O-1.look", "O-1") == ("make check",)
    assert rules.current().verify_of("O-2.look", None) == ("make other",)
    assert rules.unaccepted() is None


async def test_a_plan_that_waits_is_changed_and_judged_again(desk: Desk) -> None:
    known = await desk.drafted()
    shown = await desk.ask("plan_edit", id=known, plan=NEW)
    assert shown["new_commands"] == ["look: make check"]
    with pytest.raises(InvalidInput, match="make check"):
        await desk.ask("plan_accept", id=known)
    first, *others = PLAN["tasks"]
    for wrong in ({**first, "depends_on": ["look"]}, {**first, "title": ""}, {**first, "requires_approval": False}):
        with pytest.raises(InvalidInput):
            await desk.ask("plan_edit", id=known, plan={**PLAN, "tasks": [wrong, *others]})
    with pytest.raises(Forbidden):
        await desk.ask("plan_edit", ANN, id=known, plan=PLAN)
    await desk.ask("plan_accept", id=known, commands="leave")
    with pytest.raises(Conflict):
        await desk.ask("plan_edit", id=known, plan=PLAN)


async def test_a_goal_is_not_done_before_each_point_is_met(desk: Desk) -> None:
    known = await desk.drafted()
    with pytest.raises(Forbidden):
        await desk.ask("plan_check", ANN, id=known)
    with pytest.raises(Conflict):  # it has no tasks, and looking at it begins nothing
        await desk.ask("plan_check", id=known)
    assert (await desk.ask("plans"))["plans"][0]["state"] == "planned"
    await desk.ask("plan_accept", id=known)
    for name in ("design", "build", "look"):
        end = await desk.ask("plan_check", id=known)
        assert (end["met"], end["state"]) == (False, "running")
        claimed = await desk.bench.claim(ANN, f"{known}.{name}")
        token = claimed["lease"]["token"]
        await desk.bench.call(
            "complete_task", ANN, task_id=f"{known}.{name}", lease_token=token, summary="x", evidence=["Seen"]
        )

    end = await desk.ask("plan_check", id=known)

    found = {one["point"]: one["met"] for one in end["points"]}
    assert found["Every task is done"]
    assert found["Each criterion has evidence"]
    assert found["Somebody else looked at the work"]
    assert not found["Its changes have landed in the target"], "files were named, and nothing was submitted"
    assert end["met"] is False


async def test_what_went_wrong_on_the_way_to_a_goal_is_told_a_lost_worker_too(desk: Desk) -> None:
    known = await desk.drafted()
    await desk.ask("plan_accept", id=known)
    await desk.bench.claim(ANN, f"{known}.design")
    desk.bench.clock.advance(minutes=30)
    await desk.bench.claim(BOB, f"{known}.design")

    end = await desk.ask("plan_check", id=known)

    assert end["recoveries"] == [f"{known}.design: its worker was lost"]


@pytest.mark.both_stores
@pytest.mark.parametrize(
    "escape",
    [
        {"task_id": "O-1.design", "status": "cancelled", "reason": "not needed"},
        {"task_id": "O-1.design", "epic_id": "elsewhere"},
        {"task_id": "O-1.build", "labels": ["part:review"]},
    ],
)
async def test_no_agent_takes_a_task_out_of_what_must_be_done(desk: Desk, escape: dict[str, Any]) -> None:
    known = await desk.drafted({**PLAN, "tasks": [PLAN["tasks"][0], {**PLAN["tasks"][1], "depends_on": []}]})
    await desk.ask("plan_accept", id=known)
    claimed = await desk.bench.claim(ANN, f"{known}.build")
    token = claimed["lease"]["token"]
    await desk.bench.call(
        "complete_task", ANN, task_id=f"{known}.build", lease_token=token, summary="x", evidence=["Seen"]
    )
    await desk.ask("update_task", ANN, **escape)

    found = {one["point"]: one for one in (await desk.ask("plan_check", id=known))["points"]}

    assert not found["Every task is done"]["met"], found
    assert "O-1.design is" in found["Every task is done"]["found"]
    assert not found["Somebody else looked at the work"]["met"], found


async def test_a_task_that_a_person_cancels_is_no_longer_part_of_the_goal(desk: Desk) -> None:
    known = await desk.drafted()
    await desk.ask("plan_accept", id=known)
    await desk.ask("update_task", ANN, task_id="O-1.look", status="cancelled", reason="not needed")
    await desk.ask("update_task", task_id="O-1.look", status="pending", reason="it is")
    await desk.ask("update_task", task_id="O-1.look", status="cancelled", reason="it is not")

    found = {one["point"]: one["found"] for one in (await desk.ask("plan_check", id=known))["points"]}

    assert found["Every task is done"] == "0 of 2, and 1 cancelled: O-1.design is pending, O-1.build is pending"
