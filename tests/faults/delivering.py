"""A leader that has nothing to do but to deliver alerts: `python -m tests.faults.delivering FOLDER NAME COMMAND...`.

It runs until it is killed; the store is in the folder.
"""

import sys
from pathlib import Path

import anyio

from tests.support.leading import a_leader
from tests.support.sessions import an_agent
from tests.support.stores import a_store, attending
from wvo_mcp.execution.alerting import AlertCommand
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.orchestration.delivery import Courier, leader_jobs


async def deliver(folder: Path, name: str, command: list[str]) -> None:
    caller = an_agent(name, name)
    store = a_store(folder, None)
    courier = Courier(AlertCommand(command, folder), "info", "test", lambda: 0.0)
    with attending(folder, None, name):
        await store.open()
        await a_leader(store, lambda: caller, SystemClock(), leader_jobs({"command": courier})).run()


if __name__ == "__main__":
    anyio.run(deliver, Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
