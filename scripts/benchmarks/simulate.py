"""`scripts/bench simulate`: how long a simulation takes, and what a decision of the scheduler costs in it.

The plan is drawn (`tests.support.dag`), agents fail and die as by default. Processor time is shown beside the time on
the clock, for a machine that does other things as well.
"""

import argparse
import asyncio
import gc
import time

from tests.support.clock import START
from tests.support.dag import random_tasks
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.task import Origin
from wvo_mcp.orchestration.simulation.engine import Simulation
from wvo_mcp.orchestration.simulation.scenario import PoolAgent, Scenario, VirtualClock, VirtualServers
from wvo_mcp.orchestration.tasks.creation import Draft, create
from wvo_mcp.store.virtual.store import VirtualStore

COLUMNS = (
    "tasks", "agents", "loading s", "simulation s (processor)", "claims", "refusals", "microseconds a decision", "at work"
)  # fmt: skip


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench simulate", description=__doc__)
    parser.add_argument("--sizes", default="1000x10,10000x100,100000x1000", help="TASKSxAGENTS, ...")
    given = parser.parse_args(arguments)
    gc.disable()  # as the command line does
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
    for size in given.sizes.split(","):
        tasks, agents = map(int, size.split("x"))
        asyncio.run(_measure(tasks, agents))
    return 0


async def _measure(tasks: int, agents: int) -> None:
    items = random_tasks(tasks, seed=1, epics=[f"E{number}" for number in range(50)], breadth=max(60, tasks // 5))
    drafts = [Draft(item.pop("id"), item, item.pop("depends_on")) for item in items]
    clock, servers = VirtualClock(START), VirtualServers()
    store = VirtualStore(clock, servers, kept=True, agents=agents)
    begun = time.process_time()
    await store.write(Caller("loader", "loader/1", durable=True), lambda tx: create(tx, drafts, Origin.ROADMAP))
    loaded, at = time.process_time(), time.perf_counter()
    crew = tuple(PoolAgent(f"a{number}") for number in range(agents))
    outcome = await Simulation(store, clock, servers, Scenario(crew, Policy(wip_limit=agents))).run()
    used, passed = time.process_time() - loaded, time.perf_counter() - at
    # Each claim is followed by an end: completed, failed, or lost and given back.
    decisions = 2 * outcome.claims + outcome.refusals
    figures = [
        f"{tasks:,}", f"{agents:,}", f"{loaded - begun:.1f}", f"{passed:.1f} ({used:.1f})", f"{outcome.claims:,}",
        f"{outcome.refusals:,}", f"{used / decisions * 1e6:.0f}", f"{outcome.utilisation:.0%}",
    ]  # fmt: skip
    print("| " + " | ".join(figures) + " |", flush=True)
