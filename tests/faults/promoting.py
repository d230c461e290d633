"""A process that puts what a copy changed into the folder, and dies on the way; run by the nursery."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from tests.faults.placing import yard_of
from tests.support.bench import a_task, an_agent
from tests.support.yard import Yard
from wvo_mcp.domain.lease import WorkerPass
from wvo_mcp.execution.workspaces import repository

_run = repository.run_git
BEFORE = {
    "code.py": "a = 1\n",
    "docs/a.md": "one\n",
    "run.sh": "#!/bin/sh\n",
    ".gitignore": "*.log\nstate/\n",
    "x.log": "x\n",
}
AFTER = {
    "code.py": "a = 2\n",
    "new/n.py": "n\n",
    "run.sh": "#!/bin/sh\n",
    ".gitignore": "*.log\nstate/\n",
    "x.log": "x\n",
}


def warm() -> None:
    """Live once, so that everything late is imported before children are forked."""
    with TemporaryDirectory() as folder:
        anyio.run(begun, Path(folder))
        run(folder, crash_at=0)


def run(folder: str, crash_at: int, record: str | None = None, *, torn: bool = False) -> None:
    """Complete the task of a folder that has `begun`. SIGKILL strikes at call number `crash_at` of the hook, which stands
    before and after every git command and every write of the store, and when `torn` within the command that writes the
    files: one is half written then; 0 never strikes. `record`: where to write how many calls there were."""
    calls = 0

    def hook(_: Any = None) -> None:
        nonlocal calls
        calls += 1
        if calls == crash_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def git(*arguments: Any, **more: Any) -> bytes:
        hook()
        if torn and "-u" in arguments:
            (Path(folder) / "shop" / "code.py").write_text("a =")
            os.kill(os.getpid(), signal.SIGKILL)
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
    """A folder without git, and a copy of it in which a task changed, made and removed files."""
    yard, store = await yard_of(folder)
    try:
        yard.root.mkdir()
        yard.write(yard.root, BEFORE)
        await yard.bench.create(a_task("T1"))
        place = await yard.open(await yard.claim("T1"))
        yard.write(place.path, AFTER)
        (place.path / "docs/a.md").unlink()
    finally:
        await store.close()


async def lived(folder: Path, hook: Any) -> None:
    yard, store = await yard_of(folder)
    try:
        store.writer.on_write = hook
        await completed(yard)
    finally:
        await store.close()


async def completed(yard: Yard) -> None:
    """What the holder of the task does, also after one that was killed."""
    task = await yard.bench.task("T1")
    if task.status == "in_progress":
        await yard.complete(replace(an_agent("auto-host.T1"), admitted=WorkerPass("w-1", "T1", task.lease_token)))
