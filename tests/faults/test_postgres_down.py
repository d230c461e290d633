"""The PostgreSQL server goes away under running servers of ours, for a moment or for longer than they wait."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.races.drain import Ledger, drain, seed_tasks
from tests.support.databases import written
from tests.support.history import Limits
from tests.support.invariants import verify
from tests.support.postgres import Cluster
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks
from wvo_mcp.store.postgres import address

pytestmark = pytest.mark.requirement("SCALE-1", "SCALE-2", "CORE-11", "CLAIM-1")


@pytest.fixture
def workspace(own_postgres: Cluster, tmp_path: Path) -> Iterator[Workspace]:
    """On a cluster that may be stopped."""
    with own_postgres.database() as url:
        made = Workspace(tmp_path / "workspace", tmp_path / "logs", url)
        yield made
        made.close()


def outlive(workspace: Workspace, cluster: Cluster, count: int, agents: int, seconds: float) -> Ledger:
    """A drain in the middle of which the database restarts in every way there is."""
    workspace.settings = {"WVO_AUTOPILOT_WIP_LIMIT": str(agents)}
    seed_tasks(workspace, count, seed=count)

    def die() -> None:
        cluster.kill()
        cluster.start()

    ways = [lambda: cluster.restart("fast"), lambda: cluster.restart("immediate"), die]
    ledger = drain(workspace, count, agents, seconds=seconds, blows=ways)

    history = verify(workspace.source, Limits(store=agents, agent=1))
    assert set(history.completions.values()) == {1}
    assert history.completions.total() == count
    assert history.kinds["task.claimed"] == count
    assert ledger.answers["complete_task"] == count
    assert cluster.log().count("database system is ready to accept connections") == 4
    assert "Traceback" not in workspace.logged()
    assert "secret" not in workspace.logged()
    return ledger


@pytest.mark.timeout(600)
def test_a_drain_goes_on_over_restarts_and_a_crash_of_the_database(workspace: Workspace, own_postgres: Cluster) -> None:
    outlive(workspace, own_postgres, count=120, agents=4, seconds=500)


@pytest.mark.full
@pytest.mark.drill
@pytest.mark.timeout(400)
def test_many_tasks_survive_restarts_and_a_crash_of_the_database(workspace: Workspace, own_postgres: Cluster) -> None:
    outlive(workspace, own_postgres, count=600, agents=16, seconds=300)


def test_a_long_database_outage_is_a_typed_error_until_it_is_back(workspace: Workspace, own_postgres: Cluster) -> None:
    """As long as a call is tried again, of which a part is enough here."""
    assert address.RETRY_SECONDS == 20
    workspace.constants = {"wvo_mcp.store.postgres.executor.RETRY_SECONDS": 4.0}
    client = workspace.server("ann")
    client.call("create_tasks", some_tasks("A", "B"))
    client.call("claim_task", {"task_id": "A"})
    own_postgres.stop("immediate")

    began = time.monotonic()
    both = [
        client.post("tools/call", {"name": "complete_task", "arguments": {"task_id": "A", "summary": "done"}}),
        client.post("tools/call", {"name": "plan_next", "arguments": {}}),
    ]
    errors = [client.receive(message_id)["result"]["structuredContent"]["error"] for message_id in both]

    assert 3 < time.monotonic() - began < 60
    for error in errors:
        assert (error["code"], error["retryable"]) == ("store_unavailable", True)
        assert f"127.0.0.1:{own_postgres.port}" in error["message"]
        assert "refused" in error["message"]
        assert "PostgreSQL runs" in error["hint"]
        assert "secret" not in str(error)
    own_postgres.start()
    done = eventually(lambda: client.call("complete_task", {"task_id": "A", "summary": "done"}))
    assert done["task"]["status"] == "done"
    assert client.call("claim_task")["task"]["id"] == "B"
    assert verify(workspace.source).completions == {"A": 1}
    assert "secret" not in workspace.logged()
    assert "Traceback" not in workspace.logged()


def test_a_server_that_starts_while_the_database_is_away_says_so_in_one_line(
    workspace: Workspace, own_postgres: Cluster
) -> None:
    own_postgres.stop()

    refused = workspace.spawn("ann")

    assert refused.wait(120) != 0
    lines = refused.log.read_text().splitlines()
    assert len(lines) == 1, lines
    assert f"127.0.0.1:{own_postgres.port}" in lines[0]
    assert "secret" not in lines[0]


@pytest.mark.full
def test_a_client_that_leaves_during_an_outage_leaves_no_server_behind(
    workspace: Workspace, own_postgres: Cluster
) -> None:
    client = workspace.server("ann")
    client.call("create_tasks", some_tasks("A"))
    client.call("claim_task", {"task_id": "A"})
    own_postgres.stop("immediate")

    began = time.monotonic()
    client.end()

    assert time.monotonic() - began < 40  # each of its two last writes would be tried for twenty


def test_a_living_server_that_was_taken_for_dead_takes_its_session_and_lease_back(workspace: Workspace) -> None:
    """What whoever looks during a restart of the database does to it."""
    workspace.settings = {"WVO_LEASE_GRACE_SECONDS": "6", "WVO_LEASE_SECONDS": "600"}
    client = workspace.server("ann")
    client.call("create_tasks", some_tasks("A"))
    granted = client.call("claim_task", {"task_id": "A"})["lease"]

    with written(workspace.source) as execute:
        execute("UPDATE sessions SET ended_at = started_at WHERE agent_id = 'ann'")
        eventually(lambda: execute("SELECT ended_at FROM sessions WHERE agent_id = 'ann'").fetchone()[0] is None)
        until = execute("SELECT lease_expires_at FROM tasks WHERE id = 'A'").fetchone()[0]

    assert until > granted["expires_at"]
    done = client.call("complete_task", {"task_id": "A", "lease_token": granted["token"], "summary": "done"})
    assert done["task"]["status"] == "done"
