"""What the next holder of a task needs to go on."""

from pydantic import BaseModel, ConfigDict

from wvo_mcp.domain.instant import Instant


class Checkpoint(BaseModel):
    """One link of a task's chain; `seq` counts from 1, `parent_id` is the link before."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    id: str
    seq: int
    parent_id: str | None = None
    agent_id: str | None = None
    summary: str
    next_steps: str | None = None
    progress: int | None = None
    files: tuple[str, ...] = ()
    created_at: Instant
