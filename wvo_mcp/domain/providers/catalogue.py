"""What `state/providers.yaml` says: providers, their tiers, limits and costs, and the rules that choose among them.

Every name of a provider or a model is data; the code knows only kinds of programs and interfaces.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from wvo_mcp.domain.task import TaskType


class Tier(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


TIERS = (Tier.LOW, Tier.MEDIUM, Tier.HIGH)


class Place(StrEnum):
    """Where a provider's models run: does data leave the machine?"""

    CLOUD = "cloud"
    LOCAL = "local"


class Mode(StrEnum):
    """Which places may be used."""

    CLOUD = "cloud"
    LOCAL = "local"
    HYBRID = "hybrid"


class OnLimit(StrEnum):
    """What becomes of a worker's task when its provider's limit is reached."""

    WAIT = "wait"
    """The same session goes on after the reset."""
    SWITCH = "switch"
    """Another provider takes over in the same worktree, from the last checkpoint."""


class ProviderKind(StrEnum):
    """What speaks for a provider: a command-line program, or an HTTP interface."""

    CLAUDE = "claude"
    CODEX = "codex"
    GEMINI = "gemini"
    OLLAMA = "ollama"
    OPENAI = "openai"
    """Any server that speaks the OpenAI interface."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Tokens that may be used in any 60 minutes, and in a calendar day (UTC); None is no limit."""

    hourly: int | None = None
    daily: int | None = None

    @property
    def unlimited(self) -> bool:
        return self.hourly is None and self.daily is None


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Cost:
    """US dollars per million tokens: input, output, input read from the provider's cache."""

    tokens_in: float = 0.0
    tokens_out: float = 0.0
    tokens_cached: float = 0.0

    def of(self, tokens_in: int, tokens_out: int, tokens_cached: int = 0) -> float:
        """US dollars."""
        total = tokens_in * self.tokens_in + tokens_out * self.tokens_out + tokens_cached * self.tokens_cached
        return total / 1_000_000


FREE = Cost()


@dataclass(frozen=True, slots=True)
class Model:
    """What a provider has for a tier."""

    name: str
    cost: Cost = FREE
    limits: Limits = NO_LIMITS
    effort: str | None = None
    """How hard it should think, in the words of its program; None: the program's own."""

    @property
    def priced(self) -> bool:
        """Was a cost given, though it be zero?"""
        return self.cost is not FREE


@dataclass(frozen=True, slots=True)
class Provider:
    """`capabilities` are those that its models have; a task that wants one that any provider names goes to who has it.

    Its key is in the environment under `key_env`, or `key_command` prints it; neither is ever stored.
    """

    name: str
    kind: ProviderKind
    place: Place
    tiers: Mapping[Tier, Model]
    enabled: bool = True
    capabilities: frozenset[str] = frozenset()
    limits: Limits = NO_LIMITS
    command: tuple[str, ...] = ()
    base_url: str | None = None
    key_env: str | None = None
    key_command: tuple[str, ...] = ()
    share: float | None = None
    """Of all attempts, in percent, as a target; None: that of its place, divided among its peers."""

    def tier_for(self, wanted: Tier) -> Tier | None:
        """The least of its tiers that is enough."""
        if wanted in self.tiers:
            return wanted
        return next((tier for tier in TIERS[TIERS.index(wanted) :] if tier in self.tiers), None)


@dataclass(frozen=True, slots=True)
class Band:
    """Tasks up to this complexity want this tier, and go to the preferred providers when they can."""

    up_to: int
    tier: Tier
    prefer: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A whole `providers.yaml`."""

    providers: tuple[Provider, ...]
    mode: Mode = Mode.HYBRID
    """Until another is chosen while the servers run."""
    bands: tuple[Band, ...] = (Band(4, Tier.LOW), Band(7, Tier.MEDIUM), Band(10, Tier.HIGH))
    types: Mapping[TaskType, Place] = field(
        default_factory=lambda: {
            TaskType.GENERATION: Place.CLOUD,
            TaskType.PARSING: Place.CLOUD,
            TaskType.VALIDATION: Place.LOCAL,
            TaskType.REVIEW: Place.LOCAL,
        }
    )
    """Where work of a type goes in hybrid mode, when it can; other types go by the shares."""
    shares: Mapping[Place, float] = field(default_factory=lambda: {Place.CLOUD: 70.0, Place.LOCAL: 30.0})
    """Targets of hybrid mode, in percent of attempts."""
    local_labels: frozenset[str] = frozenset({"data:local"})
    """Labels of tasks whose data must not leave the machine."""
    estimates: Mapping[Tier, int] = field(
        default_factory=lambda: {Tier.LOW: 20_000, Tier.MEDIUM: 60_000, Tier.HIGH: 200_000}
    )
    """Tokens that an attempt is expected to take."""
    cached_weight: float = 0.1
    """How much a cached token counts into the budgets."""
    count_unreported: bool = False
    """Does an attempt of which nothing was reported count as its estimate?"""
    agent_limits: Limits = NO_LIMITS
    task_limits: Limits = NO_LIMITS
    warn_at: float = 0.8
    on_limit: OnLimit = OnLimit.WAIT
    wait_at_most: timedelta = timedelta(hours=6)
    """For a limit that lasts longer, another provider takes over if one may."""
    daily_cost: float | None = None
    """US dollars that workers may cost in a calendar day (UTC)."""
    digest: str = ""
    """Of the text; empty for the packaged defaults."""

    @property
    def patience(self) -> timedelta:
        """How long a session waits for its own provider."""
        return self.wait_at_most if self.on_limit is OnLimit.WAIT else timedelta(0)

    def provider(self, name: str) -> Provider | None:
        return next((one for one in self.providers if one.name == name), None)

    def band(self, complexity: int) -> Band:
        """The band of a task; the last one when none reaches as far."""
        return next((band for band in self.bands if complexity <= band.up_to), self.bands[-1])

    @property
    def model_capabilities(self) -> frozenset[str]:
        """Capabilities that are a matter of models; all others are a matter of agents."""
        return frozenset(name for one in self.providers for name in one.capabilities)

    def counted(self, tokens_in: int, tokens_out: int, tokens_cached: int) -> int:
        """Tokens as the budgets count them."""
        return tokens_in + tokens_out + round(tokens_cached * self.cached_weight)
