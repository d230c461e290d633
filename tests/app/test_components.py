"""Components start in order, end in reverse, and no failure keeps another from ending."""

import logging

import anyio
import pytest
from anyio.abc import TaskGroup

from wvo_mcp.app.components import Components, FunctionComponent
from wvo_mcp.errors import StoreBusy
from wvo_mcp.ports.world import Component

pytestmark = pytest.mark.anyio


class Part(Component):
    """Writes down what happens to it."""

    def __init__(self, name: str, log: list[str], *, fails_at: str = "", error: Exception | None = None) -> None:
        self.name = name
        self._log = log
        self._fails_at = fails_at
        self._error = error or ValueError(name)

    def _note(self, what: str) -> None:
        self._log.append(f"{what} {self.name}")
        if what == self._fails_at:
            raise self._error

    async def start(self, tasks: TaskGroup) -> None:
        self._note("start")

    async def ready(self) -> None:
        self._note("ready")

    async def drain(self, deadline: float) -> None:
        self._note("drain")

    async def stop(self) -> None:
        await anyio.lowlevel.checkpoint()
        self._note("stop")


async def test_components_start_in_order_and_end_in_reverse() -> None:
    log: list[str] = []

    async def serve() -> None:
        log.append("serve")

    await Components([Part("a", log), Part("b", log)]).run(serve)

    started = ["start a", "ready a", "start b", "ready b"]
    assert log == [*started, "serve", "drain b", "drain a", "stop b", "stop a"]


@pytest.mark.parametrize("step", ["start", "ready"])
async def test_a_component_that_fails_at_its_start_ends_those_before_it(step: str) -> None:
    log: list[str] = []
    parts = [Part("a", log), Part("b", log, fails_at=step), Part("c", log)]

    async def serve() -> None:
        log.append("serve")

    with pytest.raises(ValueError, match="b"):
        await Components(parts).run(serve)

    assert "serve" not in log and "start c" not in log and "drain a" not in log
    assert [entry for entry in log if entry.startswith("stop")] == (
        ["stop a"] if step == "start" else ["stop b", "stop a"]
    )


async def test_what_serving_raises_is_raised_after_all_have_stopped() -> None:
    log: list[str] = []

    async def serve() -> None:
        raise StoreBusy("busy")

    with pytest.raises(StoreBusy):
        await Components([Part("a", log), Part("b", log)]).run(serve)

    assert log[-2:] == ["stop b", "stop a"]


@pytest.mark.parametrize("error", [ValueError("broken"), StoreBusy("busy")])
async def test_a_component_that_fails_at_its_stop_keeps_no_other_from_it(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []

    await Components([Part("a", log), Part("b", log, fails_at="stop", error=error)]).run(anyio.lowlevel.checkpoint)

    assert log[-2:] == ["stop b", "stop a"]
    assert "b did not end well" in caplog.text


async def test_a_drain_is_cut_at_the_deadline_and_the_rest_still_stops(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []

    class Slow(Part):
        async def drain(self, deadline: float) -> None:
            assert deadline <= anyio.current_time()
            await anyio.sleep_forever()

    with caplog.at_level(logging.WARNING):
        await Components([Part("a", log), Slow("b", log)], drain_seconds=0).run(anyio.lowlevel.checkpoint)

    assert log[-3:] == ["drain a", "stop b", "stop a"]
    assert "b had not finished" in caplog.text


async def test_a_process_that_is_cancelled_while_it_starts_stops_what_began() -> None:
    log: list[str] = []

    class Endless(Part):
        async def ready(self) -> None:
            scope.cancel()
            await anyio.sleep_forever()

    async def serve() -> None:
        log.append("serve")

    with anyio.CancelScope() as scope:
        await Components([Part("a", log), Endless("b", log), Part("c", log)]).run(serve)

    assert log == ["start a", "ready a", "start b", "stop b", "stop a"]


async def test_a_task_that_fails_ends_the_process_and_stops_its_components() -> None:
    log: list[str] = []

    async def fail() -> None:
        raise ValueError("in the background")

    with pytest.raises(BaseExceptionGroup) as raised:
        await Components([Part("a", log), FunctionComponent("b", run=fail)]).run(anyio.sleep_forever)

    assert raised.group_contains(ValueError, match="in the background")
    assert log[-1] == "stop a"


async def test_background_work_is_cancelled_before_it_takes_its_leave() -> None:
    log: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            log.append("cancelled")

    async def leave() -> None:
        log.append("left")

    await Components([FunctionComponent("work", run=work, leave=leave)]).run(anyio.lowlevel.checkpoint)

    assert log == ["cancelled", "left"]
