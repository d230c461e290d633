"""What is remembered of errors."""

# pyright: reportReturnType=false

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from wvo_mcp.domain.pattern import Category, Found, Pattern
from wvo_mcp.domain.signature import Signature


class PatternRepository(Protocol):
    """The rows of `error_patterns`, the index of their words, and `pattern_uses`."""

    async def of(self, signature: Signature) -> Pattern | None:
        """The one with exactly this signature."""

    async def add(self, signature: Signature, fields: Mapping[str, Any]) -> Pattern:
        """With the next id (`P-12`); its words are indexed. There is none with this signature yet."""

    async def change(self, pattern: Pattern, fields: Mapping[str, Any]) -> Pattern:
        """It was used now: how long it is kept is counted anew."""

    async def alike(
        self, signature: Signature, limit: int, least: float, category: Category | None = None
    ) -> list[Found]:
        """The most alike first, none below `least`. A bounded number of the rarest words, of patterns by each, and of patterns
        that are compared, however many there are."""

    async def met(self, task_id: str, pattern_id: str, failed_as: str, share: float) -> None:
        """The task met it, or is offered it, for the pattern `failed_as`. What helped before is open again; what did not stays
        so."""

    async def open_of(self, task_id: str) -> list[tuple[Pattern, str, float]]:
        """Patterns with a solution that this task has met or was offered and whose outcome is open, with `failed_as` and
        `share`: an index look-up."""

    async def judged_of(self, task_id: str) -> set[str]:
        """Ids of those that did not help this task."""

    async def judge(self, task_id: str, pattern_id: str, outcome: str) -> None: ...
    async def tasks_of(self, pattern_id: str, limit: int) -> list[str]:
        """Tasks that met it or were offered it, the newest first."""

    async def page(self, after: int, limit: int) -> list[Pattern]:
        """With a solution, in the order of their numbers, behind `after`."""

    async def forget(self, now: datetime, most: int, batch: int) -> int:
        """Remove those whose time is over, and, of more than `most`, those whose time is over first: at most `batch`, and how
        many."""

    async def count(self) -> int: ...
