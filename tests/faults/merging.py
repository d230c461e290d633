"""A runner that lands, sends back and dies on the way; run by the nursery."""

import importlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from tests.faults.placing import yard_of
from tests.support.github import REMOTE
from tests.support.yard import Yard, git
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.rules import MergeMode, MergePolicy, MergeRules, Rules
from wvo_mcp.execution.merging.forges import Api
from wvo_mcp.execution.merging.repository import MergeRepository
from wvo_mcp.execution.merging.verifying import Verifier
from wvo_mcp.execution.workspaces import repository
from wvo_mcp.execution.workspaces.worktree import host_name
from wvo_mcp.orchestration.merging.queue import MergeQueue

_run = repository.run_git
_asked = Api._asked
WORK = {"T1": {"code.py": "a = 2\n", "new.py": "1\n"}, "T2": {"code.py": "a = 3\n"}, "T3": {"bad.py": "1\n"}}


def warm() -> None:
    """Live once, so that everything late is imported before children are forked."""
    with TemporaryDirectory() as folder:
        anyio.run(begun, Path(folder))
        run(folder, crash_at=0)
    importlib.import_module("httpx2")  # the client of a forge does so late


def run(
    folder: str, crash_at: int, record: str | None = None, policy: str = "rebase", mode: str = "local", life: int = 1
) -> None:
    """Land what waits in a folder that has `begun`. SIGKILL strikes at call number `crash_at` of the hook, which stands before
    and after every git command, every request to a forge and every write of the store; 0 never strikes. `record`: where to
    write how many calls there were."""
    calls = 0

    def hook(_: Any = None) -> None:
        nonlocal calls
        calls += 1
        if calls == crash_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def hooked(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            hook()
            try:
                return real(*arguments, **more)
            finally:
                hook()

        return call

    repository.run_git, Api._asked = hooked(_run), hooked(_asked)
    try:
        anyio.run(lived, Path(folder), policy, mode, life, hook)
    finally:
        repository.run_git, Api._asked = _run, _asked
    if record is not None:
        Path(record).write_text(str(calls))


async def begun(folder: Path, mode: str = "local") -> None:
    """Three submissions: one lands, one is in conflict with it, one does not pass. A person edits and stages meanwhile. The
    remote is `hub.git` beside the checkout; others have a branch and a tag there."""
    yard, store = await yard_of(folder)
    try:
        yard.begin(**{"mine.py": "mine\n"})
        if mode != "local":
            bare = folder / "hub.git"
            git(folder, "clone", "-q", "--bare", str(yard.root), str(bare))
            git(bare, "branch", "theirs")
            git(bare, "tag", "v1")
            yard.git("remote", "add", "origin", REMOTE if mode == "pull_request" else str(bare))
            yard.git("update-ref", "refs/remotes/origin/main", "main")
        for task_id, files in WORK.items():
            worker, place = await yard.opened(task_id)
            yard.write(place.path, files)
            await yard.complete(worker)
        yard.write(yard.root, {"mine.py": "edited\n", "staged.txt": "staged\n"})
        yard.git("add", "staged.txt")
        yard.write(yard.root, {"staged.txt": "and edited\n"})
    finally:
        await store.close()


async def lived(folder: Path, policy: str, mode: str = "local", life: int = 2, hook: Any = None) -> None:
    """Land all that can be landed: what a runner does, also after others that were killed. `life` counts them."""
    yard, store = await yard_of(folder)
    try:
        if hook is not None:
            store.writer.on_write = hook
        for dead in range(1, life):
            yard.bench.servers.kill(f"runner/{dead}")
            yard.bench.clock.advance(minutes=5)
        rules = MergeRules(policy=MergePolicy(policy), mode=MergeMode(mode))
        yard.rules.rules = Rules(verify=("test ! -e bad.py",), merge=rules)
        queue = _queue(yard, f"runner/{life}")
        while await queue.turn():
            pass
    finally:
        await store.close()


def _queue(yard: Yard, session: str) -> MergeQueue:
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
