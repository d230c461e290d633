"""A goal becomes a plan that a person accepts: nothing of it is a task before, and its commands run only if they said so."""

from collections.abc import Mapping, Sequence
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

    async def accept(self, commands: Mapping[str, Sequence[str]]) -> None:
        if self.fails:
            raise StoreUnavailable("The disk is full.")
        self.accepted |= commands


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
