"""What the core needs of the world, as Protocols with their obligations: a docstring is the whole body of a method.

Repositories are reached through a `Transaction`; every method of theirs belongs to that one transaction. Methods are
coroutines so that a networked store may wait; the embedded one never suspends, and an operation may await nothing else.
"""

# ruff: noqa: F401 - what the others import from here
# pyright: reportUnusedImport=false
from wvo_mcp.ports.records import Row
from wvo_mcp.ports.store import Store, Transaction, WatchedStore
from wvo_mcp.ports.telemetry import SILENT, Tracer
from wvo_mcp.ports.work import ClaimState, Outline
from wvo_mcp.ports.world import (
    Clock,
    Directives,
    Liveness,
    NoHistory,
    Probe,
    Recorded,
    Reports,
    RoadmapFiles,
    RoadmapHistory,
)
