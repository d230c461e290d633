"""Routes within one transaction: what all servers know of the providers is read once, each kind of task decided once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.providers.catalogue import Catalogue, Mode, Tier
from wvo_mcp.domain.providers.routing import RouteDecision, RouteRequest, decide
from wvo_mcp.domain.providers.state import MODE_FACT, Presence, RoutingState
from wvo_mcp.domain.task import Status, Task, TaskType
from wvo_mcp.errors import InvalidInput
from wvo_mcp.ports import Outline, Transaction
from wvo_mcp.ports.providers import Providers

_CHOSEN = "routing_mode_chosen"


@dataclass(frozen=True, slots=True)
class Route:
    """Who should do a task, as `claim_task` returns it."""

    provider: str
    tier: str
    model: str
    reason: str

    @classmethod
    def of(cls, decision: RouteDecision) -> "Route | None":
        chosen = decision.chosen
        return None if chosen is None else cls(chosen.provider, chosen.tier.value, chosen.model, decision.reason)


class Router:
    """For one claim. Without `providers` nothing is routed, and nothing withheld."""

    def __init__(
        self,
        tx: Transaction,
        providers: Providers | None,
        agent_id: str,
        unaffordable: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        self._tx = tx
        self._unaffordable = unaffordable
        self.providers = providers
        self.agent_id = agent_id
        self.presence: Mapping[str, Presence] = {}
        self.catalogue: Catalogue | None = None
        self._state: RoutingState | None = None
        self._known: dict[RouteRequest, RouteDecision] = {}
        self._kinds: dict[tuple[Tier, frozenset[str], bool], bool] = {}
        self.asks_within = timedelta(days=1)
        """How long a person may take to answer what a refusal asks."""
        self.problem: str | None = None
        """Why there is no catalogue: the file is broken and no good one was read yet. Then nothing is begun: it may hold
        limits that could not be kept."""
        if providers is None:
            return
        try:
            self.catalogue = providers.current()
            self._of_models = self.catalogue.model_capabilities
            self.presence = providers.presence()
        except InvalidInput as error:
            self.problem = error.message

    async def prefetch_reads(self) -> None:
        if self.catalogue is not None:
            await self._tx.routing.prefetch_reads(self.agent_id)

    async def decide(self, task: Task) -> RouteDecision | None:
        """The route of the task for this agent; None when nothing is routed here."""
        if self.catalogue is None:
            return None
        return await self.judge(await self._request(self.catalogue, task))

    async def judge(self, request: RouteRequest) -> RouteDecision | None:
        """The same for what is only described."""
        if self.catalogue is None:
            return None
        state = await self.state()
        # Tasks that were never claimed differ in nothing that a decision depends on.
        nameless = request.sticky is None and self.catalogue.task_limits.unlimited
        alike = replace(request, task_id=None) if nameless else request
        decision = self._known.get(alike)
        if decision is None:
            decision = self._known[alike] = decide(self.catalogue, self.presence, state, request)
        return decision

    async def may(self, outline: Outline) -> bool:
        """Are there means for such a task? Judged by what withholds and by nothing that only orders, so that many tasks are
        of one kind; limits of the task itself are left to `decide`."""
        catalogue = self.catalogue
        if catalogue is None:
            return True
        capabilities = self._of_models.intersection(outline.capabilities)
        at_home = catalogue.local_labels.intersection(outline.labels)
        kind = (catalogue.band(outline.complexity).tier, capabilities, bool(at_home))
        if kind not in self._kinds:
            wanted, labels = tuple(sorted(capabilities)), tuple(sorted(at_home))
            caller = self._tx.caller
            request = RouteRequest(
                outline.complexity, TaskType.OTHER, wanted, labels, own=caller.provider, attached=not caller.worker
            )
            decision = decide(catalogue, self.presence, await self.state(), request)
            self._kinds[kind] = not decision.withheld
        return self._kinds[kind]

    async def state(self) -> RoutingState:
        """What all servers know of the providers, read once."""
        if self._state is None:
            state = await self._tx.routing.state(self.agent_id)
            self._state = replace(state, unaffordable=self._unaffordable) if self._unaffordable else state
        return self._state

    async def again(self, task: Task, avoid: str | None = None) -> RouteDecision | None:
        """The route after a failure, by what is known now; not to the provider to avoid. Another attempt should keep to the
        budgets; when none allows it, running work goes on."""
        self._state = None
        self._known.clear()
        catalogue = self.catalogue
        if catalogue is None:
            return None
        if avoid is not None:
            others = [replace(one, enabled=one.enabled and one.name != avoid) for one in catalogue.providers]
            catalogue = replace(catalogue, providers=tuple(others))
        request = await self._request(catalogue, task)
        state = await self.state()
        first = decide(catalogue, self.presence, state, replace(request, running=False))
        return first if first.chosen is not None else decide(catalogue, self.presence, state, request)

    async def _request(self, catalogue: Catalogue, task: Task) -> RouteRequest:
        caller = self._tx.caller
        request = RouteRequest.of(task, caller.provider, attached=not caller.worker)
        if task.lease_token == 0:
            return request
        before = await self._tx.routing.route(task.id)
        used = request.used if catalogue.task_limits.unlimited else await self._tx.routing.used_by_task(task.id)
        sticky = None if before is None or before.worked is None else (before.worked, before.tier)
        request = replace(request, sticky=sticky, used=used, running=task.status is Status.IN_PROGRESS)
        return replace(request, waiting=await self._waiting(task)) if caller.worker else request

    async def _waiting(self, task: Task) -> str | None:
        """The provider of a session of this pool that rests and began the task, or whose work came back; of programs that we
        launch only."""
        from wvo_mcp.domain.worker import RESTING, Outcome, WorkerState  # only a pool needs it
        from wvo_mcp.orchestration.tasks import review

        for last in await self._tx.workers.of_task(task.id, 1):
            ours = last.agent_id.rpartition(".")[0] == self.agent_id.rpartition(".")[0]
            waits = last.state in RESTING and (last.state is not WorkerState.LIMITED or last.resets_at is not None)
            if not waits and last.outcome is Outcome.COMPLETED:
                waits = await review.returned(self._tx, task.id) is not None
            if waits and last.client_session is not None and ours:
                return last.provider
        return None

    async def take(self, task: Task, lease_token: int, decision: RouteDecision | None) -> Route | None:
        """The attempt that begins goes this way; the route for its agent, None where it does the work itself."""
        if self.catalogue is None or decision is None or decision.chosen is None:
            return None
        chosen = decision.chosen
        if decision.worker is None and not decision.elsewhere:
            # Only advice: the first report names who does the work, and until then it counts in no budget.
            chosen = replace(chosen, estimate=0)
        unreported = chosen.estimate if self.catalogue.count_unreported else 0
        await self._tx.routing.take(
            task.id, lease_token, self.agent_id, chosen, decision.reason, unreported=unreported, worker=decision.worker
        )
        return Route.of(decision) if decision.elsewhere else None


async def choose_mode(tx: Transaction, mode: Mode) -> None:
    """All servers keep to it from the commit on, and after a restart."""
    await tx.sessions.ensure()
    before = await tx.state.get(MODE_FACT)
    await tx.state.put(MODE_FACT, mode.value)
    chosen = {"mode": mode.value, "by": tx.caller.agent_id, "at": iso(tx.now)}
    await tx.state.put(_CHOSEN, chosen)
    await tx.events.append("routing.mode", None, {"mode": mode.value, "before": before})


async def mode_since(tx: Transaction) -> str | None:
    """Who chose the mode and when; None when it was never chosen."""
    chosen = await tx.state.get(_CHOSEN)
    return None if chosen is None else f"{chosen['by']} at {chosen['at']}"
