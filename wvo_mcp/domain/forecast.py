"""What a forecast says of a milestone or an epic, and what to cut where a due date is in danger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, Field

from wvo_mcp.domain.instant import Instant


class GroupForecast(BaseModel, frozen=True, defer_build=True):
    """A milestone or an epic. Without times when some of it is stuck, so that it never ends by itself."""

    id: str
    title: str
    open: int
    stuck: int
    p50_at: Instant | None
    p90_at: Instant | None
    due_at: Instant | None = None
    chance: float | None = Field(default=None, description="To be done when it is due.")


@dataclass(frozen=True, slots=True)
class LastForecast:
    """The last forecast of a server: of the plan, and of each milestone by its id."""

    at: datetime
    p50_at: datetime | None
    p90_at: datetime | None
    milestones: Mapping[str, GroupForecast]


class CutTask(BaseModel, frozen=True, defer_build=True):
    id: str
    business_value: float


class CutAdvice(BaseModel, frozen=True, defer_build=True):
    """What to cancel so that a milestone's chance reaches the wanted one; not `enough`: all that could be cut is too little."""

    milestone_id: str
    chance: float
    chance_after: float
    enough: bool
    tasks: list[CutTask] = Field(description="To be cancelled together, least business value first; 50 at most.")
    count: int
