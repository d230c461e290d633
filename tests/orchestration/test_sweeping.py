"""The look for containers that were left goes on, whatever one look meets."""

import anyio
import pytest

from wvo_mcp.orchestration import sweeping
from wvo_mcp.ports.sandbox import Ran, Run

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SBX-1")]


class Left:
    """A sandbox of which three looks are taken, the second one with an error."""

    def __init__(self) -> None:
        self.looks = 0
        self.three = anyio.Event()

    async def run(self, wanted: Run) -> Ran:
        raise NotImplementedError

    async def reap(self) -> int:
        self.looks += 1
        if self.looks == 2:
            raise OSError("the folder cannot be read")
        if self.looks == 3:
            self.three.set()
        return 1


async def test_it_looks_again_and_again_also_after_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sweeping, "FIRST_SECONDS", 0)
    monkeypatch.setattr(sweeping, "EVERY_SECONDS", 0)
    left, asked = Left(), list[int]()

    def sandbox() -> Left | None:
        asked.append(1)
        return left if len(asked) > 1 else None  # nothing was ever run here before

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sweeping.sweep, sandbox)
        with anyio.fail_after(10):
            await left.three.wait()
        tasks.cancel_scope.cancel()
    assert len(asked) == 4 and caplog.text.count("removed 1 containers") == 2
    assert "could not be removed" in caplog.text


def test_two_looks_fit_into_a_minute() -> None:
    assert sweeping.FIRST_SECONDS + sweeping.EVERY_SECONDS < 60
