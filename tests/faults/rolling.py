"""A process that keeps files and takes them back, and dies on the way; run by the nursery."""

import os
import shutil
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from tests.faults.placing import yard_of
from tests.support.yard import Yard
from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.domain.rollbacks import Extent, RollbackAsk
from wvo_mcp.execution.workspaces import repository

_run = repository.run_git
GOOD = {"code.py": "a = 2\n", "new/deep.py": "1\n", "same.py": "same\n"}
BAD = {"code.py": "worse\n", "new": "a file now\n", "same.py": "same\n", "late.py": "late\n"}


def warm() -> None:
    """Live once, so that everything late is imported before children are forked."""
    with TemporaryDirectory() as folder:
        anyio.run(begun, Path(folder))
        run(folder, crash_at=0)


def run(folder: str, crash_at: int, record: str | None = None) -> None:
    """Keep what is there and take it back, in a folder that has `begun`. SIGKILL strikes at call number `crash_at` of the hook,
    which stands before and after every git command and every write of the store; 0 never strikes. `record`: where to write
    how many calls there were."""
    calls = 0

    def hook(_: Any = None) -> None:
        nonlocal calls
        calls += 1
        if calls == crash_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def git(*arguments: Any, **more: Any) -> bytes:
        hook()
        try:
            return _run(*arguments, **more)
        finally:
            hook()

    repository.run_git = git
    try:
        anyio.run(lived, Path(folder), hook)
    finally:
        repository.run_git = _run
    if record is not None:
        Path(record).write_text(str(calls))


async def begun(folder: Path) -> None:
    """A task with a checkpoint of good work, and bad work on top."""
    yard, store = await yard_of(folder)
    try:
        yard.begin()
        _, place = await yard.opened("T1")
        yard.write(place.path, GOOD)
        assert await yard.files.take("T1", Trigger.CALL) is not None
        shutil.rmtree(place.path / "new")
        yard.write(place.path, BAD)
        (place.path / "kept.log").write_text("ignored\n")
    finally:
        await store.close()


async def lived(folder: Path, hook: Any = None) -> None:
    """Keep it, and roll back to the first: what the guard of a workspace does, also after one that was killed."""
    yard, store = await yard_of(folder)
    try:
        if hook is not None:
            store.writer.on_write = hook
        else:
            assert await yard.rollbacks.finish() == []
        assert await yard.files.take("T1", Trigger.PAUSE) is not None
        await rolled_back(yard, 1)
    finally:
        await store.close()


async def rolled_back(yard: Yard, to: int) -> int | None:
    """The number of the checkpoint that undoes it."""
    rolled = await yard.rollbacks.roll_back(RollbackAsk(task_id="T1", extent=Extent.FULL, to=to))
    assert rolled is not None
    return rolled.undo
