"""The store and its transactions."""

# pyright: reportReturnType=false

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol, TypeVar

from wvo_mcp.domain.lease import Caller
from wvo_mcp.ports.access import AccessRepository
from wvo_mcp.ports.patterns import PatternRepository
from wvo_mcp.ports.planning import OrchestrationRepository
from wvo_mcp.ports.providers import RoutingRepository
from wvo_mcp.ports.records import (
    AlertRepository,
    EventRepository,
    HealthRepository,
    MemoryRepository,
    NewsRepository,
    ReplayRepository,
    SessionRepository,
    StateRepository,
    TraceRepository,
)
from wvo_mcp.ports.reviews import ReviewRepository
from wvo_mcp.ports.submissions import (
    MessageRepository,
    ReservationRepository,
    SnapshotRepository,
    SubmissionRepository,
    VerificationRepository,
)
from wvo_mcp.ports.work import GraphRepository, OutlookRepository, PrefetchRepository, QueueRepository, TaskRepository
from wvo_mcp.ports.workers import (
    ApprovalRepository,
    ViolationRepository,
    WorkerRepository,
    WorkspaceRepository,
)
from wvo_mcp.ports.world import Liveness

T = TypeVar("T")

SOON = 0.05
"""Seconds after a commit."""


class Transaction(Protocol):
    """One consistent view; for writers, all or nothing. `now` never precedes the store's latest event."""

    @property
    def now(self) -> datetime: ...
    @property
    def caller(self) -> Caller: ...
    @property
    def liveness(self) -> Liveness: ...
    @property
    def tasks(self) -> TaskRepository: ...
    @property
    def queue(self) -> QueueRepository: ...
    @property
    def graph(self) -> GraphRepository: ...
    @property
    def events(self) -> EventRepository: ...
    @property
    def alerts(self) -> AlertRepository: ...
    @property
    def news(self) -> NewsRepository: ...
    @property
    def memory(self) -> MemoryRepository: ...
    @property
    def sessions(self) -> SessionRepository: ...
    @property
    def replays(self) -> ReplayRepository: ...
    @property
    def state(self) -> StateRepository: ...
    @property
    def traces(self) -> TraceRepository: ...
    @property
    def outlook(self) -> OutlookRepository: ...
    @property
    def health(self) -> HealthRepository: ...
    @property
    def prefetch(self) -> PrefetchRepository: ...
    @property
    def routing(self) -> RoutingRepository: ...
    @property
    def workers(self) -> WorkerRepository: ...
    @property
    def workspaces(self) -> WorkspaceRepository: ...
    @property
    def submissions(self) -> SubmissionRepository: ...
    @property
    def verifications(self) -> VerificationRepository: ...
    @property
    def snapshots(self) -> SnapshotRepository: ...
    @property
    def messages(self) -> MessageRepository: ...
    @property
    def reservations(self) -> ReservationRepository: ...
    @property
    def approvals(self) -> ApprovalRepository: ...
    @property
    def violations(self) -> ViolationRepository: ...
    @property
    def reviews(self) -> ReviewRepository: ...
    @property
    def orchestrations(self) -> OrchestrationRepository: ...
    @property
    def access(self) -> AccessRepository: ...
    @property
    def patterns(self) -> PatternRepository: ...


class Store(Protocol):
    """Everything that is remembered. Acknowledged writes are on disk.

    Both run `work` over a fresh transaction and give what it gives; what it raises undoes everything. `work` may await
    nothing but the transaction's repositories. Raise StoreBusy, StoreUnavailable, IncompatibleStore.
    """

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Never blocks writers and is never blocked by them."""

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        """One writer at a time; `keep` False undoes the work after it succeeded (a dry run)."""


class WatchedStore(Store, Protocol):
    """A store of which one can wait for news."""

    async def wait_for_change(self, seconds: float, *, within: float = SOON) -> bool:
        """Wait until another writer may have written since the last call returned, or until the time is over; was it the
        former? The first call of a task returns at once. Several tasks may wait; each is told of each change. Who can be told
        later than others after a commit, `within` more seconds, costs less."""
