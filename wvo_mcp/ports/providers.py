"""Providers of models: what people configured, what this machine finds, and what all servers remember of them."""

# pyright: reportReturnType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a first call needs nothing of these
    from wvo_mcp.domain.providers.breaker import Breaker
    from wvo_mcp.domain.providers.catalogue import Catalogue, Provider
    from wvo_mcp.domain.providers.routing import Chosen
    from wvo_mcp.domain.providers.state import Presence, RoutingState, Use


class Providers(Protocol):
    """The catalogue and the machine. Only `refresh`, `look` and `check` touch files or wait; the rest may be called
    within a transaction."""

    async def refresh(self) -> None:
        """Read the file when it has changed; looks at most once a second. Must not be awaited within a transaction, and
        must have been once before anything is asked."""

    def current(self) -> Catalogue:
        """As the file had it at the last refresh; the last good one while the file is broken. Raises InvalidInput that names
        the line when there has not been a good one."""

    def problem(self) -> str | None:
        """What was wrong with the file then, in one line that names its line; None when nothing is."""

    def unaccepted(self) -> str | None:
        """What of the file makes us run or call something and waits for a person, in one line; None when nothing does."""

    def presence(self) -> Mapping[str, Presence]:
        """What was found of each provider when it was last looked for, by name. Never waits: it may be old or empty."""

    async def look(self) -> None:
        """Look for local servers and installed programs; at most 300 ms for each server, all at once."""

    async def check(self, providers: Sequence[Provider]) -> dict[str, ProviderCheck]:
        """Is the program installed, which version, is there a login? By name; runs programs, all at once, for at
        most 10 s. No secret is shown."""


@dataclass(frozen=True, slots=True)
class ProviderCheck:
    """`program` is the path or the address; None for `logged_in` when it is unknown. `how`: how it was found, such
    as the name of a variable."""

    provider: str
    program: str | None
    version: str | None
    logged_in: bool | None
    how: str
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spent:
    """One report. Tokens as the provider counts them; `counted` as the budgets do; US dollars."""

    agent_id: str
    provider: str
    tier: str
    model: str
    counted: int
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost: float = 0.0
    source: str = "report"
    task_id: str | None = None
    lease_token: int | None = None


@dataclass(frozen=True, slots=True)
class TaskRoute:
    """Where the last attempt of a task was routed; `reserved` of its estimate no report has settled, `ended_at` None while
    it runs."""

    task_id: str
    lease_token: int
    agent_id: str
    provider: str
    tier: str
    model: str
    reason: str
    reserved: int
    reported: int
    at: datetime
    ended_at: datetime | None
    worked: str | None = None
    """The provider that works on it, as far as that is known: the agent's own, or the one that a report named."""


class RoutingRepository(Protocol):
    """What is remembered of routes, usage and failures, within one transaction."""

    async def prefetch_reads(self, agent_id: str) -> None:
        """`state` will be asked for: a networked store may send the question along with the next."""

    async def state(self, agent_id: str) -> RoutingState:
        """All that a decision needs but the task."""

    async def route(self, task_id: str) -> TaskRoute | None: ...
    async def used_by_task(self, task_id: str) -> Use: ...
    async def take(
        self,
        task_id: str,
        lease_token: int,
        agent_id: str,
        chosen: Chosen,
        reason: str,
        *,
        unreported: int,
        worker: tuple[str, str] | None,
    ) -> None:
        """The attempt goes this way: its estimate is reserved until it is reported or over. Its probes are leased to it.
        It counts as one of `worker` (provider, tier), who does it; of none while that is not known."""

    async def record(self, spent: Spent) -> None:
        """Count it into every window and settle the reservation of the attempt, if it still runs, which becomes one of this
        provider."""

    async def read_until(self, transcript: str) -> int:
        """How many bytes of it are counted."""

    async def count_once(self, transcript: str, messages: Mapping[str, int]) -> set[str]:
        """Ids of those that were not counted before, and are now; the values are as `Message.ends`."""

    async def breakers(self) -> list[Breaker]: ...
    async def put_breaker(self, breaker: Breaker) -> None:
        """As it is now; `updated_at` is the time of this transaction."""

    async def prefetch_tried(self, task_id: str) -> None:
        """`tried` will be asked for after the next read: a networked store may send both together."""

    async def tried(self, task_id: str) -> list[Breaker]:
        """Breakers that a success of the task would change: those that it probes, and closed ones of its provider that have
        counted failures."""

    async def allow(self, scope: str, name: str, period: str, tokens: int, until: datetime, reason: str) -> None:
        """A person raises a limit until then."""

    async def allowed(self) -> list[dict[str, Any]]:
        """Raises that hold: scope, name, period, tokens, until, by_agent, reason, at."""

    async def minutes(self, scope: str, name: str) -> list[tuple[str, int]]:
        """(minute, tokens) within the last 60 minutes, oldest first. `scope` and `name` as a window has them."""

    async def by_agent(self, limit: int) -> list[tuple[str, Use]]:
        """Agents that used most today."""

    async def by_hour(self, since: datetime) -> list[tuple[str, str, int, float]]:
        """(hour as `2026-01-05T08`, provider, tokens, cost) from then on, oldest first."""

    async def routed_last(self, limit: int) -> list[dict[str, Any]]:
        """Routes of the tasks that were claimed last, the newest first: task_id, agent_id, provider, tier, model, reason, at,
        ended_at, worked, reported. A task is in it once."""

    async def put_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """What people and the health loop read in `provider_states`: provider, state, used, capacity, resets_at, reason."""

    async def forget(self, before: datetime) -> None:
        """Drop usage from before then; windows keep two days."""
