"""One leader at a time, on a stopped clock; and whatever the order of their steps, never two that act."""

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import pytest

from tests.support.bench import ANN, BOB, Bench
from tests.support.sessions import an_agent
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import StoreUnavailable
from wvo_mcp.orchestration.keeping import end
from wvo_mcp.orchestration.leader import (
    LEASE_SECONDS,
    RENEW_SECONDS,
    TICK_SECONDS,
    Candidate,
    LeaderTerm,
    Overtaken,
)
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.ports.store import SOON
from wvo_mcp.store.sqlite.store import SqliteStore

pytestmark = [pytest.mark.anyio, pytest.mark.both_stores]
T = TypeVar("T")


def candidate(bench: Bench, caller: Caller, store: Store | None = None) -> Candidate:
    return Candidate(store or bench.store, lambda: caller, bench.clock)


async def seated(one: Candidate) -> LeaderTerm:
    term = await one.seek()
    assert term is not None
    return term


async def note(term: LeaderTerm) -> None:
    """Something that only a leader may write: who wrote it, under which token."""

    async def writing(tx: Transaction) -> None:
        await tx.state.put("notes", [*(await tx.state.get("notes") or []), [term.caller.session_id, term.token]])

    await term.write(term.caller, writing)


async def notes(bench: Bench) -> list[list[str | int]]:
    return await bench.read(lambda tx: tx.state.get("notes")) or []


def test_a_frozen_leader_is_followed_within_three_intervals() -> None:
    assert LEASE_SECONDS <= 3 * RENEW_SECONDS
    assert TICK_SECONDS < RENEW_SECONDS


async def test_one_of_two_leads_and_the_other_follows_at_once_when_it_dies(bench: Bench) -> None:
    first, second = candidate(bench, ANN), candidate(bench, BOB)

    assert await first.seek()
    assert not await second.seek()
    bench.clock.advance(LEASE_SECONDS - 1)
    assert await first.seek()
    bench.clock.advance(LEASE_SECONDS - 1)
    assert not await second.seek()
    bench.servers.kill("ann/1")
    assert await second.seek()
    tokens = await bench.sql("SELECT session_id, token FROM leaders")

    assert tokens == [{"session_id": "bob/1", "token": 2}]


async def test_a_leader_that_paused_for_too_long_no_longer_leads(bench: Bench) -> None:
    first, second = candidate(bench, ANN), candidate(bench, BOB)
    assert await first.seek()
    bench.clock.advance(LEASE_SECONDS)
    assert first.term is None
    assert await second.seek()

    assert not await first.seek()


async def test_a_follower_looks_again_just_when_the_lease_of_the_other_ends(bench: Bench) -> None:
    first, second = candidate(bench, ANN), candidate(bench, BOB)
    await seated(first)

    assert not await second.seek()
    assert second.pause == TICK_SECONDS
    bench.clock.advance(LEASE_SECONDS - 0.5)
    assert not await second.seek()
    assert 0.5 < second.pause < 0.6
    bench.clock.advance(second.pause)

    assert await second.seek()


async def test_the_post_is_renewed_at_a_third_of_its_lease_and_not_written_before(bench: Bench) -> None:
    first = candidate(bench, ANN)
    term = await seated(first)
    before = await bench.sql("SELECT * FROM leaders")
    bench.clock.advance(RENEW_SECONDS - 0.1)
    assert await first.seek() is term
    assert await bench.sql("SELECT * FROM leaders") == before

    bench.clock.advance(0.1)

    assert await first.seek() is term
    assert await bench.sql("SELECT * FROM leaders") != before


async def test_a_leader_that_was_overtaken_writes_nothing_and_passes_no_check(bench: Bench) -> None:
    first, second = candidate(bench, ANN), candidate(bench, BOB)
    old = await seated(first)
    await note(old)
    bench.clock.advance(LEASE_SECONDS)
    new = await seated(second)

    with pytest.raises(Overtaken):
        await note(old)
    with pytest.raises(Overtaken):
        await old.check()
    await new.check()
    await note(new)

    assert await notes(bench) == [["ann/1", 1], ["bob/1", 2]]
    assert old.lost


async def test_a_leader_whose_lease_ran_out_does_not_act_even_when_nobody_followed(bench: Bench) -> None:
    first = candidate(bench, ANN)
    old = await seated(first)
    bench.clock.advance(LEASE_SECONDS)

    with pytest.raises(Overtaken):
        await note(old)

    await note(await seated(first))
    assert await notes(bench) == [["ann/1", 1]]


async def test_an_old_term_stays_over_when_the_same_server_leads_again(bench: Bench) -> None:
    first, second = candidate(bench, ANN), candidate(bench, BOB)
    old = await seated(first)
    bench.clock.advance(LEASE_SECONDS)
    await seated(second)
    bench.clock.advance(LEASE_SECONDS)
    again = await seated(first)

    with pytest.raises(Overtaken):
        await note(old)

    await note(again)
    assert await notes(bench) == [["ann/1", 3]]


async def test_a_server_that_ends_hands_the_post_over_without_a_wait(bench: Bench) -> None:
    first, second = candidate(bench, ANN), candidate(bench, BOB)
    old = await seated(first)

    await end(bench.store, ANN, bench.policy)

    assert (await seated(second)).token == 2
    with pytest.raises(Overtaken):
        await old.check()


