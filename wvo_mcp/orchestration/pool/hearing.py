"""What others tell the agent of a worker is said to it while it works."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import anyio

from wvo_mcp.domain.messages import ABOUT_FILES, as_notice
from wvo_mcp.domain.worker import Worker
from wvo_mcp.orchestration.pool import prompt
from wvo_mcp.orchestration.pool.parts import Parts, patiently
from wvo_mcp.ports import Row, Transaction

_LOOK_SECONDS = 1.0
_AT_ONCE = 50


@dataclass
class Hearing:
    """Of one process. What was said counts as delivered to the session that its server has: the call after it acknowledges
    it. Killed before it could read it, it is shown it again, for that is another session."""

    parts: Parts
    worker: Worker
    _said: set[str] = field(default_factory=set[str])

    async def listen(self, may_say: Callable[[], bool], say: Callable[[str], Awaitable[None]]) -> None:
        """Until it is cancelled."""
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            if not may_say():
                continue
            rows = await patiently(lambda: self.parts.store.read(self.parts.caller, self._unread))
            if rows and may_say():
                self._said |= {row["message_id"] for row in rows}
                await say(prompt.told([as_notice(row, again=False, reader=self.worker.agent_id) for row in rows]))
                await patiently(
                    lambda rows=rows: self.parts.store.write(self.parts.caller, lambda tx: self._note(tx, rows))
                )

    async def _unread(self, tx: Transaction) -> list[Row]:
        page = await tx.messages.waiting(self.worker.agent_id, _AT_ONCE)
        found = self._unsaid(page)
        while not found and len(page) == _AT_ONCE:
            page = await tx.messages.waiting(self.worker.agent_id, _AT_ONCE, page[-1]["seq"])
            found = self._unsaid(page)
        return found

    def _unsaid(self, page: Sequence[Row]) -> list[Row]:
        return [
            row
            for row in page
            if row["kind"] not in ABOUT_FILES and row["delivered_at"] is None and row["message_id"] not in self._said
        ]

    async def _note(self, tx: Transaction, rows: list[Row]) -> None:
        session = await tx.sessions.latest_of(self.worker.agent_id)
        if session is not None:
            for row in rows:
                await tx.messages.deliver(row["message_id"], session)
