"""Servers on three hosts work one PostgreSQL on a fourth empty, while links are cut, servers killed, and one clock is wrong."""

import os
import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.races.drain import Agent, Ledger, kill_one, seed_tasks
from tests.support.databases import looked_at
from tests.support.history import Limits
from tests.support.hosts import Hosts, hosts, need
from tests.support.invariants import verify
from tests.support.linear import judged
from tests.support.recording import recorded
from tests.support.stdio_client import Refused
from tests.support.waiting import eventually, throughout
from tests.support.workspace import REPOSITORY, Workspace, some_tasks
from wvo_mcp.store.postgres.address import RETRY_SECONDS

__all__ = ["hosts"]

pytestmark = [pytest.mark.drill, pytest.mark.requirement("SCALE-2")]

TASKS = 2_000
SERVERS_ON_EACH = 3
CUTS = 5
KILLS = 5
STALLED_SECONDS = 240.0
"""How long no task may be done. A busy machine may take long over all of them: 345 s were measured at four times the load
that two cores carry."""
KILL_SECONDS = 8.0
SKEW = timedelta(minutes=10)

_LIBRARIES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/local/lib/faketime/libfaketime.so.1")


def wrong_clock(offset: timedelta) -> dict[str, str]:
    """Settings under which a process reads a wall clock that is off; durations are as ever."""
    found = [path for pattern in _LIBRARIES for path in Path("/").glob(pattern.lstrip("/"))]
    need("faketime: libfaketime is not installed; ./scripts/test installs it" if not found else None)
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": f"{offset.total_seconds():+.0f}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": f"{REPOSITORY / 'tests' / 'support' / 'faked_time'}{os.pathsep}{REPOSITORY}",
    }


@pytest.fixture
def urls(hosts: Hosts) -> Iterator[tuple[str, str]]:
    with hosts.database() as found:
        yield found


@pytest.fixture
def places(hosts: Hosts, urls: tuple[str, str], tmp_path: Path) -> Iterator[list[Workspace]]:
    """A workspace on each host, all of one store; the clock of the last is ten minutes ahead."""
    made: list[Workspace] = []
    for number in range(3):
        folder = tmp_path / f"host{number}"
        place = Workspace(folder / "workspace", folder / "logs", WVO_DATABASE_URL=urls[0])
        place.enter = hosts.enter(number)
        made.append(place)
    made[2].settings |= wrong_clock(SKEW)
    yield made
    for place in made:
        place.close()


class Remote(Agent):
    """An agent whose database may be away for a while: then it asks again, for the very same."""

    def _start(self) -> None:
        while True:
            try:
                super()._start()
            except AssertionError as error:
                # Nothing is served while the host is cut off; whoever starts a server then has to start it again.
                if "cannot serve" not in str(error):
                    raise
                self._ledger.count("not served")
                if self._ledger.finished.is_set():
                    return
            else:
                return

    def _ask(self, tool: str, **arguments: Any) -> dict[str, Any] | None:
        while True:
            calls = self._calls
            try:
                return super()._ask(tool, **arguments)
            except Refused as refused:
                if refused.code not in ("store_unavailable", "store_busy"):
                    raise
                if self._ledger.finished.is_set():
                    return None
                # The answer may have been lost after the commit: the same request must not do it twice.
                self._calls = calls


@pytest.mark.full
@pytest.mark.timeout(900)
def test_many_tasks_survive_cuts_kills_and_a_wrong_clock_on_three_hosts(
    hosts: Hosts, urls: tuple[str, str], places: list[Workspace]
) -> None:
    agents = SERVERS_ON_EACH * len(places)
    for place in places:
        place.settings |= {
            "WVO_AUTOPILOT_WIP_LIMIT": str(agents),
            "WVO_LEASE_SECONDS": "60",
            "WVO_LEASE_GRACE_SECONDS": "1",
        }
    seed_tasks(places[0], TASKS, seed=TASKS)
    victim = places[0].server("victim")  # whoever is killed later may be between two tasks, each time
    assert victim.call("claim_task")["task"] is not None
    victim.kill()
    ledger = Ledger()
    team = [Remote(places[number % 3], f"agent-{number}", ledger, seed=number, mortal=True) for number in range(agents)]
    began = time.monotonic()
    ledger.expect(agent.name for agent in team)
    for agent in team:
        agent.start()

    def cut_once_all_work() -> None:
        # On a fast machine a host that is cut off earlier, and for long, comes back to an empty queue.
        while not ledger.finished.wait(0.1) and len(hosts_of_completions(urls[1])) < len(team):
            pass
        cut_and_mend(hosts, ledger, random.Random(11))

    chaos = threading.Thread(target=cut_once_all_work)
    chaos.start()

    done = watched(urls[1], team, hosts, ledger, random.Random(7))

    seconds = time.monotonic() - began
    ledger.finished.set()
    chaos.join(30)
    for agent in team:
        agent.join(60)
    assert not ledger.wrong, ledger.wrong
    assert done == TASKS, f"{done} of {TASKS} tasks in {seconds:.0f} s; {hosts.cuts} cuts, {dict(ledger.answers)}"
    with looked_at(urls[1]) as database:
        violations = judged(recorded(log for place in places for log in place.logs.glob("history-*.jsonl")), database)
    assert not violations, "\n".join(map(str, violations[:20]))
    history = verify(urls[1], Limits(store=agents, agent=1))
    assert set(history.completions.values()) == {1}
    assert history.completions.total() == TASKS
    assert hosts.cuts >= CUTS
    assert ledger.answers["killed"] >= KILLS
    assert refused(ledger) > 0
    assert history.takeovers > 0
    assert len(hosts_of_completions(urls[1])) == len(team)
    print(  # noqa: T201 - the figures of the drill, shown with -s
        f"{TASKS} tasks in {seconds:.0f} s; {hosts.cuts} cuts, {history.takeovers} takeovers, {dict(ledger.answers)}"
    )


