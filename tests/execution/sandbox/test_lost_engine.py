"""An engine that hangs or goes away in the middle: the call ends, and the container is removed once it is back."""

import gc
import os
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from tests.support.sandboxes import Sandboxed
from wvo_mcp.errors import NotConfigured
from wvo_mcp.execution.sandbox import engine as engines
from wvo_mcp.execution.sandbox.engine import Engine

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SBX-4")]


class Between:
    """A socket before that of the engine, which passes everything on until it is told otherwise."""

    def __init__(self, path: Path) -> None:
        self.path, self.real = path, Engine(os.environ).socket
        self.hangs_at = b"\0"
        """A request with these bytes, and what follows on its connection, reaches nobody."""
        self._pairs: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(50)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._listening.accept()
                theirs = socket.socket(socket.AF_UNIX)
                self._pairs += [ours, theirs]
                theirs.connect(self.real)
                for pair in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._passed, args=pair, daemon=True).start()

    def _passed(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if self.hangs_at in data:
                    return
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """The engine is away, for all who are connected and all who come."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for one in self._pairs:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def between(tmp_path: Path) -> Iterator[Between]:
    made = Between(tmp_path / "between.sock")
    yield made
    made.cut()
    with warnings.catch_warnings():  # the docker package leaves a socket to the collector when it cannot connect
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


async def test_an_engine_that_goes_away_in_the_middle_is_said_and_cleaned_up_after(
    box: Sandboxed, between: Between, tmp_path: Path
) -> None:
    real = box.engine
    box.engine._environ = {"DOCKER_HOST": f"unix://{between.path}"}
    said: list[NotConfigured] = []

    async def run() -> None:
        try:
            await box.run("sleep 300")
        except NotConfigured as error:
            said.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        while not box.containers("running"):  # an engine undoes by itself what it had only begun
            await anyio.lowlevel.checkpoint()
        between.cut()
    assert len(said) == 1 and len(box.containers()) == 1
    assert await box.sandbox.reap() == 0  # it is still away
    real._environ = os.environ
    assert await box.sandbox.reap() == 1 and box.containers() == []


@pytest.mark.parametrize("call", [b"/containers/create", pytest.param(b"/start", marks=pytest.mark.full)])
async def test_an_engine_that_hangs_ends_no_later_than_the_limit_of_a_call(
    box: Sandboxed, between: Between, call: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "CALL_SECONDS", 3)
    between.hangs_at = call
    box.engine._environ = {"DOCKER_HOST": f"unix://{between.path}"}
    with anyio.fail_after(60):
        with pytest.raises(NotConfigured, match=r"timed out|The Docker engine"):
            await box.run("true")
        box.engine._environ = os.environ
        await box.sandbox.reap()
    assert box.containers() == []
    assert [one.name.partition(".")[2] for one in (box.state / "sandbox").iterdir()] in ([], ["left"])
