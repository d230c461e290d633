"""Launches of workers as a pool makes them in the store, without any process."""

from dataclasses import dataclass, replace

from tests.support.bench import Bench
from tests.support.providers import FixedProviders
from tests.support.sessions import an_agent
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.worker import Outcome, Worker, WorkerState
from wvo_mcp.orchestration.pool import parking, spending
from wvo_mcp.orchestration.pool.spending import Caps
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.ports import Transaction


@dataclass(frozen=True)
class Launched:
    """`resting`: what it goes on with."""

    claim: claims.Claim
    worker: Worker | None
    resting: parking.Resting | None

    @property
    def started(self) -> Worker:
        assert self.worker is not None, self.claim.explanation or self.claim.reason
        return self.worker


def slot(number: int = 1, host: str = "here", session: str | None = None) -> Caller:
    return an_agent(f"auto-{host}.{number}", session, worker=True)


async def launch(
    bench: Bench,
    providers: FixedProviders,
    caps: Caps = Caps(),  # noqa: B008 - frozen
    *,
    task_id: str | None = None,
    caller: Caller | None = None,
    run: str = "r1",
    session: str | None = None,
) -> Launched:
    """Means, claim, reservation and row in one transaction. `session`: what its program calls it, once it has begun."""
    by = caller or slot()
    host = by.agent_id.removeprefix("auto-").partition(".")[0]

    async def work(tx: Transaction) -> Launched:
        means = await spending.means(tx, providers, caps, run)
        policy = replace(bench.policy, wip_limit=50, agent_wip_limit=50)
        claim = await claims.claim(tx, policy, by.agent_id, task_id, 600, providers, means.refusals)
        if claim.task is None or claim.lease is None or claim.route is None:
            return Launched(claim, None, None)
        route, token = claim.route, claim.lease.token
        resting = await parking.take_up(tx, claim.task, route.provider, host)
        row = {"task_id": claim.task.id, "lease_token": token, "agent_id": by.agent_id, "run_id": run, "host": host}
        row |= {"provider": route.provider, "tier": route.tier, "model": route.model, "workspace": "ws-1"}
        row |= {"client_session": resting.client_session if resting else session}
        worker = await tx.workers.add(row | {"reserved_usd": means.reserve(route.provider, route.tier)})
        return Launched(claim, worker, resting)

    return await bench.write(work, by)


async def ended(bench: Bench, worker: Worker, cost: float = 0.0, outcome: Outcome = Outcome.COMPLETED) -> None:
    fields = {"state": WorkerState.ENDED, "ended_at": bench.clock.now(), "outcome": outcome, "cost_usd": cost}
    await bench.write(lambda tx: tx.workers.change(worker.worker_id, fields))
