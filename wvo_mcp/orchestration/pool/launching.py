"""The next task of a slot: claimed, routed, paid for and on record, in one transaction."""

import math
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from wvo_mcp.domain.memory import ContextEntry
from wvo_mcp.domain.merging import AT_WORK
from wvo_mcp.domain.providers.catalogue import Provider
from wvo_mcp.domain.task import BlockAuthor, Checkpoint, Task, TaskType
from wvo_mcp.domain.worker import Worker
from wvo_mcp.orchestration.pool import parking, spending
from wvo_mcp.orchestration.pool.parking import Resting
from wvo_mcp.orchestration.pool.parts import Parts
from wvo_mcp.orchestration.pool.spending import Caps
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.orchestration.tasks import lifecycle, review
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.agents import AgentDriver

_KEY_BYTES = 32
_ENDING = timedelta(seconds=1)
_LANDING = timedelta(seconds=2)
_ANSWERED = frozenset({TaskType.REVIEW, TaskType.VALIDATION})
"""Types of work for those who answer and do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A worker on record that has no process yet. `bases`: pinned commits of what its task builds on, `landed`: those that
    the target has; `onto`: the commit of the target on which its work could not land."""

    worker: Worker
    task: Task
    slot: int
    key: str = field(repr=False)
    provider: Provider
    driver: AgentDriver
    before: Resting | None
    resume: Checkpoint | None
    context: Sequence[ContextEntry]
    bases: Sequence[str]
    landed: Sequence[str]
    onto: str | None
    caps: Caps

    @property
    def effort(self) -> str | None:
        """How hard the model of its tier should think."""
        return next((one.effort for tier, one in self.provider.tiers.items() if tier.value == self.worker.tier), None)


@dataclass(frozen=True, slots=True)
class Nothing:
    """Why nothing was launched. `again_at`: when something may be; `spent_out`: nothing more ever may in this run."""

    reason: str
    explanation: str | None = None
    again_at: datetime | None = None
    spent_out: str | None = None


class _StillEnding(Exception):
    """The claim led to a task whose last worker still runs in its place: undone."""


class _Unusable(Exception):
    """The claim led to a provider that cannot do it: undone."""

    def __init__(self, why: str, provider: str | None = None) -> None:
        super().__init__(why)
        self.provider = provider


async def launch(
    parts: Parts, slot: int, task_id: str | None, missing: Mapping[str, str], busy: Collection[str] = ()
) -> Launched | Nothing:
    """Claim for this slot. `missing`: by provider, why it cannot be launched now; `busy`: tasks whose workers have not ended.
    Raises, for a named task only, what `claims.claim` raises."""
    await parts.providers.refresh()
    key = secrets.token_hex(_KEY_BYTES)
    agent_id = f"{parts.pool_agent}.{slot + 1}"
    unusable = _unusable(parts, missing)

    merge = parts.rules.current().merge
    most_waiting = None if merge is None else merge.max_waiting

    async def work(tx: Transaction) -> Launched | Nothing:
        if most_waiting is not None and len(await tx.submissions.in_states(AT_WORK, most_waiting + 1)) > most_waiting:
            return Nothing("merge_waiting", f"more than {most_waiting} submissions wait to land", tx.now + _LANDING)
        means = await spending.means(tx, parts.providers, parts.caps, parts.run_id)
        refusals = dict(means.refusals)
        for one in spending.catalogue_of(parts.providers).providers:
            refusals |= {(one.name, tier.value): unusable[one.name] for tier in one.tiers if one.name in unusable}
        claim = await claims.claim(tx, parts.policy, agent_id, task_id, None, parts.providers, unaffordable=refusals)
        if claim.task is None or claim.lease is None:
            again = min((at for at in (await tx.queue.next_change(), claim.free_at) if at is not None), default=None)
            spent_out = (
                means.spent_out if claim.reason == "budget" else None
            )  # else there is no work that it keeps back
            return Nothing(claim.reason or "no_ready_tasks", claim.explanation, again, spent_out)
        if claim.task.id in busy:
            raise _StillEnding(claim.task.id)
        route = await tx.routing.route(claim.task.id)
        catalogue = parts.providers.current()
        provider = None if route is None else catalogue.provider(route.provider)
        driver = None if provider is None else parts.drivers.get(provider.kind.value)
        if route is None or provider is None or driver is None:
            raise _Unusable(claim.explanation or "no provider is configured that could do it")
        if driver.answers and claim.task.type not in _ANSWERED:
            raise _Unusable(f"{provider.name} only answers: it reviews and validates", provider.name)
        caps = await spending.left_for(tx, parts.caps, parts.run_id, claim.task.id)
        if isinstance(caps, str):
            await lifecycle.block(tx, claim.task, caps, [], BlockAuthor.POLICY)
            await tx.alerts.raise_alert("worker_blocked", "critical", claim.task.id, f"{claim.task.id} waits: {caps}")
            return Nothing("budget", caps, tx.now)
        before = await parking.take_up(tx, claim.task, provider.name, parts.host)
        begins = await review.begins_with(tx, claim.task.id)
        fields = {
            "task_id": claim.task.id,
            "lease_token": claim.lease.token,
            "agent_id": agent_id,
            "run_id": parts.run_id,
            "provider": provider.name,
            "tier": route.tier,
            "model": route.model,
            "host": parts.host,
            "client_session": None if before is None else before.client_session,
            "workspace": None if before is None else before.workspace,
            "reserved_usd": min(
                means.reserve(provider.name, route.tier), math.inf if caps.worker is None else caps.worker
            ),
        }
        worker = await tx.workers.add(fields, key)
        await tx.events.append("worker.launched", claim.task.id, _told(worker, before))
        return Launched(
            worker=worker,
            task=claim.task,
            slot=slot,
            key=key,
            provider=provider,
            driver=driver,
            before=before,
            resume=claim.resume,
            context=claim.context,
            bases=begins.bases,
            landed=begins.landed,
            onto=begins.onto,
            caps=caps,
        )

    while True:
        try:
            return await parts.store.write(parts.caller, work)
        except _StillEnding as error:
            return Nothing("ending", f"the last worker of {error} still ends", parts.now() + _ENDING)
        except _Unusable as error:
            if error.provider is None or error.provider in unusable:
                return Nothing("budget", str(error))
            unusable[error.provider] = str(error)  # whoever else there is for that task


def _told(worker: Worker, before: Resting | None) -> dict[str, str]:
    told = {"worker": worker.worker_id, "provider": worker.provider, "tier": worker.tier, "model": worker.model}
    return told if before is None else {**told, "resumed_from": before.worker_id}


def _unusable(parts: Parts, missing: Mapping[str, str]) -> dict[str, str]:
    """By provider, why no worker of it can be launched now."""
    found: dict[str, str] = {}
    for one in spending.catalogue_of(parts.providers).providers:
        driven = one.kind.value in parts.drivers
        why = parts.homes.busy(one) if driven else "this version of wvo-mcp cannot drive it"
        found |= {} if why is None else {one.name: why}
    return {**found, **missing, **parts.without}
