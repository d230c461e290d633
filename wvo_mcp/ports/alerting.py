"""Where news of alerts goes, and how far each way has come with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a first call needs nothing of these
    from wvo_mcp.domain.news import Message


Row = dict[str, Any]


class Undelivered(Exception):
    """The channel did not take the message; the text says why and holds no secret."""


class AlertChannel(Protocol):
    """A way to people. Delivering is never done within a transaction and has a deadline of its own."""

    @property
    def name(self) -> str:
        """Under which its progress is kept."""
        ...

    async def deliver(self, message: Message) -> None:
        """Raises Undelivered. Cancelling ends it soon, with whatever it has started."""
        ...


class NewsRepository(Protocol):
    """News that channels still have to deliver. News is {news_id, change, at, alert}, where alert is its row as it is now."""

    async def last(self) -> int:
        """Number of the newest news; 0 when there is none."""
        ...

    async def behind(self, news_id: int, channel: str, limit: int) -> list[Row]:
        """News with a higher number, oldest first; `begun` is true where the channel was given earlier news of the same
        alert."""
        ...

    async def open_now(self, limit: int) -> list[Row]:
        """The newest news of each alert that is open and not acknowledged, the worst and of these the newest first."""
        ...

    async def enrol(self, channel: str, news_ids: Sequence[int]) -> None:
        """These are to be delivered, from now on."""
        ...

    async def due(self, channel: str, limit: int) -> list[Row]:
        """Enrolled news that may be tried now, oldest first, with `attempts`; never before earlier news of the same alert
        was delivered or given up."""
        ...

    async def delivered(self, channel: str, news_id: int) -> None: ...

    async def failed(self, channel: str, news_id: int, error: str, again_at: datetime | None) -> None:
        """Count an attempt; None: it was the last one."""
        ...

    async def dropped(self, channel: str, news_id: int, why: str) -> None:
        """It need not be delivered any more."""
        ...

    async def forget(self, before: datetime) -> int:
        """Delete the news of alerts that were resolved before then; how many news."""
        ...
