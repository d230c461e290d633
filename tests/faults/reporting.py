"""Reports of processes that die at each of their writes in turn: `python -m tests.faults.reporting FOLDER`.

Prints how many there were. Each tells of a refusal, so that usage, reservation, route, events and the answer for a repeat
are written; whoever repeats it afterwards finds all of it, or nothing.
"""

import os
import sys
from pathlib import Path
from typing import Any

import anyio

from tests.faults.crashing import Crash
from tests.support.bench import a_task
from tests.support.providers import FixedProviders
from tests.support.services import Services
from tests.support.sessions import an_agent
from tests.support.stores import a_store
from wvo_mcp.domain.lease import Policy
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.operations import ALL

ANN = an_agent(durable=True, worker=True)


async def call(folder: Path, name: str, asks: dict[str, Any], crash: Crash | None = None) -> dict[str, Any]:
    store = a_store(folder, None, synchronous="OFF")
    await store.open()
    store.writer.on_write = crash
    policy = Policy(wip_limit=500, agent_wip_limit=500)
    roadmap = RoadmapSource(folder / "roadmap.yaml")
    services = Services(store, policy, roadmap, DirectiveFiles(folder), providers=FixedProviders())
    try:
        return await ALL[name](services, ANN, asks)
    finally:
        await store.close()


def main(folder: Path) -> int:
    """At how many places a process was killed."""
    place = 0
    while True:
        place += 1
        task_id, request = f"T{place}", f"r{place}"
        anyio.run(call, folder, "create_tasks", {"tasks": [a_task(task_id, complexity=1)]})
        claimed = anyio.run(call, folder, "claim_task", {"task_id": task_id})
        report = {
            "task_id": task_id,
            "tokens_in": 1_000,
            "outcome": "refusal",
            "provider": claimed["route"]["provider"],
            "request_id": request,
        }
        child = os.fork()
        if child == 0:
            anyio.run(call, folder, "provider_report", report, Crash(place))
            os._exit(0)
        _, ended = os.waitpid(child, 0)
        first = anyio.run(call, folder, "provider_report", report)
        assert first == anyio.run(call, folder, "provider_report", report)
        assert first["route"]["provider"] != claimed["route"]["provider"]
        if os.WIFEXITED(ended):
            assert os.WEXITSTATUS(ended) == 0
            return place - 1


if __name__ == "__main__":
    sys.stdout.write(str(main(Path(sys.argv[1]))))
