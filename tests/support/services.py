"""A container of chosen parts: each is a field, so that `replace` gives the same with another one."""

from dataclasses import dataclass, field, fields

from tests.support.fixed_rules import FixedRules
from tests.support.providers import FixedProviders
from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.providers.catalogue import Catalogue
from wvo_mcp.operations.container import Container
from wvo_mcp.orchestration.health.loop import HealthLoop
from wvo_mcp.orchestration.jobs import LongWork
from wvo_mcp.orchestration.plan.graphs import PlanGraphs
from wvo_mcp.ports import (
    SILENT,
    Clock,
    Directives,
    NoHistory,
    RoadmapFiles,
    RoadmapHistory,
    Tracer,
    WatchedStore,
)
from wvo_mcp.ports.backend import Backups, Snapshots
from wvo_mcp.ports.providers import Providers
from wvo_mcp.ports.rules import ProjectRules
from wvo_mcp.ports.world import Exchange


@dataclass(frozen=True)
class Services(Container):
    """What a test leaves out is not configured; nothing is routed where it names no providers."""

    store: WatchedStore
    policy: Policy
    roadmap: RoadmapFiles
    directives: Directives
    backups: Backups | None = None
    snapshots: Snapshots | None = None
    history: RoadmapHistory = field(default_factory=NoHistory)
    tracer: Tracer = SILENT
    health: HealthLoop | None = None
    exchange: Exchange | None = None
    providers: Providers | None = field(default_factory=lambda: FixedProviders(Catalogue(())))
    jobs: LongWork = field(default_factory=LongWork)
    rules: ProjectRules = field(default_factory=FixedRules)
    graphs: PlanGraphs = field(default_factory=PlanGraphs)

    def __post_init__(self) -> None:
        types: dict[type | str, object] = {
            WatchedStore: self.store,
            Policy: self.policy,
            RoadmapFiles: self.roadmap,
            Directives: self.directives,
            Backups: self.backups,
            Snapshots: self.snapshots,
            RoadmapHistory: self.history,
            Tracer: self.tracer,
            HealthLoop: self.health,
            Exchange: self.exchange,
            Providers: self.providers,
            LongWork: self.jobs,
            ProjectRules: self.rules,
            PlanGraphs: self.graphs,
            Clock: self.health and self.health.clock,
        }
        assert len(types) == len(fields(self)) + 1
        object.__setattr__(self, "_parts", Container(types)._parts)