def cut_and_mend(hosts: Hosts, ledger: Ledger, chance: random.Random) -> None:
    """One host after the other loses its link: for less and for more than a lease's grace, and once for longer than a
    server tries again by itself."""
    while not ledger.finished.is_set():
        number = chance.randrange(3)
        hosts.cut(number)
        if hosts.cuts == 1:
            ledger.finished.wait(RETRY_SECONDS + 5)
            while not refused(ledger) and not ledger.finished.wait(0.1):
                pass
        else:
            ledger.finished.wait(chance.uniform(0.5, 5))
        hosts.mend(number)
        ledger.finished.wait(chance.uniform(2, 6))


def refused(ledger: Ledger) -> int:
    """How often somebody was told that the database cannot be reached."""
    return ledger.answers["store_unavailable"] + ledger.answers["not served"]


def watched(url: str, team: list[Remote], hosts: Hosts, ledger: Ledger, chance: random.Random) -> int:
    """Kill a server every few seconds until all is done or nothing goes on; how many tasks are done.

    On a fast machine the work is over before enough was broken: then the agents go on asking for more of it until then.
    """

    def over() -> bool:
        return done >= TASKS and hosts.cuts >= CUTS and ledger.answers["killed"] >= KILLS

    until = time.monotonic() + STALLED_SECONDS
    next_kill = time.monotonic() + KILL_SECONDS
    done = mark = 0
    with psycopg.connect(url, autocommit=True) as database:
        while not over() and not ledger.finished.is_set() and time.monotonic() < until:
            ledger.finished.wait(0.1)
            before = done
            ((done,),) = database.execute("SELECT n FROM counters WHERE name = 'done'").fetchall()
            until = time.monotonic() + STALLED_SECONDS if done > before else until
            # On a slow machine servers that are killed by the clock would never come to do anything.
            may = done > mark or done >= TASKS
            if (may and time.monotonic() >= next_kill) or done >= mark + TASKS // 8:
                killed = kill_one(team, chance)
                ledger.answers["killed"] += killed
                next_kill = time.monotonic() + KILL_SECONDS
                mark = done if killed else mark
    return done


def hosts_of_completions(url: str) -> set[str]:
    """Agents, whatever life they were in, that completed something."""
    with psycopg.connect(url) as database:
        rows = database.execute(
            "SELECT DISTINCT split_part(agent_id, '.', 1) FROM events WHERE kind = 'task.completed'"
        )
        return {name for (name,) in rows}


@pytest.mark.parametrize(
    "offset",
    [pytest.param(SKEW, id="ahead", marks=pytest.mark.full), pytest.param(-SKEW, id="behind", marks=pytest.mark.full)],
)
def test_a_host_whose_clock_is_wrong_neither_takes_a_lease_nor_loses_one(
    hosts: Hosts, urls: tuple[str, str], places: list[Workspace], offset: timedelta
) -> None:
    places[2].settings |= wrong_clock(offset)
    for place in places:
        place.settings |= {"WVO_LEASE_SECONDS": "12", "WVO_LEASE_GRACE_SECONDS": "2"}
    right, wrong = places[0].server("right"), places[2].server("wrong")
    right.call("create_tasks", some_tasks("A", "B"))

    ours, theirs = right.call("claim_task"), wrong.call("claim_task")

    assert {ours["task"]["id"], theirs["task"]["id"]} == {"A", "B"}
    for claim in (ours, theirs):
        until = datetime.fromisoformat(claim["lease"]["expires_at"])
        assert abs(until - datetime.now(UTC)) < SKEW / 4, "by the clock of the database, which is that of this process"

    def kept() -> bool:
        """Both servers renew; nobody else gets anything, for longer than a lease lasts."""
        found = [server.call("claim_task", {"agent_id": "other"})["task"] for server in (right, wrong)]
        return found == [None, None]

    throughout(kept, 15, every=1)
    for server, claim in ((right, ours), (wrong, theirs)):
        held = {"task_id": claim["task"]["id"], "lease_token": claim["lease"]["token"]}
        assert server.call("complete_task", {**held, "summary": "done"})["task"]["status"] == "done"
    verify(urls[1])


def test_a_host_that_is_cut_off_loses_its_lease_and_learns_it_when_it_is_back(
    hosts: Hosts, urls: tuple[str, str], places: list[Workspace]
) -> None:
    for place in places:
        place.settings |= {"WVO_LEASE_SECONDS": "30", "WVO_LEASE_GRACE_SECONDS": "1"}
    cut_off, near = places[0].server("cut-off"), places[1].server("near")
    near.call("create_tasks", some_tasks("A"))
    claim = cut_off.call("claim_task")
    hosts.cut(0)

    taken = eventually(lambda: near.call("claim_task")["task"], 180, every=0.5)

    assert taken["id"] == "A"
    hosts.mend(0)
    held = {"task_id": "A", "lease_token": claim["lease"]["token"], "summary": "too late"}
    with pytest.raises(Refused, match="stale_lease"):
        insist(cut_off, held)
    near.call("complete_task", {"task_id": "A", "summary": "done"})
    verify(urls[1])


def insist(server: Any, held: dict[str, Any]) -> None:
    """Complete, and again while the network is still coming back."""
    while True:
        try:
            server.call("complete_task", held)
        except Refused as refused:
            if refused.code != "store_unavailable":
                raise
        else:
            return
