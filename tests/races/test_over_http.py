"""Clients of one server over HTTP that work a store empty together; the server is killed and comes back."""

import random
from collections.abc import Callable
from functools import partial

import pytest

from tests.races.drain import Agent, Ledger, drain, seed_tasks
from tests.support.history import Limits
from tests.support.http_client import HttpClient, HttpServer
from tests.support.invariants import verify
from tests.support.scale import sized
from tests.support.stdio_client import HANDSHAKE, MODERN, Gone
from tests.support.workspace import Workspace


class HttpAgent(Agent):
    """It keeps its name: where the server may die, it goes on with what it holds."""

    def __init__(
        self,
        server: HttpServer,
        dies: bool,
        workspace: Workspace,
        name: str,
        ledger: Ledger,
        *,
        seed: int,
        mortal: bool,
    ) -> None:
        super().__init__(workspace, name, ledger, seed=seed, mortal=dies)
        self._server = server
        self._era = random.Random(seed).choice((HANDSHAKE, MODERN))

    def _start(self) -> None:
        self.client = HttpClient(self._server.base, era=self._era, agent_id=self.name)
        while not self._ledger.finished.is_set():
            try:
                self.client.open()
                return
            except Gone:
                self._ledger.moved.wait(0.1)


@pytest.mark.timeout(600)
@pytest.mark.requirement("CLAIM-1", "CORE-1", "DASH-5")
@pytest.mark.full_on_postgres
def test_sixteen_clients_of_one_server_complete_every_task_exactly_once(workspace: Workspace) -> None:
    workspace.settings = {"WVO_AUTOPILOT_WIP_LIMIT": "16"}
    count = sized(full=1_000, short=200)
    seed_tasks(workspace, count, seed=count)

    with HttpServer(workspace) as server:
        ledger = drain(workspace, count, agents=16, seconds=500, make=partial(HttpAgent, server, False))

    history = verify(workspace.source, Limits(store=16, agent=1))
    assert set(history.completions.values()) == {1}
    assert history.kinds["task.claimed"] == ledger.answers["complete_task"] == count
    assert 1 < history.most_in_progress <= 16


@pytest.mark.timeout(600)
@pytest.mark.requirement("CLAIM-3", "CORE-11", "DASH-5")
@pytest.mark.full_on_postgres
def test_nothing_is_lost_or_done_twice_while_the_server_is_killed_and_started_again(workspace: Workspace) -> None:
    workspace.settings = {"WVO_AUTOPILOT_WIP_LIMIT": "8"}
    count = sized(full=300, short=80)
    seed_tasks(workspace, count, seed=count)

    with HttpServer(workspace) as server:

        def blow() -> None:
            server.kill()
            server.start()

        blows: list[Callable[[], object]] = [blow] * 4
        make = partial(HttpAgent, server, True)
        ledger = drain(workspace, count, agents=8, seconds=500, blows=blows, make=make)

    history = verify(workspace.source, Limits(store=8, agent=1))
    assert set(history.completions.values()) == {1}
    assert history.completions.total() == count
    assert history.kinds["task.claimed"] == count, "whoever held a task went on with it"
    assert "lease.expired" not in history.kinds
    assert ledger.answers["repeated"] > 0
    assert "Traceback" not in workspace.logged()
