"""What doctor says about a PostgreSQL database in every state."""

import psycopg
import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.clock import StoppedClock
from tests.support.services import Services
from tests.support.sessions import Servers
from wvo_mcp.domain.finding import Finding, Outcome
from wvo_mcp.domain.lease import Policy
from wvo_mcp.store.postgres.address import Address
from wvo_mcp.store.postgres.doctor_checks import examine, held_by, known_ids
from wvo_mcp.store.postgres.presence import Presence
from wvo_mcp.store.postgres.store import PostgresStore

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SCALE-1", "CORE-12")]


def found(url: str) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(url)}


def edit(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as raw:
        for statement in statements:
            raw.execute(statement.encode())


@pytest.mark.requirement("CORE-12")
def test_an_error_over_an_empty_address_is_readable() -> None:
    assert Address("").said(psycopg.OperationalError("no such host")) == "no such host"


@pytest.fixture
async def worked(database_url: str, services: Services, clock: StoppedClock, servers: Servers) -> str:
    """A store in which something has happened, and nobody is connected."""
    store = PostgresStore(database_url, clock, servers)
    await store.open()
    bench = Bench(Services(store, Policy(), services.roadmap, services.directives), store, clock, servers)
    await bench.create(a_task("T1", epic_id="E"), a_task("T2", depends_on=["T1"]), a_task("T3"))
    await bench.claim(ANN, "T1")
    await bench.done("T3", caller=BOB)
    await store.close()
    return database_url


@pytest.mark.sqlite
async def test_a_healthy_store_passes_every_check(worked: str) -> None:
    findings = found(worked)

    assert {finding.outcome for finding in findings.values()} == {Outcome.OK}
    assert set(findings) == {"database", "events", "counters", "sessions", "leader", "time"}
    assert findings["events"].found == "4 chains of events hold"


@pytest.mark.sqlite
async def test_a_connected_server_is_seen_by_its_lock(worked: str) -> None:
    assert found(worked)["sessions"].found.startswith("0 servers connected; 2 crashed")
    with Presence(worked, ANN.session_id):
        assert found(worked)["sessions"].found.startswith("1 servers connected: ann on ")


@pytest.mark.sqlite
async def test_an_edited_event_is_found(worked: str) -> None:
    edit(
        worked,
        "DROP TRIGGER events_stay ON events",
        "UPDATE events SET agent_id = 'x' WHERE task_id = 'T1' AND seq = 1",
    )

    assert found(worked)["events"].outcome is Outcome.FAIL
    assert "of task T1 does not hold at event 1" in found(worked)["events"].found


@pytest.mark.sqlite
async def test_wrong_counters_are_named(worked: str) -> None:
    edit(worked, "UPDATE counters SET n = 7 WHERE name = 'ready'", "UPDATE epics SET in_progress = 3")

    assert (
        found(worked)["counters"].found == "a recount differs: ready 7 kept, 0 found; epic E has 1 in progress, 3 kept"
    )


async def test_an_empty_database_is_no_fault(database_url: str) -> None:
    assert found(database_url)["database"].outcome is Outcome.OK
    assert "is empty" in found(database_url)["database"].found


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("CREATE TABLE tasks (id INT)", "another program"),
        (
            "CREATE TABLE store (clock_offset_ms INT, id INT, schema INT); INSERT INTO store VALUES (0, 1, 99)",
            "schema 99",
        ),
    ],
)
async def test_what_is_not_ours_or_newer_is_told(database_url: str, statement: str, told: str) -> None:
    edit(database_url, statement)

    finding = found(database_url)["database"]
    assert finding.outcome is Outcome.FAIL
    assert told in finding.found
    assert finding.remedy


async def test_a_database_that_cannot_be_reached_is_told_without_the_password(database_url: str) -> None:
    finding = found(database_url.replace("wvo:", "nobody:").rsplit("/", 1)[0] + "/nowhere")["database"]

    assert finding.outcome is Outcome.FAIL
    assert "secret" not in finding.found
    assert finding.remedy


@pytest.mark.sqlite
async def test_ids_and_held_tasks_can_be_looked_up(worked: str) -> None:
    assert known_ids(worked, ["T1", "T9"]) == {"T1"}
    assert known_ids("postgresql://127.0.0.1:1/x", ["T9"]) == {"T9"}
    assert [(task.id, task.token) for task in held_by(worked, ANN.agent_id)] == [("T1", 1)]
