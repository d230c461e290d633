"""The leader's chore that keeps the prefetch queue, learns what agents can do, and tells how busy they are."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.event import Event
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Policy
from wvo_mcp.orchestration.leader.chores import Chore
from wvo_mcp.orchestration.leader.leading import Post
from wvo_mcp.orchestration.queue.prefetch import Records, look, planned
from wvo_mcp.orchestration.queue.utilisation import BEGINS, ENDS, Utilisation
from wvo_mcp.ports import Transaction

FACT = "utilisation"
"""Name of the fact that keeps `Utilisation.figures`, for whoever shows them."""

_FAILED = frozenset({"task.failed_attempt", "task.failed", "lease.expired"})
_AGAIN = timedelta(seconds=30)
"""Time alone opens gates, and no event tells of it."""
_TELL = timedelta(minutes=1)
_BACK = 1_000
"""So many of the latest events of each kind are learned from at most."""


class Prefetching:
    """One for each server. Where nothing happened since the last look, a look is one small read."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._records = Records()
        self._utilisation = Utilisation()
        self._seq = 0
        self._learned = 0
        self._looked: datetime | None = None
        self._told: tuple[datetime, dict[str, Any]] | None = None

    def chore(self) -> Chore:
        return Chore("prefetch", 0, self.run)

    async def run(self, post: Post) -> None:
        """Write only what is other than before."""
        seq, now, differs = await post.read(post.caller, self._look)
        if seq is None:
            return
        if differs:
            await post.write(post.caller, lambda tx: look(tx, self._policy, self._records))
        if self._told is None or now - self._told[0] >= _TELL:
            figures = self._utilisation.figures(now)
            if self._told is None or figures != self._told[1]:
                await post.write(post.caller, lambda tx: tx.state.put(FACT, {"at": iso(tx.now), **figures}))
            self._told = now, figures
        self._seq, self._looked = seq, now

    async def _look(self, tx: Transaction) -> tuple[int | None, datetime, bool]:
        """Up to which event (None: nothing to do), when, and whether the queue should be another one."""
        seq = await tx.events.last_seq()
        if seq == self._seq and self._looked is not None and tx.now - self._looked < _AGAIN:
            return None, tx.now, False
        if seq != self._learned:
            await self._learn(tx, await self._news(tx))
            self._learned = seq
        wanted = await planned(tx, self._policy, self._records)
        return seq, tx.now, wanted != await tx.prefetch.entries()

    async def _news(self, tx: Transaction) -> Sequence[Event]:
        found: list[Event] = []
        for kind in (BEGINS, *ENDS):
            after = max(self._learned, await tx.events.before_last(_BACK, None, kind))
            found += await tx.events.after(after, _BACK, None, kind)
        return sorted(found, key=lambda event: event.seq)

    async def _learn(self, tx: Transaction, news: Sequence[Event]) -> None:
        for event in news:
            self._utilisation.note(event)
            done = event.kind == "task.completed"
            if not done and event.kind not in _FAILED:
                continue
            task = None if event.task_id is None else await tx.tasks.find(event.task_id)
            holder = event.data.get("holder")
            if task is not None and holder is not None:
                began = task.started_at or event.at
                seconds = max(0.0, (event.at - began).total_seconds())
                self._records.note(str(holder), task.complexity, done=done, seconds=seconds)
