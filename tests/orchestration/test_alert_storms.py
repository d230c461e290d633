"""Storms of alerts: delivered some at a time, until one delivery fails."""

from typing import Any

import anyio
import pytest

from tests.support.bench import Bench
from tests.support.desk import Desk, Line
from wvo_mcp.domain.news import Message
from wvo_mcp.orchestration.leader import LEASE_SECONDS, Overtaken
from wvo_mcp.ports.world import Undelivered

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("HEALTH-3")]


class SlowLine(Line):
    """Answers when `enough` are being told at the same time; counts those that begin after `broken` was met."""

    def __init__(self, enough: int) -> None:
        super().__init__("webhook")
        self.enough = enough
        self.now = 0
        self.together = anyio.Event()

    async def deliver(self, message: Message) -> None:
        self.now += 1
        try:
            if len(self.told) >= 5:
                if self.now == self.enough:
                    self.together.set()
                with anyio.fail_after(20):
                    await self.together.wait()
            await super().deliver(message)
        finally:
            self.now -= 1


async def test_a_storm_is_delivered_in_parallel_each_once_and_stops_after_a_failure(bench: Bench) -> None:
    desk = Desk(bench, SlowLine(enough=8))
    await desk.look()
    for number in range(40):
        await desk.alert(f"storm-{number}")

    heard = await desk.look()

    assert heard[:5] == [("raised", f"storm-{number}") for number in range(5)]
    assert sorted(heard) == sorted(("raised", f"storm-{number}") for number in range(40))
    for number in range(40):
        await desk.over(f"storm-{number}")
    desk.line.broken = {f"storm-{number}" for number in range(5, 13)}
    desk.line.attempts = 0
    assert await desk.look() == [("resolved", f"storm-{number}") for number in range(5)]
    assert desk.line.attempts == 5 + 8
    assert len(await desk.look()) == 27
    desk.line.broken = set()
    bench.clock.advance(minutes=1)
    assert sorted(await desk.look()) == sorted(("resolved", f"storm-{number}") for number in range(5, 13))


async def test_one_failure_of_those_on_their_way_in_a_storm_is_enough_to_begin_no_more(bench: Bench) -> None:
    desk = Desk(bench, Line())
    await desk.look()
    for number in range(40):
        await desk.alert(f"storm-{number}")
    term = await desk.term()
    write = term.write
    together, failed, recorded = anyio.Event(), anyio.Event(), anyio.Event()
    tried: list[str] = []

    async def write_and_note(*given: Any) -> Any:
        result = await write(*given)
        if failed.is_set():
            recorded.set()
        return result

    async def deliver(message: Message) -> None:
        tried.append(message.body["data"]["alert"]["kind"])
        broken = tried[-1] == "storm-7"
        if len(tried) <= 5:
            return
        if len(tried) == 5 + 8:
            together.set()
        with anyio.fail_after(20):
            await together.wait()
            if broken:
                failed.set()
                raise Undelivered("the line is down")
            await recorded.wait()

    term.write = write_and_note  # pyright: ignore[reportAttributeAccessIssue]
    desk.line.deliver = deliver  # pyright: ignore[reportAttributeAccessIssue]
    await desk.courier.work(term)

    assert sorted(tried) == sorted(f"storm-{number}" for number in range(5 + 8))
    assert len(await bench.sql("SELECT 1 FROM alert_deliveries WHERE delivered_at IS NOT NULL")) == 5 + 7


@pytest.mark.parametrize("alerts", [1, 20])
async def test_a_defect_of_a_channel_is_named_as_it_is(bench: Bench, alerts: int) -> None:
    desk = Desk(bench, Line())
    await desk.look()
    for number in range(alerts):
        await desk.alert(f"storm-{number}")

    async def defective(message: Message) -> None:
        raise KeyError(message.id)

    desk.line.deliver = defective  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(KeyError):
        await desk.look()


async def test_a_leader_replaced_in_an_alert_storm_delivers_no_more_and_logs_it(bench: Bench) -> None:
    desk = Desk(bench, SlowLine(enough=8))
    await desk.look()
    for number in range(20):
        await desk.alert(f"storm-{number}")
    term = await desk.term()
    told: list[Message] = []

    async def overtaken_after(message: Message) -> None:
        told.append(message)
        if len(told) == 6:
            bench.clock.advance(LEASE_SECONDS + 1)

    desk.line.deliver = overtaken_after  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(Overtaken):
        await desk.courier.work(term)

    assert len(told) <= 5 + 8
    assert len(await bench.sql("SELECT 1 FROM alert_deliveries WHERE delivered_at IS NOT NULL")) == 5
