"""One question to one program of a vendor, from its row to its end (`ports.answering.Answering`)."""

import logging
import math
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from wvo_mcp.domain.agents import AgentEvent, EventKind, Status
from wvo_mcp.domain.finding import Finding
from wvo_mcp.domain.finding import Outcome as Found
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.providers.catalogue import Provider
from wvo_mcp.domain.providers.routing import RouteDecision, RouteRequest, decide
from wvo_mcp.domain.task import TaskType
from wvo_mcp.domain.worker import Outcome, Worker, WorkerState
from wvo_mcp.errors import InvalidInput
from wvo_mcp.orchestration.pool import spending
from wvo_mcp.orchestration.pool.parts import Limits, patiently
from wvo_mcp.orchestration.pool.spending import Caps, Ledger
from wvo_mcp.orchestration.routing import breakers
from wvo_mcp.orchestration.routing.router import Router
from wvo_mcp.ports import Clock, Store, Transaction
from wvo_mcp.ports.agents import AgentDriver, AgentNotStarted, AgentRun, Answer, Launch
from wvo_mcp.ports.answering import Answered, NoAnswer, Question, T, Why
from wvo_mcp.ports.homes import Home, HomeAsk, HomeFailed, Homes
from wvo_mcp.ports.providers import Providers
from wvo_mcp.ports.trees import Trees

logger = logging.getLogger(__name__)

_MISSING_SECONDS = 60.0
_REFUSED = "You only read and answer here: nothing is written or run. Answer with what you have."
_AGAIN = (
    "Your answer could not be read. {wrong} Answer again, with the JSON object that was asked for and nothing else."
)
_SAID = 20_000
_SHOWN = 500
_LEAST = 1
"""The complexity that any model is enough for."""
_OUTCOMES = {Why.LATER: Outcome.LIMITED, Why.LATE: Outcome.KILLED, Why.UNABLE: Outcome.CRASHED}


@dataclass(frozen=True, slots=True)
class _Begun:
    """On record, without a process yet."""

    worker: Worker
    provider: Provider
    driver: AgentDriver
    ledger: Ledger
    effort: str | None


