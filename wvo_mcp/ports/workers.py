"""Workers, their places and what they ask, within one transaction."""

# pyright: reportReturnType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a first call needs nothing of these
    from wvo_mcp.domain.approval import Approval
    from wvo_mcp.domain.worker import Worker

Row = dict[str, Any]


class WorkerRepository(Protocol):
    """One row for each launch."""

    async def add(self, fields: Mapping[str, Any], key: str | None = None) -> Worker:
        """With the next id (`w-12`), starting now. `key`, the secret of its connection, is kept hashed."""

    async def change(self, worker_id: str, fields: Mapping[str, Any]) -> None:
        """Write columns; `since` follows a change of the state. One that has ended keeps no key."""

    async def get(self, worker_id: str) -> Worker:
        """Raises NotFound with near matches."""

    async def by_key(self, key: str) -> Worker | None:
        """Whose connection shows this secret; None when the worker has ended or rests."""

    async def open(self, host: str | None = None) -> list[Worker]:
        """Those that have not ended, resting ones too, oldest first."""

    async def of_task(self, task_id: str, limit: int, before: int | None = None) -> list[Worker]:
        """Newest first, below the number `before`; not those that only answered something about it."""

    async def about(self, ids: Sequence[str]) -> list[Worker]:
        """All of these tasks or goals, those that only answered too, oldest first."""

    async def recent(self, limit: int, before: int | None = None) -> list[Worker]:
        """Open ones first, then those that ended last; with `before` those that ended, below this number."""

    async def totals_of(self, task_id: str) -> list[Row]:
        """What all launches for the task used, those that worked on it first, then those that only answered: {answers, runs,
        tokens_in, tokens_out, cost_usd}."""

    async def spent(
        self, run_id: str | None = None, task_id: str | None = None, since: datetime | None = None
    ) -> float:
        """US dollars of the run, of work on the task, or since then: what its workers cost, and for those that have not ended
        what is reserved, when that is more."""

    async def past_costs(self, provider: str, tier: str, limit: int) -> list[float]:
        """Of completed and failed workers of this tier that held a task, newest first."""


class WorkspaceRepository(Protocol):
    """The places of tasks. A row is {workspace_id, task_id, lease_token, host, path, branch, target, base_sha, mode, state,
    bytes, facts (JSON text), created_at, updated_at}."""

    async def add(self, fields: Mapping[str, Any]) -> Row: ...
    async def change(self, workspace_id: str, fields: Mapping[str, Any]) -> None: ...
    async def get(self, workspace_id: str) -> Row | None: ...

    async def open_of(self, task_id: str) -> Row | None:
        """The newest of the task that is neither removed nor failed."""

    async def prefetch_open_of(self, task_id: str) -> None:
        """`open_of` will be asked soon, and may be asked of the database with what comes before it."""

    async def unfinished(self, host: str) -> list[Row]:
        """Those of this host that are being made or removed."""

    async def on_host(self, host: str, limit: int) -> list[Row]:
        """Those of this host that are neither removed nor failed, oldest first."""

    async def everywhere(self, limit: int) -> list[Row]:
        """The same of all hosts."""


class ApprovalRepository(Protocol):
    async def add(self, fields: Mapping[str, Any]) -> Approval:
        """With the next id (`A-17`), pending, asked by the caller."""

    async def get(self, approval_id: str) -> Approval:
        """Raises NotFound with near matches."""

    async def find(self, approval_id: str) -> Approval | None: ...

    async def change(self, approval_id: str, fields: Mapping[str, Any]) -> Approval: ...

    async def of_task(self, task_id: str, limit: int) -> list[Approval]:
        """Newest first."""

    async def open_of_task(self, task_id: str) -> list[Approval]:
        """Pending ones, oldest first."""

    async def newest_about(self, topic: str) -> Approval | None:
        """The one that was asked last, in whatever state."""

    async def open_of_kind(self, kind: str) -> list[Approval]:
        """Pending ones, oldest first."""

    async def usable(self, kind: str, subject_hash: str) -> Approval | None:
        """The oldest that is approved, for exactly this, and not used."""

    async def waiting(self, limit: int, after: int | None = None) -> list[Approval]:
        """Those that a person can decide: what expires first comes first, then what never does, the oldest first. `after`:
        only what comes after the approval of this number, whatever became of that."""

    async def count_waiting(self) -> int: ...

    async def decided(self, limit: int, before: int | None = None) -> list[Approval]:
        """Those that nobody can decide any more, newest first, below the number `before`."""

    async def expired(self, limit: int) -> list[Approval]:
        """Pending ones whose time is over."""


@dataclass(frozen=True, slots=True)
class Violation:
    """What the policy refused, asked or watched. `kind`: command, path, tool, repository."""

    kind: str
    verdict: str
    rule: str
    subject: str
    task_id: str | None = None
    worker_id: str | None = None


class ViolationRepository(Protocol):
    async def add(self, violation: Violation) -> None: ...

    async def page(self, task_id: str | None, limit: int, before: int | None = None) -> list[Row]:
        """Newest first, below the number `before`: {seq, at, task_id, worker_id, agent_id, kind, verdict, rule, subject}."""


@dataclass(frozen=True, slots=True)
class LogPage:
    """Whole lines, and where to go on. `more`: there are further ones already."""

    lines: Sequence[str]
    next: int
    more: bool


class WorkerLogs(Protocol):
    """The raw streams of workers on this host."""

    async def read(self, log: str, after: int | None, *, raw: bool) -> LogPage:
        """A part of the log `log` from this byte on; None: its end. Readable, unless `raw`. Raises NotFound where there is no
        such log, Forbidden for a file that is not a log of ours."""
        ...
