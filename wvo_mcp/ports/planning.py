"""Goals and their plans, and what a person accepts of them."""

# pyright: reportReturnType=false

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Row = dict[str, Any]


class OrchestrationRepository(Protocol):
    """The rows of `orchestrations`: {orchestration_id, seq, goal, state (planning, planned, running, done, failed, stopped),
    tier, plan, plan_hash, facts, created_at, updated_at}; plan and facts as they were given."""

    async def add(self, fields: Mapping[str, Any]) -> Row:
        """With the next id (`O-3`)."""

    async def get(self, orchestration_id: str) -> Row | None: ...

    async def change(self, orchestration_id: str, fields: Mapping[str, Any]) -> Row: ...

    async def listed(self, limit: int) -> list[Row]:
        """The newest first."""


class AcceptedCommands(Protocol):
    """Commands that prove tasks and that no file of the project states, kept where agents do not write."""

    async def accept(self, commands: Mapping[str, Sequence[str]]) -> None:
        """They, and no others that were accepted before, run for these tasks from now on, beside those of the project. Raises
        InvalidInput, StoreUnavailable; a repeat changes nothing."""
