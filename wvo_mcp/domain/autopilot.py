"""What a person asks of one run of the autopilot."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class AutopilotOptions:
    """None: as the settings have it. `max_cost` in US dollars. `task`: only this one; `once`: one worker; `wait`: for resets
    and for people, before it ends; `strict`: a task that it began and that failed or is blocked is an exit code of 1. `epic`:
    only its tasks. `without`: by provider, why it is not used. `target`: the branch that work starts from and lands in."""

    agents: int | None = None
    max_tasks: int | None = None
    max_cost: float | None = None
    task: str | None = None
    once: bool = False
    wait: bool = True
    strict: bool = False
    epic: str | None = None
    without: Mapping[str, str] = field(default_factory=dict[str, str])
    target: str | None = None
