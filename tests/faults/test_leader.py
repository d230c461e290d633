"""Who leads after the leader was killed or frozen, and what a frozen one does when it wakes; real processes, real clock."""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, cast

import pytest

from tests.support.clock import seconds_between
from tests.support.databases import Source, looked_at, written
from tests.support.scale import FULL
from tests.support.stdio_client import StdioClient
from tests.support.stores import looked_for
from tests.support.waiting import eventually
from tests.support.workspace import REPOSITORY, Workspace, some_tasks
from wvo_mcp.domain.instant import iso
from wvo_mcp.orchestration.leader import LEASE_SECONDS, RENEW_SECONDS, TICK_SECONDS

logger = logging.getLogger(__name__)

MARGIN = 30.0
"""Seconds that a busy machine may take to wake a process and let it write. How soon a candidate looks is proven on a stopped
clock (tests/orchestration/leader)."""


class Clerk:
    """A process of `tests.faults.office`, and what it has told: [seconds on the machine's clock, deed, token, time]."""

    def __init__(self, folder: Path, url: str | None, name: str) -> None:
        self.name = name
        self._pause = folder / f"pause-{name}"
        with (folder / f"{name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "tests.faults.office", str(folder), name, *([url] if url else [])),
                cwd=REPOSITORY,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._source = cast("IO[bytes]", self._process.stdout)
        self._held = b""
        self.told: list[list[Any]] = []

    def until(self, deed: str, *, after: float = 0, seconds: float = 60) -> list[Any]:
        """The first line that tells this deed, at a time behind `after`."""
        deadline = time.monotonic() + seconds
        while True:
            for line in self.told:
                if line[1] == deed and line[0] > after:
                    return line
            left = deadline - time.monotonic()
            assert left > 0, f"{self.name} did not tell {deed!r}: {self.told[-5:]}"
            if select.select([self._source], [], [], left)[0]:
                chunk = os.read(self._source.fileno(), 1 << 16)
                assert chunk, f"{self.name} is gone: {self.told[-5:]}"
                *lines, self._held = (self._held + chunk).split(b"\n")
                self.told += [json.loads(line) for line in lines]

    def pause(self) -> float:
        """Stop it between the reading and the writing of its job; when that was."""
        self._pause.touch()
        at = self.until("pauses", after=self.told[-1][0])[0]
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)
        return at

    def wake(self) -> float:
        """When that was: everything that it tells is later."""
        at = time.monotonic()
        self._process.send_signal(signal.SIGCONT)
        return at

    def kill(self) -> float:
        """SIGKILL; when that was."""
        at = time.monotonic()
        self._process.kill()
        self._process.wait(60)
        return at

    def close(self) -> None:
        self._process.kill()
        self._process.wait(60)
        self._source.close()


class Office:
    """A store of either kind and the clerks on it."""

    def __init__(self, folder: Path, url: str | None) -> None:
        self.folder = folder
        self.url = url
        self._hired: list[Clerk] = []

    def hire(self, *names: str) -> list[Clerk]:
        """The first of them leads."""
        for name in names:
            self._hired.append(Clerk(self.folder, self.url, name))
            self._hired[-1].until("open")
            self._hired[0].until("signed")
        return self._hired

    def book(self) -> list[list[Any]]:
        with looked_at(looked_for(self.folder, self.url)) as database:
            return json.loads(database.value("SELECT value FROM facts WHERE name = 'book'"))

    def leader(self) -> tuple[str, int]:
        with looked_at(looked_for(self.folder, self.url)) as database:
            row = database.one("SELECT session_id, token FROM leaders WHERE role = 'background'")
        return row["session_id"], row["token"]

    def lease(self) -> str:
        """When the leader's lease ends."""
        with looked_at(looked_for(self.folder, self.url)) as database:
            return database.value("SELECT expires_at FROM leaders WHERE role = 'background'")

    def shorten_lease(self, seconds: int) -> None:
        """The lease of a leader that cannot renew it ends so soon, instead of LEASE_SECONDS after its renewal."""
        with written(looked_for(self.folder, self.url)) as execute:
            now = datetime.now(UTC)
            execute("UPDATE leaders SET expires_at = ?", iso(now + timedelta(seconds=seconds)))

    def close(self) -> None:
        for clerk in self._hired:
            clerk.close()


