"""What a person asks of one run of the autopilot."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class AutopilotOptions:
    """None: as the settings have it. `max_cost` in US dollars. `task`: only this one; `once`: one worker; `wait`: for resets
    and for people, before it ends; `strict`: a task that it began and that failed or is blocked is an exit code of 1. `epic`:
    only its tasks. `without`: by provider, why it is not used. `target`: the branch that work starts from and lands in.
    `page`: the port of a page of its own, 0 for a free one, which also takes the place of one that is taken with `any_port`;
    None: no page."""

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
    page: int | None = None
    any_port: bool = False


@dataclass(frozen=True, slots=True)
class PageAt:
    """Where a page is, and the link that signs a person in, once. `note`: what else a person must know."""

    address: str
    sign_in: str | None = None
    note: str = ""
