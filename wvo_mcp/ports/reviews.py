"""What somebody who did not write it says of work: its rows, its files, and what is shown to a reviewer."""

# pyright: reportReturnType=false

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a first call needs nothing of these
    from wvo_mcp.domain.review import Review
    from wvo_mcp.ports.checkpoints import Difference


class ReviewRepository(Protocol):
    """The rows of `reviews`, within one transaction."""

    async def add(self, fields: Mapping[str, Any]) -> Review:
        """With the next id (`R-12`), in the state asked unless `fields` say otherwise."""

    async def change(self, review_id: str, fields: Mapping[str, Any]) -> Review: ...

    async def get(self, review_id: str) -> Review:
        """Raises NotFound with those that are open."""

    async def last_round(self, task_id: str) -> int:
        """0 when there was none."""

    async def of_round(self, task_id: str, round: int) -> list[Review]:
        """In the order in which they were asked."""

    async def of_commit(self, task_id: str, commit: str) -> list[Review]:
        """All that were answered of this commit, in the order of their answers."""

    async def of_task(self, task_id: str, limit: int) -> list[Review]:
        """Newest first."""

    async def open_of_task(self, task_id: str) -> list[Review]: ...

    async def to_do(self, limit: int) -> list[Review]:
        """Asked and taken by nobody, the longest asked first."""

    async def page(self, limit: int, before: int | None = None) -> list[Review]:
        """Open ones, oldest first, then the others, newest first; with `before` only others, below this number."""

    async def overdue(self, limit: int) -> list[Review]:
        """Running ones whose time is over."""

    async def warned(self, before: datetime, limit: int) -> list[Review]:
        """One row of each round that held work and warned before then, is the last of its task, and whose task is pending."""

    async def unreviewed(self, since: datetime, limit: int) -> list[str]:
        """Tasks in progress that were claimed before then and of which no review was asked since."""

    async def last_of_milestone(self, task_id: str, milestone_id: str) -> bool:
        """Does no other task of the milestone remain to be worked on?"""


class ReviewFiles(Protocol):
    """What was asked and answered, as a file that people read. Not within a transaction."""

    async def write(self, review_id: str, text: str) -> str:
        """Redacted and bounded; the path, relative to the folder of the state. What is old or too much is removed."""

    async def read(self, review_id: str) -> str | None:
        """None where it was not written here, or has been removed."""


class Commits(Protocol):
    """Of ROOT's repository. Not within a transaction."""

    async def between(self, base: str | None, commit: str, most: int) -> Difference | None:
        """What the commit has beyond the base (None: beyond its parent), in at most so many characters. None where this
        repository does not have them."""


class Copies(Protocol):
    """For who only reads. Not within a transaction."""

    def of(self, commit: str, name: str) -> AbstractAsyncContextManager[Path | None]:
        """A folder with the files of the commit, as long as the block lasts; None where this repository does not have it."""