async def test_a_store_out_of_reach_ends_the_term_where_it_is_held_too(bench: Bench) -> None:
    class Cut:
        """The store, until it is cut off."""

        reachable = True

        async def wait_for_change(self, seconds: float, *, within: float = SOON) -> bool:
            return await bench.store.wait_for_change(seconds, within=within)

        async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
            if not self.reachable:
                raise StoreUnavailable("cut off")
            return await bench.store.read(caller, work)

        async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
            if not self.reachable:
                raise StoreUnavailable("cut off")
            return await bench.store.write(caller, work, keep=keep)

    cut = Cut()
    first = candidate(bench, ANN, cut)
    await seated(first)
    cut.reachable = False
    bench.clock.advance(RENEW_SECONDS)
    with pytest.raises(StoreUnavailable):
        await first.seek()
    assert first.term is not None

    bench.clock.advance(LEASE_SECONDS - RENEW_SECONDS)

    assert first.term is None


async def test_status_tells_who_leads_and_whether_it_lives(bench: Bench) -> None:
    assert (await bench.call("status"))["leader"] is None
    await bench.create({"title": "anything"})
    await seated(candidate(bench, ANN))

    assert (await bench.call("status"))["leader"] == {
        "session_id": "ann/1",
        "agent_id": "ann",
        "token": 1,
        "until": "2026-03-02T09:00:15.000Z",
        "alive": True,
    }

    bench.servers.kill("ann/1")
    assert (await bench.call("status"))["leader"]["alive"] is False


async def forget_all_but_the_last(bench: Bench) -> None:
    last = (await notes(bench))[-1:]
    await bench.write(lambda tx: tx.state.put("notes", last))


class Gated:
    """A store that stops before each transaction until its turn comes, so that a test decides the order of all of them."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._turn = anyio.Event()
        self._stopped = anyio.Event()

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        await self._wait()
        return await self._bench.store.read(caller, work)

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        await self._wait()
        return await self._bench.store.write(caller, work, keep=keep)

    async def wait_for_change(self, seconds: float, *, within: float = SOON) -> bool:
        return await self._bench.store.wait_for_change(seconds, within=within)

    async def _wait(self) -> None:
        self._stopped.set()
        await self._turn.wait()
        self._turn = anyio.Event()

    async def step(self) -> None:
        """Let one transaction happen, and come back when the next one is about to begin."""
        self._stopped = anyio.Event()
        self._turn.set()
        await self._stopped.wait()

    async def arrived(self) -> None:
        """The first transaction is about to begin."""
        await self._stopped.wait()


@asynccontextmanager
async def contenders(bench: Bench, *callers: Caller) -> AsyncGenerator[dict[str, Gated]]:
    """Servers that seek to lead and write under it, for ever, one transaction at a step."""
    gates = {caller.session_id: Gated(bench) for caller in callers}

    async def contend(caller: Caller) -> None:
        one = candidate(bench, caller, gates[caller.session_id])
        while True:
            term = await one.seek()
            if term is not None:
                try:
                    await term.check()
                    await note(term)
                except Overtaken:
                    continue

    async with anyio.create_task_group() as tasks:
        for caller in callers:
            tasks.start_soon(contend, caller)
        for gate in gates.values():
            await gate._stopped.wait()
        yield gates
        tasks.cancel_scope.cancel()


STEPS = ("ann/1", "bob/1", "time passes")


async def test_in_every_order_of_steps_each_term_has_one_leader_and_none_acts_later(
    bench: Bench,
) -> None:
    """All schedules of seven steps by two servers and the clock: look, taking, check and write of each in any order. (Of five
    on PostgreSQL, where each transaction takes longer.)"""
    terms = 0
    depth = 7 if isinstance(bench.store, SqliteStore) else 5
    callers = [ANN, BOB]
    async with contenders(bench, *callers) as gates:
        # One run after the other on one store: each begins where the last one stopped, in the middle of whatever it was.
        for schedule in itertools.product(STEPS, repeat=depth):
            for step in schedule:
                if step in gates:
                    await gates[step].step()
                else:
                    bench.clock.advance(LEASE_SECONDS / 2)
            written = await notes(bench)
            assert [token for _, token in written] == sorted(int(token) for _, token in written)
            holders = {(token, who) for who, token in written}
            assert len({token for token, _ in holders}) == len(holders)
            terms += len(holders)
            await forget_all_but_the_last(bench)
    assert terms > 3**depth / 4


async def test_three_servers_that_die_and_return_in_any_order_keep_to_it_too(bench: Bench) -> None:
    callers = [ANN, BOB, an_agent("cyd")]
    names = [caller.session_id for caller in callers]
    deeds = [*names, "time passes", *(f"kill {name}" for name in names)]
    async with contenders(bench, *callers) as gates:
        for schedule in itertools.product(deeds, repeat=4 if isinstance(bench.store, SqliteStore) else 3):
            for deed in schedule:
                if deed in gates:
                    await gates[deed].step()
                elif deed == "time passes":
                    bench.clock.advance(LEASE_SECONDS * 0.6)
                else:
                    # Its lock is gone although it goes on: the worst that can be told of a server.
                    for name in names:
                        bench.servers.revive(name)
                    bench.servers.kill(deed.removeprefix("kill "))
            written = await notes(bench)
            assert [token for _, token in written] == sorted(int(token) for _, token in written)
            holders = {(token, who) for who, token in written}
            assert len({token for token, _ in holders}) == len(holders)
            await forget_all_but_the_last(bench)
