"""What the probe of a database file finds, and that it does no harm to the server that looks."""

from pathlib import Path

import anyio
import pytest

from tests.support.bench import ANN, Bench, a_task
from wvo_mcp.store.sqlite.doctor_checks import SqliteProbe
from wvo_mcp.store.sqlite.integrity import log_of

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("HEALTH-1")]


async def test_the_sizes_are_those_of_the_files(bench: Bench) -> None:
    await bench.create(a_task("T1"))

    found = await SqliteProbe(bench.path).look()

    assert found.bytes == bench.path.stat().st_size
    assert found.journal_bytes == log_of(bench.path).stat().st_size > 0
    assert found.free_bytes is not None
    assert found.damage is None


async def test_after_a_look_the_file_is_still_ours(bench: Bench) -> None:
    """Who closes a file loses the locks that his process has on it; a stranger who comes then takes the log for left
    behind, and removes it."""
    await bench.create(a_task("T1"))
    await SqliteProbe(bench.path).look()

    for number in (1, 2):
        told = await anyio.run_process(["sqlite3", str(bench.path), "SELECT count(*) FROM tasks"])
        assert told.stdout.decode().strip() == str(number)
        assert log_of(bench.path).exists()
        await bench.create(a_task())


async def test_damage_is_told_in_words(bench: Bench, tmp_path: Path) -> None:
    await bench.create(*(a_task(f"T{n}", description="x" * 2_000) for n in range(50)))
    await bench.claim(ANN)
    await bench.store.close()
    whole = bench.path.read_bytes()
    page = 4096
    at = (len(whole) // page - 3) * page
    bench.path.write_bytes(whole[:at] + b"\xff" * page + whole[at + page :])

    found = await SqliteProbe(bench.path).look()

    assert found.damage is not None
    assert "damaged" in found.damage or "malformed" in found.damage
    bench.path.write_bytes(whole)
    await bench.store.open()
