"""Which backup a restore takes, when it takes none, and what it says was lost."""

from pathlib import Path

import pytest

from tests.support.bench import Bench, a_task
from tests.support.sessions import a_person
from wvo_mcp.domain.backup import span
from wvo_mcp.errors import StoreUnavailable
from wvo_mcp.ports.backend import Restored
from wvo_mcp.store.sqlite import backup as module
from wvo_mcp.store.sqlite.backup import Restoring, SqliteBackups
from wvo_mcp.store.sqlite.integrity import backups_of

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("DR-2")]


async def restored(bench: Bench) -> Restored:
    return await Restoring(bench.path, bench.clock, bench.servers, a_person()).restore()


@pytest.fixture
def backups(bench: Bench) -> SqliteBackups:
    return SqliteBackups(bench.path, backups_of(bench.path).folder)


@pytest.fixture
async def two_hours(bench: Bench, backups: SqliteBackups) -> Bench:
    """At 9 there is A, at 10 also B, and C after that; two backups."""
    for task_id in ("A", "B"):
        await bench.create(a_task(task_id))
        await backups.create(bench.clock.now())
        bench.clock.advance(hours=1)
    await bench.create(a_task("C"))
    return bench


def spoil(path: Path) -> None:
    """A bad page in the middle."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xa5" * 4096)


async def test_a_store_that_cannot_be_read_is_not_replaced(two_hours: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await two_hours.store.close()
    before = two_hours.path.read_bytes()

    def forbidden(_: Path) -> None:
        raise StoreUnavailable("Permission denied")

    monkeypatch.setattr(module, "check_closed", forbidden)

    with pytest.raises(StoreUnavailable, match="Permission denied"):
        await restored(two_hours)
    assert two_hours.path.read_bytes() == before


async def test_a_backup_of_the_future_is_the_last_to_be_chosen(two_hours: Bench, backups: SqliteBackups) -> None:
    newest = max(backups.folder.folder.glob("state-*.db"))
    later = newest.with_name("state-2999-01-01-00.db")
    later.write_bytes(min(backups.folder.folder.glob("state-*.db")).read_bytes())

    assert (await restored(two_hours)).backup.name == newest.name


async def test_what_a_damaged_store_lost_is_not_called_nothing(two_hours: Bench, backups: SqliteBackups) -> None:
    await two_hours.store.close()
    await backups.create(two_hours.clock.now())
    spoil(two_hours.path)

    done = await restored(two_hours)

    assert span(done.lost_since, done.lost_until) != "nothing"
