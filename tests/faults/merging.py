"""A runner that lands, sends back and dies on the way; run by the nursery."""

import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from tests.faults.placing import yard_of
from tests.support.yard import Yard
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.rules import MergePolicy, MergeRules, Rules
from wvo_mcp.execution.merging.repository import MergeRepository
from wvo_mcp.execution.merging.verifying import Verifier
from wvo_mcp.execution.workspaces import repository
from wvo_mcp.execution.workspaces.worktree import host_name
from wvo_mcp.orchestration.merging.queue import MergeQueue

_run = repository.run_git
WORK = {"T1": {"code.py": "a = 2\n", "new.py": "1\n"}, "T2": {"code.py": "a = 3\n"}, "T3": {"bad.py": "1\n"}}


def warm() -> None:
    """Live once, so that everything late is imported before children are forked."""
    with TemporaryDirectory() as folder:
        anyio.run(begun, Path(folder))
        run(folder, crash_at=0)


def run(folder: str, crash_at: int, record: str | None = None, policy: str = "rebase") -> None:
    """Land what waits in a folder that has `begun`. SIGKILL strikes at call number `crash_at` of the hook, which stands before
    and after every git command and every write of the store; 0 never strikes. `record`: where to write how many calls there
    were."""
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
        anyio.run(lived, Path(folder), policy, hook)
    finally:
        repository.run_git = _run
    if record is not None:
        Path(record).write_text(str(calls))


async def begun(folder: Path) -> None:
    """Three submissions: one lands, one is in conflict with it, one does not pass. A person edits and stages meanwhile."""
    yard, store = await yard_of(folder)
    try:
        yard.begin(**{"mine.py": "mine\n"})
        for task_id, files in WORK.items():
            worker, place = await yard.opened(task_id)
            yard.write(place.path, files)
            await yard.complete(worker)
        yard.write(yard.root, {"mine.py": "edited\n", "staged.txt": "staged\n"})
        yard.git("add", "staged.txt")
        yard.write(yard.root, {"staged.txt": "and edited\n"})
    finally:
        await store.close()


async def lived(folder: Path, policy: str, hook: Any = None) -> None:
    """Land all that can be landed: what a runner does, also after one that was killed."""
    yard, store = await yard_of(folder)
    try:
        if hook is not None:
            store.writer.on_write = hook
            queue = _queue(yard, "runner/1", policy)
        else:
            yard.bench.servers.kill("runner/1")
            yard.bench.clock.advance(minutes=5)
            queue = _queue(yard, "runner/2", policy)
        while await queue.turn():
            pass
    finally:
        await store.close()


def _queue(yard: Yard, session: str, policy: str) -> MergeQueue:
    yard.rules.rules = Rules(verify=("test ! -e bad.py",), merge=MergeRules(policy=MergePolicy(policy)))
    caller = Caller("auto-here", session, client="tests", worker=True)
    verifier = Verifier(yard.root, yard.folder, yard.root / "state" / "workers")
    store: Any = yard.bench.store

    async def clear(task_id: str) -> None:
        await yard.places.close(task_id)

    return MergeQueue(
        store=store,
        caller=lambda: caller,
        repository=MergeRepository(yard.root, verifier, yard.places.suspected),
        rules=yard.rules,
        clock=yard.bench.clock,
        host=host_name(),
        clear=clear,
    )
