"""What doctor says about databases in every state."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pysqlite3 import dbapi2 as sqlite  # pyright: ignore

from tests.support.bench import ANN, BOB, Bench, a_task
from wvo_mcp.domain.finding import Finding, Outcome
from wvo_mcp.store.sqlite import doctor_checks
from wvo_mcp.store.versions import latest

pytestmark = pytest.mark.sqlite

connect: Callable[..., Any] = getattr(sqlite, "connect")  # noqa: B009 - the driver has no types
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def nobody(_: str) -> bool:
    return False


def found(path: Path, alive: Callable[[str], bool] = nobody) -> dict[str, Finding]:
    return {finding.check: finding for finding in doctor_checks.examine(path, alive, NOW)}


def outcomes(path: Path) -> dict[str, Outcome]:
    return {check: finding.outcome for check, finding in found(path).items()}


def edit(path: Path, *statements: str) -> None:
    """Write to the database as somebody from outside would."""
    with connect(str(path), isolation_level=None) as raw:
        for statement in statements:
            raw.execute(statement)
    raw.close()


def content(path: Path) -> bytes:
    return path.read_bytes()


@pytest.fixture
async def worked(bench: Bench) -> Path:
    """A closed store in which something has happened."""
    await bench.create(a_task("T1", epic_id="E"), a_task("T2", depends_on=["T1"]), a_task("T3"))
    await bench.claim(ANN, "T1")
    await bench.done("T3", caller=BOB)
    await bench.store.close()
    return bench.path


@pytest.mark.anyio
@pytest.mark.requirement("CORE-12")
async def test_a_healthy_store_passes_every_check(worked: Path) -> None:
    findings = found(worked)

    assert {finding.outcome for finding in findings.values()} == {Outcome.OK}
    assert set(findings) == {
        "database", "journal", "integrity", "events", "counters", "sessions", "leader", "time", "backups",
    }  # fmt: skip
    assert findings["events"].found == "4 chains of events hold"


@pytest.mark.anyio
async def test_examining_changes_nothing(worked: Path) -> None:
    before = content(worked)
    found(worked)
    assert content(worked) == before


@pytest.mark.anyio
async def test_a_store_in_use_can_be_examined(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)

    findings = found(bench.path, lambda session: session == ANN.session_id)

    assert findings["sessions"].found.startswith(f"1 servers connected: {ANN.agent_id} on ")
    assert {finding.outcome for finding in findings.values()} == {Outcome.OK}


@pytest.mark.anyio
async def test_a_session_whose_server_is_gone_is_told(worked: Path) -> None:
    assert "2 crashed" in found(worked)["sessions"].found


def test_no_store_yet_is_well(tmp_path: Path) -> None:
    assert outcomes(tmp_path / "state.db") == {"database": Outcome.OK}


@pytest.mark.requirement("DR-4")
def test_what_is_no_database_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_text("dear diary " * 100)

    finding = found(path)["database"]

    assert finding.outcome is Outcome.FAIL
    assert "not a SQLite database" in finding.found
    assert finding.remedy is not None


def test_a_database_of_another_program_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    edit(path, "CREATE TABLE theirs (x)")

    assert "another program" in found(path)["database"].found


def test_a_folder_in_its_place_is_explained(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    assert outcomes(tmp_path / "state.db") == {"database": Outcome.FAIL, "backups": Outcome.OK}


@pytest.mark.anyio
@pytest.mark.requirement("DR-4")
async def test_a_newer_schema_is_explained_with_what_to_do(worked: Path) -> None:
    edit(worked, f"PRAGMA user_version = {latest() + 1}")

    finding = found(worked)["database"]

    assert finding.outcome is Outcome.FAIL
    assert finding.remedy is not None
    assert "Upgrade wvo-mcp" in finding.remedy


@pytest.mark.anyio
async def test_an_edited_event_is_found(worked: Path) -> None:
    edit(worked, "DROP TRIGGER events_stay", "UPDATE events SET agent_id = 'mallory' WHERE task_id = 'T1' AND seq = 1")

    finding = found(worked)["events"]

    assert finding.outcome is Outcome.FAIL
    assert "task T1" in finding.found
    assert "event 1" in finding.found


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE counters SET n = 7 WHERE name = 'ready'", "ready 7 kept, 0 found"),
        ("UPDATE tasks SET unmet_deps = 3 WHERE id = 'T2'", "task T2 waits for 1, 3 kept"),
        ("UPDATE epics SET in_progress = 4", "epic E has 1 in progress, 4 kept"),
    ],
)
async def test_a_counter_that_is_wrong_is_found(worked: Path, statement: str, said: str) -> None:
    edit(worked, statement)

    finding = found(worked)["counters"]

    assert finding.outcome is Outcome.FAIL
    assert said in finding.found


@pytest.mark.anyio
async def test_damage_is_found_and_explained(worked: Path) -> None:
    with worked.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xde\xad\xbe\xef" * 4096)

    findings = found(worked)

    failed = [finding for finding in findings.values() if finding.outcome is Outcome.FAIL]
    assert failed
    assert all(finding.remedy for finding in failed)


@pytest.mark.anyio
async def test_a_file_cut_short_is_found_and_explained(worked: Path) -> None:
    with worked.open("r+b") as file:
        file.truncate(5000)

    assert Outcome.FAIL in outcomes(worked).values()


@pytest.mark.anyio
async def test_another_journal_mode_is_a_warning(worked: Path) -> None:
    edit(worked, "PRAGMA journal_mode = DELETE")
    assert outcomes(worked)["journal"] is Outcome.WARN


@pytest.mark.anyio
async def test_checks_end_in_bounded_time(worked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
    edit(worked, f"CREATE TABLE much AS {rows} SELECT i FROM n", "CREATE INDEX much_i ON much (i)")
    monkeypatch.setattr(doctor_checks, "SECONDS", 0.0)

    assert set(outcomes(worked).values()) == {Outcome.OK}
    assert "too large" in found(worked)["integrity"].found


def test_the_library_is_new_enough() -> None:
    assert doctor_checks.library().outcome is Outcome.OK


def test_an_old_library_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wvo_mcp.store.sqlite.migrate.OLDEST_SQLITE", (99, 0, 0))
    assert "lose commits" in doctor_checks.library().found


@pytest.mark.anyio
async def test_known_ids_are_those_of_the_store(worked: Path, tmp_path: Path) -> None:
    assert doctor_checks.known_ids(worked, ["T1", "NOPE"]) == {"T1"}
    assert doctor_checks.known_ids(tmp_path / "none.db", ["T1"]) == set()
    (tmp_path / "broken.db").write_text("x" * 200)
    assert doctor_checks.known_ids(tmp_path / "broken.db", ["T1"]) == {"T1"}
