"""A server that is killed right after it delivered, before that is on record."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from tests.support.databases import looked_at
from tests.support.sessions import an_agent
from tests.support.stores import a_store, source_of
from tests.support.waiting import eventually

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS_ITS_PARENT_ONCE = """
import os, pathlib, signal, sys
line, mark = sys.stdin.read(), pathlib.Path("killed")
with open("heard", "a") as heard:
    heard.write(line)
if not mark.exists():
    mark.touch()
    os.kill(os.getppid(), signal.SIGKILL)
"""


async def a_store_with_an_alert(folder: Path) -> None:
    store = a_store(folder, None, synchronous="OFF")
    await store.open()
    await store.write(an_agent(), lambda tx: tx.alerts.raise_alert("disk", "warning", None, "full"))
    await store.close()


@pytest.mark.requirement("HEALTH-3")
def test_a_kill_between_delivery_and_record_repeats_it_under_the_same_id(tmp_path: Path) -> None:
    anyio.run(a_store_with_an_alert, tmp_path)
    command = [sys.executable, "-c", KILLS_ITS_PARENT_ONCE]
    servers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.delivering", str(tmp_path), name, *command], cwd=REPOSITORY
        )
        for name in ("ann", "bob")
    ]
    try:

        def recorded() -> str | None:
            with looked_at(source_of(tmp_path)) as database:
                return database.value("SELECT max(delivered_at) FROM alert_deliveries")

        eventually(recorded)
        assert sorted(str(server.poll()) for server in servers) == ["-9", "None"]
    finally:
        for server in servers:
            server.kill()
            server.wait(60)
    heard = [json.loads(line) for line in (tmp_path / "heard").read_text().splitlines()]
    assert len(heard) == 2
    assert heard[0] == heard[1]
    assert heard[0]["id"].startswith("news_")
