"""Server processes that work one store empty together, through real pipes."""

import pytest

from tests.races.drain import Ledger, drain, seed_tasks
from tests.support.history import Limits
from tests.support.invariants import verify
from tests.support.scale import sized
from tests.support.workspace import Workspace


def work_empty(workspace: Workspace, count: int, agents: int, wip_limit: int, seconds: float) -> None:
    workspace.settings = {"WVO_AUTOPILOT_WIP_LIMIT": str(wip_limit), "WVO_AGENT_WIP_LIMIT": "1"}
    seed_tasks(workspace, count, seed=count)

    ledger = drain(workspace, count, agents, seconds=seconds)

    history = verify(workspace.source, Limits(store=wip_limit, agent=1))
    assert set(history.completions.values()) == {1}
    assert history.completions.total() == count
    assert history.kinds["task.claimed"] == count
    assert 1 < history.most_in_progress <= wip_limit
    assert ledger.answers["complete_task"] == count
    assert workspace.logged() == ""


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.requirement("CLAIM-1", "SCHED-2", "CORE-1")
def test_several_servers_complete_every_task_exactly_once_within_all_limits(workspace: Workspace) -> None:
    work_empty(workspace, count=400, agents=6, wip_limit=5, seconds=500)


def thousands(workspace: Workspace) -> int:
    """PostgreSQL on the machine of the servers takes part of it, so that a third takes as long there."""
    count = sized(full=3_000, short=480)
    return count if workspace.url is None else count // 3


@pytest.mark.drill
@pytest.mark.timeout(660)
@pytest.mark.requirement("CLAIM-1", "SCHED-2", "SCALE-1", "SCALE-2", "CORE-1")
def test_sixteen_servers_complete_thousands_of_tasks_exactly_once_within_all_limits(workspace: Workspace) -> None:
    work_empty(workspace, count=thousands(workspace), agents=16, wip_limit=16, seconds=540)


def survive(workspace: Workspace, count: int, agents: int, seconds: float, kill_every: float) -> Ledger:
    workspace.settings = {
        "WVO_AUTOPILOT_WIP_LIMIT": str(agents),
        "WVO_LEASE_SECONDS": "60",
        "WVO_LEASE_GRACE_SECONDS": "1",
    }
    seed_tasks(workspace, count, seed=count)
    victim = workspace.server("victim")  # whoever is killed later may be between two tasks, each time
    assert victim.call("claim_task")["task"] is not None
    victim.kill()

    ledger = drain(workspace, count, agents, seconds=seconds, kill_every=kill_every)

    history = verify(workspace.source, Limits(store=agents, agent=1))
    assert set(history.completions.values()) == {1}
    assert history.completions.total() == count
    assert ledger.answers["killed"] > 0
    assert history.takeovers > 0
    assert history.kinds["session.ended"] > 0
    assert "Traceback" not in workspace.logged()
    return ledger


@pytest.mark.full_on_postgres
@pytest.mark.timeout(600)
@pytest.mark.requirement("CLAIM-1", "CLAIM-3", "CORE-11")
def test_nothing_is_lost_or_done_twice_while_servers_are_killed(workspace: Workspace) -> None:
    survive(workspace, count=sized(full=300, short=100), agents=5, seconds=500, kill_every=1.0)


@pytest.mark.full
@pytest.mark.drill
@pytest.mark.timeout(660)
@pytest.mark.requirement("CLAIM-1", "CLAIM-3", "CORE-11", "CLAIM-5", "SCALE-1", "SCALE-2")
def test_thousands_of_tasks_survive_a_kill_every_three_seconds(workspace: Workspace) -> None:
    ledger = survive(workspace, count=thousands(workspace), agents=16, seconds=540, kill_every=3.0)

    # That each acknowledged checkpoint reaches the next holder is judged at every claim, however many there are.
    assert ledger.answers["killed"] > 5
