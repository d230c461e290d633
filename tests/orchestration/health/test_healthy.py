"""A team that simply works is never told that something is wrong."""

import random
from dataclasses import dataclass, field

import pytest

from tests.support.bench import Bench, a_task
from tests.support.scale import sized
from tests.support.sessions import an_agent
from wvo_mcp.domain.health import Thresholds
from wvo_mcp.domain.lease import Caller
from wvo_mcp.orchestration.health.loop import HealthLoop
from wvo_mcp.orchestration.leader import Candidate
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Transaction

pytestmark = pytest.mark.anyio

CYCLES = sized(full=10_000, short=600)
WATCH = an_agent("watch")


@dataclass
class Worker:
    """Works some minutes on a task; now and then it needs a pause, gives up an attempt, or is quiet for long."""

    caller: Caller
    chance: random.Random
    holds: str | None = None
    left: int = 0
    done: int = field(default=0)

    async def minute(self, bench: Bench) -> None:
        self.left -= 1
        if self.left > 0:
            return
        await bench.write(self._next, self.caller)

    async def _next(self, tx: Transaction) -> None:
        if self.holds is not None:
            task = await tx.tasks.get(self.holds)
            if self.chance.random() < 0.03:
                await lifecycle.fail(tx, task, "not this way", retry=True)
            else:
                await lifecycle.complete(tx, task, "done", [])
                self.done += 1
        claim = await claims.claim(tx, POLICY, self.caller.agent_id, None, 86_400)
        assert claim.task is not None, "there is always work"
        self.holds = claim.task.id
        self.left = self.chance.randint(5, 14) if self.chance.random() < 0.999 else 45


POLICY = lifecycle.Policy(wip_limit=12)


@pytest.mark.sqlite
@pytest.mark.requirement("HEALTH-1", "HEALTH-2")
async def test_thousands_of_cycles_of_random_work_raise_no_alarm(bench: Bench) -> None:
    chance = random.Random(20261121)
    team = [Worker(an_agent(f"w{n}"), chance) for n in range(10)]
    loop = HealthLoop(Thresholds(wip_limit=12), POLICY, bench.clock)
    made = 0

    async def plan(number: int) -> None:
        nonlocal made
        tasks = [
            a_task(f"T{made + n}", max_attempts=20, depends_on=[f"T{made}"] if n % 5 == 4 else [])
            for n in range(number)
        ]
        await bench.create(*tasks)
        made += number

    await plan(60)
    depth = 60
    alarms: list[tuple[int, str, str]] = []
    deeds = 0
    for cycle in range(CYCLES):
        if depth < 40 or (depth < 120 and chance.random() < 0.1):
            await plan(chance.randint(5, 25))
        for worker in team:
            await worker.minute(bench)
        bench.clock.advance(60)
        term = await Candidate(bench.store, lambda: WATCH, bench.clock).seek()
        assert term is not None
        ran = await loop.cycle(term)
        assert ran.observation.flow is not None
        assert not ran.observation.failed
        depth = ran.observation.flow.claimable
        deeds += len(ran.done)
        alarms += [(cycle, one.kind.value, one.message) for one in ran.orientation.anomalies]

    assert alarms == []
    assert deeds == 0
    assert sum(worker.done for worker in team) > CYCLES / 2, "they worked all the time"
