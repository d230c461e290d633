"""`scripts/bench simulate`: how long a simulation takes, and what a claim with its end costs in it.

The plan is drawn (`tests.support.dag`), agents fail and die as by default. Processor time is shown beside the time on
the clock, for a machine that does other things as well.
"""

import argparse
import asyncio
import gc
import time

from tests.support.clock import START
from tests.support.dag import random_tasks
from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.task import Origin
from wvo_mcp.faces.cli.simulate import loaded, simulated
from wvo_mcp.orchestration.simulation.scenario import PoolAgent, Scenario
from wvo_mcp.orchestration.simulation.tally import Order
from wvo_mcp.orchestration.tasks.editing import Draft, create

COLUMNS = ("tasks", "agents", "loading s", "simulation s (processor)", "claims", "ms a claim", "at work")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench simulate", description=__doc__)
    parser.add_argument("--sizes", default="1000x20,10000x100", help="TASKSxAGENTS, ...")
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
    begun = time.process_time()
    store = await loaded(lambda tx: create(tx, drafts, Origin.ROADMAP), START, agents)
    ready, at = time.process_time(), time.perf_counter()
    crew = tuple(PoolAgent(f"a{number}") for number in range(agents))
    outcome = await simulated(store, Scenario(crew, Policy(wip_limit=agents)), Order.WSJF, START)
    used, passed = time.process_time() - ready, time.perf_counter() - at
    await store.close()
    figures = [
        f"{tasks:,}", f"{agents:,}", f"{ready - begun:.1f}", f"{passed:.1f} ({used:.1f})", f"{outcome.claims:,}",
        f"{used / outcome.claims * 1e3:.1f}", f"{outcome.utilisation:.0%}",
    ]  # fmt: skip
    print("| " + " | ".join(figures) + " |", flush=True)
