"""Programs of vendors that are asked one thing: they read, answer in JSON, and do nothing."""

# pyright: reportReturnType=false

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Generic[T]):
    """`read` makes the answer of what was said, or gives what is wrong with it as a sentence for who answers. `schema` is of
    that answer, and stands in the prompt as well. `about`: the id of the task or run that it is of; `review_id`: what its
    row in `workers` is found by. `complexity`: as of a task, 1 to 10. `folder`: what it may look at, None: nothing. `doubts`:
    what is asked of a readable answer, once, for a better one; who has no better one is taken at the first."""

    prompt: str
    schema: Mapping[str, Any]
    read: Callable[[str], T | str]
    provider: str
    about: str
    review_id: str
    complexity: int = 5
    doubts: Callable[[T], str | None] = field(default=lambda _: None)
    folder: Path | None = None
    seconds: float = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Generic[T]):
    """`text` as it was said; `repaired`: at the second time."""

    answer: T
    text: str
    worker_id: str
    model: str
    cost_usd: float
    repaired: bool = False


class Why(StrEnum):
    UNABLE = "unable"
    """It cannot be launched, and that does not pass by itself: no program, no login, no such provider."""
    LATER = "later"
    """A limit, no capacity, or no money left for it now."""
    UNREADABLE = "unreadable"
    """Twice it was not what was asked for."""
    LATE = "late"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """`reason` is a sentence for people; `text` what was said last."""

    why: Why
    reason: str
    text: str = ""
    worker_id: str | None = None
    cost_usd: float = 0.0


class Answering(Protocol):
    """What it costs is in `workers`, in the run's and the day's limits and in the budgets of providers, as of any worker."""

    async def able(self) -> Mapping[str, NoAnswer | None]:
        """By provider that is configured and enabled: None, or why it could not be asked now."""
        ...

    async def ask(self, question: Question[T]) -> Answered[T] | NoAnswer:
        """One program, one session, no server of ours, no key, no leave for anything. What cannot be read is asked for once
        more there. Its row is settled whatever happens, also when the caller is cancelled."""
        ...
