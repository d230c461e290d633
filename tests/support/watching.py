"""Health loops over a bench, and what they are to find."""

from dataclasses import replace
from typing import Any

from tests.support.bench import Bench, a_task
from tests.support.sessions import an_agent
from wvo_mcp.domain.health import Thresholds
from wvo_mcp.domain.lease import Caller
from wvo_mcp.orchestration.health.loop import HealthLoop
from wvo_mcp.orchestration.leader import Candidate, LeaderTerm


def loop_of(bench: Bench, **limits: Any) -> HealthLoop:
    return HealthLoop(replace(Thresholds(), **limits), bench.policy, bench.clock)


async def seated(bench: Bench, caller: Caller) -> LeaderTerm:
    term = await Candidate(bench.store, lambda: caller, bench.clock).seek()
    assert term is not None
    return term


async def abandoned(bench: Bench, *task_ids: str) -> None:
    """In progress, the servers killed, the leases over."""
    bench.limits(wip_limit=50)
    await bench.create(*(a_task(task_id) for task_id in task_ids))
    for task_id in task_ids:
        await bench.claim(an_agent(f"dead-{task_id}"), task_id)
        bench.servers.kill(f"dead-{task_id}/1")
    bench.clock.advance(minutes=20)
