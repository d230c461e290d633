"""Leases and who holds them."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from wvo_mcp.domain.instant import Instant


class Lease(BaseModel):
    """The right to work on a task: `token` only ever grows per task; send it with every later write."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    token: int = Field(description="Fencing token.")
    expires_at: Instant = Field(description="Renewed by the server while you are connected.")


@dataclass(frozen=True, slots=True)
class Caller:
    """One connection of a client: the agent it works as and the session that its leases are bound to."""

    agent_id: str
    session_id: str
    provider: str | None = None
    client: str | None = None
    capabilities: tuple[str, ...] = ()
    durable: bool = False
    """True for a session that no process lock stands for (the command line's)."""
    person: bool = False
    """True when a human's command is carried out."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits that decisions keep to; durations in seconds."""

    wip_limit: int = 3
    agent_wip_limit: int = 1
    lease_seconds: int = 600
    grace_seconds: int = 60
    epics: frozenset[str] | None = None
    """The epics that this server gives work from; None is all of them, and tasks without an epic as well."""

    def serves(self, epic_id: str | None) -> bool:
        return self.epics is None or epic_id in self.epics
