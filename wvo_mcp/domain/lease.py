"""Leases and who holds them."""

from dataclasses import dataclass
from enum import IntEnum

from pydantic import BaseModel, Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.errors import Forbidden

WIP_LIMIT = 3
"""Tasks in progress at once where nothing else is set."""


class Lease(BaseModel, frozen=True, defer_build=True):
    """The right to work on a task: `token` only ever grows per task; send it with every later write."""

    token: int = Field(description="Fencing token.")
    expires_at: Instant = Field(description="Renewed by the server while you are connected.")


class Role(IntEnum):
    """What a caller may do; each may also do what those before it may."""

    VIEWER = 1
    AGENT = 2
    OPERATOR = 3
    ADMIN = 4


@dataclass(frozen=True, slots=True)
class WorkerPass:
    """What the key of a worker admits its connection to: the one task, by the one lease (contract, section 10)."""

    worker_id: str
    task_id: str
    lease_token: int
    lease_session: str = ""
    """The session that holds the lease for it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One connection of a client: the agent it works as and the session that its leases are bound to."""

    agent_id: str
    session_id: str
    provider: str | None = None
    client: str | None = None
    capabilities: tuple[str, ...] = ()
    durable: bool = False
    """True for a session without a process lock (the command line's)."""
    role: Role = Role.AGENT
    pooled: bool = True
    """False for a person who types commands: no work is kept for them."""
    worker: bool = False
    """True for what we launch: its route is who does the work."""
    admitted: WorkerPass | None = None
    """Of the connection of a worker."""
    refused: str | None = None
    """Why it may only read: what it comes from is a worker, and it shows no key that counts."""

    @property
    def restricted(self) -> bool:
        """True of what comes from a worker."""
        return self.admitted is not None or self.refused is not None

    @property
    def person(self) -> bool:
        """True when a human's command is carried out."""
        return self.role >= Role.OPERATOR

    def admit(self, needed: Role, what: str) -> None:
        """Raises Forbidden unless the caller has the role that `what` needs."""
        if self.role >= needed:
            return
        if self.refused is not None:
            people = " is for people only" if needed >= Role.OPERATOR else " changes the store"
            hint = "A worker of the autopilot uses the tools of its own wvo-mcp server, for its own task."
            raise Forbidden(f"{what}{people}. {self.refused}", hint=hint)
        if needed >= Role.OPERATOR:
            raise Forbidden(
                f"{what} is for people only; this call comes from the agent {self.agent_id}.",
                hint="Ask a person to decide, and take other work meanwhile.",
            )
        raise Forbidden(f"{what} changes the store; this caller may only read.", hint="Ask for a role that may write.")


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits that decisions keep to; durations in seconds."""

    wip_limit: int = WIP_LIMIT
    agent_wip_limit: int = 1
    lease_seconds: int = 600
    grace_seconds: int = 60
    approval_seconds: int = 86_400
    """After so long without an answer the answer is no."""
    epics: frozenset[str] | None = None
    """The epics that this server gives work from; None is all of them, and tasks without an epic as well."""

    def serves(self, epic_id: str | None) -> bool:
        return self.epics is None or epic_id in self.epics
