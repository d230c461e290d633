"""What the core needs of the world, as Protocols with their obligations.

Repositories are reached through a `Transaction`; every method of theirs belongs to that one transaction. Methods are
coroutines so that a networked store may wait; the embedded one never suspends, and an operation may await nothing else.
"""

from wvo_mcp.ports.health import HealthRepository, Probe, Reports
from wvo_mcp.ports.records import (
    AlertRepository,
    EventRepository,
    MemoryRepository,
    ReplayRepository,
    SessionRepository,
    StateRepository,
    TraceRepository,
)
from wvo_mcp.ports.store import Store, Transaction, WatchedStore
from wvo_mcp.ports.telemetry import SILENT, Span, Tracer
from wvo_mcp.ports.work import ClaimState, GraphRepository, Outline, QueueRepository, Row, TaskRepository
from wvo_mcp.ports.world import Clock, Directives, Liveness, NoHistory, Recorded, RoadmapFiles, RoadmapHistory

__all__ = [
    "SILENT",
    "AlertRepository",
    "ClaimState",
    "Clock",
    "Directives",
    "EventRepository",
    "GraphRepository",
    "HealthRepository",
    "Liveness",
    "MemoryRepository",
    "NoHistory",
    "Outline",
    "Probe",
    "QueueRepository",
    "Recorded",
    "ReplayRepository",
    "Reports",
    "RoadmapFiles",
    "RoadmapHistory",
    "Row",
    "SessionRepository",
    "Span",
    "StateRepository",
    "Store",
    "TaskRepository",
    "TraceRepository",
    "Tracer",
    "Transaction",
    "WatchedStore",
]
