"""News of alerts on its way to people: at least once through each channel, by the leader, outside any transaction."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Literal

import anyio

from wvo_mcp.domain import news
from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.redaction import redact
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm
from wvo_mcp.ports import Row, Transaction
from wvo_mcp.ports.world import AlertChannel, Undelivered

_LOOK_SECONDS = 2.0
_FORGET_SECONDS = 3_600.0
_BATCH = 50
_CALM = 5
"""So many pieces of news, each of another alert, are brought one after the other; what is beyond them is a storm."""
_AT_ONCE = 8
"""Of a storm, so that a receiver that takes its time does not keep the last ones waiting for an hour."""
_ENROLLED = 200
"""At once, so that claims do not wait for a storm of alerts; more than is delivered by the next look."""
_ABSENT = timedelta(days=1)
"""A channel that nobody served for so long begins anew: what happened meanwhile is no news any more."""
_MARK = timedelta(minutes=10)
KEEP = timedelta(days=7)
_ERROR_CHARACTERS = 300


class Courier:
    """Takes the news to one channel.

    What is to be told is enrolled first, in one transaction with the mark of how far that went; then each is delivered
    and its fate recorded. Whoever is killed between the two delivers again, with the same id. A failed one is tried again
    later, others of other alerts meanwhile; of one alert nothing overtakes anything.
    """

    def __init__(
        self,
        channel: AlertChannel,
        least: Literal["info", "warning", "critical"],
        store: str,
        spread: Callable[[], float],
    ) -> None:
        """`store` names this store to people; `spread` gives a number from 0 to 1 for each pause."""
        self._channel = channel
        self._name = channel.name
        self._least = least
        self._store = store
        self._spread = spread
        self._fact = f"alert_channel.{self._name}"

    async def work(self, term: LeaderTerm) -> None:
        """Deliver what is due. Ends at the first failure: what is behind it is tried at the next look."""

        async def anything_new(tx: Transaction) -> bool:
            mark = await tx.state.get(self._fact)
            return mark is None or tx.now - instant(mark["at"]) > _MARK or await tx.news.last() > mark["upto"]

        if await term.read(term.caller, anything_new):
            await term.write(term.caller, self._enrol)
        rows = await term.read(term.caller, lambda tx: tx.news.due(self._name, _BATCH))
        if await self._deliver(term, rows[:_CALM], 1):
            await self._deliver(term, rows[_CALM:], _AT_ONCE)

    async def _deliver(self, term: LeaderTerm, rows: Sequence[Row], at_once: int) -> bool:
        """Some at a time, in any order: of one alert only one is ever due. None is begun after a failure; False when there was
        one."""
        left = list(reversed(rows))
        errors: list[Exception] = []
        sound = True

        async def deliver(scope: anyio.CancelScope) -> None:
            nonlocal sound
            while left and sound:
                try:
                    if not await self._delivered(term, left.pop()):
                        sound = False
                except Exception as error:  # raised below, outside of the group, which would wrap it
                    errors.append(error)
                    scope.cancel()

        async with anyio.create_task_group() as tasks:
            for _ in range(min(at_once, len(rows))):
                tasks.start_soon(deliver, tasks.cancel_scope)
        if errors:
            raise errors[0]
        return sound

    async def _enrol(self, tx: Transaction) -> None:
        mark = await tx.state.get(self._fact)
        upto = await tx.news.last()
        if mark is None or tx.now - instant(mark["at"]) > _ABSENT or mark["upto"] > upto:
            rows: Sequence[dict[str, Any]] = await tx.news.open_now(_ENROLLED)
        else:
            rows = await tx.news.behind(mark["upto"], self._name, _ENROLLED)
            upto = rows[-1]["news_id"] if rows else upto
        begun = {row["alert"]["id"] for row in rows if row.get("begun")}
        chosen: list[int] = []
        for row in rows:
            alert = row["alert"]
            if news.wanted(row, self._name, self._least, begun=alert["id"] in begun):
                chosen.append(row["news_id"])
                begun.add(alert["id"])
        await tx.news.enrol(self._name, chosen)
        await tx.state.put(self._fact, {"upto": upto, "at": iso(tx.now)})

    async def _delivered(self, term: LeaderTerm, row: Row) -> bool:
        """False when it failed, and will be tried again later."""
        news_id: int = row["news_id"]
        if row["change"] != "resolved" and row["alert"]["acknowledged_at"] is not None:
            await term.write(term.caller, lambda tx: tx.news.dropped(self._name, news_id, "acknowledged before"))
            return True
        message = news.message(row, self._store)
        await term.check()
        try:
            await self._channel.deliver(message)
        except Undelivered as error:
            why = redact(str(error))[:_ERROR_CHARACTERS]
            await term.write(term.caller, partial(self._record, row, why))
            return False
        await term.write(term.caller, partial(self._record, row, None))
        return True

    async def _record(self, row: Row, failure: str | None, tx: Transaction) -> None:
        """What became of the attempt; of channels that were given up, one alert names all."""
        if failure is None:
            await tx.news.delivered(self._name, row["news_id"])
        else:
            again_at = news.next_attempt(tx.now, row["attempts"] + 1, self._spread())
            await tx.news.failed(self._name, row["news_id"], failure, again_at)
            if again_at is not None:
                return
        before = news.dead_channels(await tx.alerts.find(news.FAILED, None))
        dead = {name: why for name, why in before.items() if name != self._name}
        if failure is not None:
            dead[self._name] = failure
        elif self._name not in before:
            return
        if not dead:
            await tx.alerts.resolve_alert(news.FAILED, None)
            return
        listed = "; ".join(f"{name}: {why}" for name, why in sorted(dead.items()))
        message = f"News of alerts was given up after {news.MOST_ATTEMPTS} attempts ({listed})."
        await tx.alerts.raise_alert(news.FAILED, "critical", None, message[:2_000], {"channels": dead})


def leader_jobs(couriers: Mapping[str, Courier]) -> tuple[LeaderJob, ...]:
    """A channel that hangs holds up no other."""
    made = [LeaderJob(f"alerts_by_{name}", _LOOK_SECONDS, courier.work) for name, courier in couriers.items()]
    return (*made, LeaderJob("forget_news", _FORGET_SECONDS, forget))


async def forget(term: LeaderTerm) -> None:
    """News of alerts that were resolved a week ago."""
    await term.write(term.caller, lambda tx: tx.news.forget(tx.now - KEEP))
