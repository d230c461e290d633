"""A plan that is too large to be drawn task by task, with a history."""

from pathlib import Path

from tests.browser.full import bench_at
from tests.support.bench import a_task
from tests.support.sessions import an_agent

EPICS = {"E1": 8, "E2": 150, "E3": 150}
"""And how many tasks each has; those of E1 wait for each other, from E1-0 on."""
_ROADMAP = "epics:\n" + "".join(f"  - {{id: {epic}, title: Part {epic}}}\n" for epic in EPICS)
_PARTS = 100


async def fill(root: Path) -> None:
    tasks = [a_task(f"{epic}-{n}", epic_id=epic) for epic, count in EPICS.items() for n in range(count)]
    for n in range(1, EPICS["E1"]):
        tasks[n]["depends_on"] = [f"E1-{n - 1}"]
    past = [f"PAST-{n}" for n in range(3)]
    async with bench_at(root, _ROADMAP) as bench:
        for at in range(0, len(tasks), _PARTS):
            await bench.create(*tasks[at : at + _PARTS])
        await bench.create(*map(a_task, past))
        await bench.done(*past, caller=an_agent("robot", durable=True))