@dataclass(kw_only=True)
class Programs:
    """Implements `ports.answering.Answering`. `drivers` by the kind of their provider; `agent_id` is in the rows."""

    store: Store
    caller: Caller
    providers: Providers
    drivers: Mapping[str, AgentDriver]
    homes: Homes
    trees: Trees
    clock: Clock
    host: str
    run_id: str
    logs: Path
    agent_id: str
    caps: Caps = field(default_factory=Caps)
    limits: Limits = field(default_factory=Limits)
    without: Mapping[str, str] = field(default_factory=dict[str, str])
    """By provider, why this run does not use it."""
    _missing: Mapping[str, Finding] = field(default_factory=dict[str, Finding])
    _missing_at: float | None = None

    async def able(self) -> Mapping[str, NoAnswer | None]:
        await self.providers.refresh()
        await self._look()

        async def work(tx: Transaction) -> dict[str, NoAnswer | None]:
            names = [one.name for one in spending.catalogue_of(self.providers).providers if one.enabled]
            found = [(name, await self._routed(tx, name, 5)) for name in names]
            return {name: one if isinstance(one, NoAnswer) else None for name, one in found}

        return await self.store.read(self.caller, work)

    async def ask(self, question: Question[T]) -> Answered[T] | NoAnswer:
        await self.providers.refresh()
        await self._look()
        begun = await self.store.write(self.caller, lambda tx: self._begin(tx, question))
        if isinstance(begun, NoAnswer):
            return begun
        end: Answered[T] | NoAnswer = NoAnswer(why=Why.FAILED, reason="it was ended before it had answered")
        try:
            end = await self._asked(question, begun)
        except (HomeFailed, AgentNotStarted) as error:
            end = NoAnswer(why=Why.UNABLE, reason=f"its program could not be started: {error}")
        except OSError as error:
            end = NoAnswer(why=Why.FAILED, reason=f"{type(error).__name__}: {error}")
        finally:
            with anyio.CancelScope(shield=True):
                await self._settled(begun, end)
        return replace(end, worker_id=begun.worker.worker_id, cost_usd=begun.ledger.cost)

    async def _look(self) -> None:
        """What keeps programs from being launched, once a minute."""
        now = self.clock.steady()
        if self._missing_at is not None and now - self._missing_at < _MISSING_SECONDS:
            return
        enabled = [one for one in spending.catalogue_of(self.providers).providers if one.enabled]
        self._missing, self._missing_at = await self.homes.missing(enabled), now

    async def _routed(self, tx: Transaction, name: str, complexity: int) -> RouteDecision | NoAnswer:
        """To a tier of this provider."""
        try:
            catalogue = self.providers.current()
        except InvalidInput as error:
            return NoAnswer(why=Why.UNABLE, reason=error.message)
        provider = catalogue.provider(name)
        if provider is None or not provider.enabled or provider.kind.value not in self.drivers:
            return NoAnswer(why=Why.UNABLE, reason=f"{name} is not a provider that can be launched here")
        if name in self.without:
            return NoAnswer(why=Why.UNABLE, reason=f"{name}: {self.without[name]}")
        missing = self._missing.get(name)
        if missing is not None and missing.outcome is Found.FAIL:
            return NoAnswer(why=Why.UNABLE, reason=f"{name}: {missing.found}. {missing.remedy or ''}".strip())
        if (busy := self.homes.busy(provider)) is not None:
            return NoAnswer(why=Why.LATER, reason=busy)
        means = await spending.means(tx, self.providers, self.caps, self.run_id)
        state = replace(await tx.routing.state(self.agent_id), unaffordable=means.refusals)
        alone = replace(catalogue, providers=(provider,))
        presence = self.providers.presence()
        decision = decide(alone, presence, state, RouteRequest(complexity, TaskType.REVIEW))
        if decision.chosen is None:  # a provider that has only small models answers with those
            decision = decide(alone, presence, state, RouteRequest(_LEAST, TaskType.REVIEW))
        if decision.chosen is not None:
            return decision
        lasting = bool(decision.rejected) and all(one.lasting for one in decision.rejected)
        return NoAnswer(why=Why.UNABLE if lasting else Why.LATER, reason=decision.reason)

    async def _begin(self, tx: Transaction, question: Question[T]) -> _Begun | NoAnswer:
        decision = await self._routed(tx, question.provider, question.complexity)
        if isinstance(decision, NoAnswer):
            return decision
        chosen, provider = decision.chosen, self.providers.current().provider(question.provider)
        assert chosen is not None and provider is not None  # noqa: S101 - `_routed` has seen both
        means = await spending.means(tx, self.providers, self.caps, self.run_id)
        most = math.inf if self.caps.worker is None else self.caps.worker
        fields = {
            "task_id": question.about,
            "review_id": question.review_id,
            "lease_token": 0,  # it holds nothing
            "agent_id": self.agent_id,
            "run_id": self.run_id,
            "provider": provider.name,
            "tier": chosen.tier.value,
            "model": chosen.model,
            "host": self.host,
            "reserved_usd": min(means.reserve(provider.name, chosen.tier.value), most),
        }
        worker = await tx.workers.add(fields)
        of_task = await tx.tasks.find(question.about) is not None
        ledger = Ledger(self.providers, self.caps, worker, of_task=of_task)
        driver = self.drivers[provider.kind.value]
        return _Begun(worker, provider, driver, ledger, provider.tiers[chosen.tier].effort)

    async def _asked(self, question: Question[T], begun: _Begun) -> Answered[T] | NoAnswer:
        worker = begun.worker
        ask = HomeAsk(provider=begun.provider, task_id=_home(worker), slot=None, key=None)
        async with AsyncExitStack() as stack:
            home = await stack.enter_async_context(self.homes.open(ask))
            launch = await self._launch(question, begun, home)
            run = await stack.enter_async_context(begun.driver.start(launch))
            fields: dict[str, Any] = {"state": WorkerState.WORKING, "log": str(launch.log)}
            if not begun.driver.answers:
                self.trees.share(worker.worker_id, run.pid)
                started = await anyio.to_thread.run_sync(self.trees.started, run.pid)
                fields |= {"pid": run.pid, "pid_started": started}
            await self.store.write(self.caller, lambda tx: tx.workers.change(worker.worker_id, fields))
            with anyio.move_on_after(question.seconds):
                return await self._heard(question, begun, run)
            return NoAnswer(why=Why.LATE, reason=f"it had not answered after {question.seconds:g} s")

    async def _launch(self, question: Question[T], begun: _Begun, home: Home) -> Launch:
        """It starts in an empty folder: what stands in the one that it looks at configures and instructs no program."""
        empty = home.path / "work"
        await anyio.Path(empty).mkdir(exist_ok=True)
        return Launch(
            workspace=empty,
            home=home.path,
            prompt=question.prompt,
            server=None,
            env=home.env,
            program=begun.provider.command,
            model=begun.worker.model or None,
            effort=begun.effort,
            folders=() if question.folder is None else (question.folder,),
            budget=self.caps.worker,
            deadline=question.seconds + 60,
            output=self.limits.output_bytes,
            log=self.logs / f"{begun.worker.worker_id}.jsonl",
            schema=question.schema,
            base_url=begun.provider.base_url,
        )

    async def _heard(self, question: Question[T], begun: _Begun, run: AgentRun) -> Answered[T] | NoAnswer:
        ledger, repaired = begun.ledger, False
        first: Answered[T] | None = None
        async for event in run.events():
            if event.use is not None:
                ledger.add(event.use)
                if ledger.urgent:
                    ledger.settled(await self.store.write(self.caller, ledger.settle))
            if ledger.over is not None:
                return NoAnswer(why=Why.LATER if ledger.spent_out else Why.FAILED, reason=ledger.over)
            if event.session is not None:
                session = {"client_session": event.session}
                await self.store.write(self.caller, lambda tx, put=session: tx.workers.change(_id(begun), put))
            if event.request is not None:
                await run.answer(event.request.request_id, Answer(False, _REFUSED))
            if event.kind is not EventKind.STOP:
                continue
            if event.status is not Status.DONE:
                failed = await self._failed(begun, event)
                return first or failed
            found = question.read(event.text)
            if not isinstance(found, str):
                answered = Answered(
                    answer=found,
                    text=event.text[:_SAID],
                    worker_id=_id(begun),
                    model=begun.worker.model,
                    cost_usd=ledger.cost,
                    repaired=repaired,
                )
                doubts = None if first is not None else question.doubts(found)
                if doubts is None:
                    return answered
                first = answered
                await run.say(doubts)
                continue
            if first is not None:
                return first
            if repaired:
                return NoAnswer(why=Why.UNREADABLE, reason=found, text=event.text[:_SAID])
            repaired = True
            await run.say(_AGAIN.format(wrong=found))
        return first or NoAnswer(why=Why.FAILED, reason="it ended without an answer")

    async def _failed(self, begun: _Begun, stop: AgentEvent) -> NoAnswer:
        """What its provider failed with counts there for everybody."""
        signal, worker = stop.signal, begun.worker
        if signal is None:
            return NoAnswer(why=Why.FAILED, reason=stop.text[:_SHOWN] or "its turn failed")

        async def work(tx: Transaction) -> bool:
            router = Router(tx, self.providers, self.agent_id)
            return await breakers.failure(tx, router, worker.provider, worker.tier, signal) is not None

        limited = await self.store.write(self.caller, work)
        reason = f"{signal.kind.value.replace('_', ' ')}: {signal.message}"[:_SHOWN]
        return NoAnswer(why=Why.LATER if limited else Why.FAILED, reason=reason)

    async def _settled(self, begun: _Begun, end: Answered[T] | NoAnswer) -> None:
        outcome, reason = Outcome.COMPLETED, "it has answered"
        if isinstance(end, NoAnswer):
            outcome, reason = _OUTCOMES.get(end.why, Outcome.FAILED), end.reason

        async def work(tx: Transaction) -> None:
            await begun.ledger.settle(tx, last=True)
            fields = {"state": WorkerState.ENDED, "outcome": outcome, "reason": reason[:_SHOWN], "ended_at": tx.now}
            await tx.workers.change(_id(begun), {**fields, "reserved_usd": 0.0})

        await patiently(lambda: self.store.write(self.caller, work))
        self.trees.forget(_id(begun))
        try:
            await self.homes.forget(_home(begun.worker))
        except OSError as error:
            logger.warning("the home of %s stays: %s", _id(begun), error)


def _id(begun: _Begun) -> str:
    return begun.worker.worker_id


def _home(worker: Worker) -> str:
    """No task has such an id."""
    return f"answer {worker.worker_id}"
