"""What a run of the autopilot works with."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import anyio

from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.worker import ExecutionMode
from wvo_mcp.errors import StoreBusy, StoreUnavailable
from wvo_mcp.orchestration.pool.spending import Caps
from wvo_mcp.orchestration.workspaces.triggers import Guard
from wvo_mcp.ports import Clock, Directives, Tracer, WatchedStore
from wvo_mcp.ports.agents import AgentDriver
from wvo_mcp.ports.homes import Homes
from wvo_mcp.ports.places import Places
from wvo_mcp.ports.providers import Providers
from wvo_mcp.ports.rules import ProjectRules
from wvo_mcp.ports.safety import Judge
from wvo_mcp.ports.trees import Trees

logger = logging.getLogger(__name__)
_T = TypeVar("_T")
_AGAIN_SECONDS = 1.0

News = Callable[[Mapping[str, Any]], None]
"""Takes what happened: {event, task_id, worker_id, provider, tier, model, reason, until, outcome, ...}, as far as known."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one worker. Seconds and bytes."""

    run_seconds: float = 3_600.0
    idle_seconds: float = 300.0
    output_bytes: int = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """`drivers` by the kind of their provider. `logs`: the folder of the workers' raw streams."""

    store: WatchedStore
    caller: Caller
    policy: Policy
    providers: Providers
    drivers: Mapping[str, AgentDriver]
    places: Places
    homes: Homes
    judge: Judge
    trees: Trees
    rules: ProjectRules
    directives: Directives
    clock: Clock
    tracer: Tracer
    host: str
    run_id: str
    logs: Path
    guard: Guard | None = None
    caps: Caps = field(default_factory=Caps)
    limits: Limits = field(default_factory=Limits)
    without: Mapping[str, str] = field(default_factory=dict[str, str])
    """By provider, why this run does not use it."""
    mode: ExecutionMode = ExecutionMode.INTERACTIVE
    news: News = field(default=lambda _: None)
    heard: Callable[[], None] = field(default=lambda: None)
    """A worker lives: leases are kept."""

    @property
    def pool_agent(self) -> str:
        return f"auto-{self.host}"

    def now(self) -> datetime:
        return self.clock.now()


async def patiently(call: Callable[[], Awaitable[_T]]) -> _T:
    """What `call` returns, tried again while the store is away: workers go on meanwhile."""
    while True:
        try:
            return await call()
        except (StoreBusy, StoreUnavailable) as error:
            logger.warning("the store is tried again: %s", error.message)
        await anyio.sleep(_AGAIN_SECONDS)