@pytest.fixture
def office(store_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Generator[Office]:
    opened = Office(tmp_path, request.getfixturevalue("store_url") if store_kind == "postgres" else None)
    yield opened
    opened.close()


def never_ends(source: Source, leader: str) -> None:
    """However long a busy machine takes, this leader is not followed because its lease is over."""
    with written(source) as execute:
        execute("UPDATE leaders SET expires_at = '2999-01-01T00:00:00.000Z' WHERE session_id = ?", leader)


@pytest.mark.requirement("HEALTH-1")
def test_a_killed_leader_is_followed_though_its_lease_goes_on(office: Office) -> None:
    ann, bob = office.hire("ann", "bob")
    killed_at = ann.kill()
    never_ends(looked_for(office.folder, office.url), "ann")
    followed = bob.until("signed")

    logger.info("%.2f s from the death of a leader to the first deed of the next", followed[0] - killed_at)
    assert followed[2] == 2
    assert office.leader() == ("bob", 2)


@pytest.mark.full_on_postgres
@pytest.mark.requirement("HEALTH-1")
def test_a_frozen_leader_is_replaced_in_three_intervals_and_changes_nothing_later(office: Office) -> None:
    ann, bob = office.hire("ann", "bob")
    frozen_at = ann.pause()
    if not FULL:
        office.shorten_lease(seconds=1)
    ends = office.lease()
    followed = bob.until("signed")
    logger.info("%.2f s from the freezing of a leader to the first deed of the next", followed[0] - frozen_at)
    assert seconds_between(ends, followed[3]) >= 0, "nobody else's before it is over"
    assert LEASE_SECONDS <= 3 * RENEW_SECONDS
    assert followed[0] - frozen_at < LEASE_SECONDS + MARGIN
    assert followed[2] == 2

    woken_at = ann.wake()

    assert ann.until("gave up", after=woken_at)[2] == 1
    bob.until("signed", after=woken_at + 2 * TICK_SECONDS)
    assert [line[1] for line in ann.told if line[0] > woken_at] == ["gave up"]
    assert office.leader() == ("bob", 2)
    signatures = office.book()
    assert signatures == sorted(signatures, key=lambda signature: signature[1])
    assert {tuple(signature) for signature in signatures} == {("ann", 1), ("bob", 2)}


@pytest.mark.full
@pytest.mark.drill
def test_leaders_that_are_frozen_in_turn_never_write_under_an_old_token(office: Office) -> None:
    hired = office.hire("ann", "bob", "cyd")
    by_name = {clerk.name: clerk for clerk in hired}
    for _ in range(3):
        name, token = office.leader()
        now = time.monotonic()
        by_name[name].until("signed", after=now)
        by_name[name].pause()
        others = [clerk for clerk in hired if clerk.name != name]
        next_one = eventually(lambda token=token: office.leader() if office.leader()[1] > token else None)
        assert next_one[0] in {clerk.name for clerk in others}
        woken_at = by_name[name].wake()
        assert by_name[name].until("gave up", after=woken_at)[2] == token
        by_name[next_one[0]].until("signed", after=woken_at)

    signatures = office.book()
    assert [token for _, token in signatures] == sorted(token for _, token in signatures)
    assert len({token for _, token in signatures}) == len({tuple(signature) for signature in signatures}) == 4


@pytest.mark.full_on_postgres
@pytest.mark.requirement("HEALTH-1")
def test_servers_follow_each_other_as_leader_when_one_is_killed_or_ends(workspace: Workspace) -> None:
    workspace.settings = {"WVO_TOOLSETS": "core,ops"}
    first = workspace.server("first")
    first.call("create_tasks", some_tasks("A"))
    first_leader = eventually(lambda: leading(first))
    second, third = workspace.server("second"), workspace.server("third")
    for server, name in ((second, "B"), (third, "C")):
        server.call("create_tasks", some_tasks(name))

    first.kill()
    first.wait()
    never_ends(workspace.source, first_leader["session_id"])
    next_leader = eventually(lambda: other_than(first_leader, leading(second)))
    assert next_leader["token"] == 2
    ending, staying = (second, third) if next_leader["agent_id"] == "second" else (third, second)

    assert ending.end() == 0

    never_ends(workspace.source, next_leader["session_id"])
    last = eventually(lambda: other_than(next_leader, leading(staying)))
    assert last["token"] == 3
    assert last["agent_id"] == ("third" if staying is third else "second")


def leading(client: StdioClient) -> dict[str, Any] | None:
    found = client.call("status")["leader"]
    return found if found and found["alive"] else None


def other_than(before: dict[str, Any], now: dict[str, Any] | None) -> dict[str, Any] | None:
    return now if now and now["session_id"] != before["session_id"] else None
