"""A process that opens a place, works in it, submits and closes, and dies on the way; run by the nursery."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from tests.support.bench import Bench, a_task, an_agent
from tests.support.clock import StoppedClock
from tests.support.providers import FixedProviders
from tests.support.services import Services
from tests.support.sessions import Servers
from tests.support.stores import a_store
from tests.support.yard import Yard
from wvo_mcp.domain.lease import Policy, WorkerPass
from wvo_mcp.domain.providers.catalogue import Catalogue
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.execution.workspaces import repository

_run = repository.run_git


def warm() -> None:
    """Live once, so that everything late is imported before children are forked."""
    with TemporaryDirectory() as folder:
        anyio.run(begun, Path(folder))
        run(folder, crash_at=0)


def run(folder: str, crash_at: int, record: str | None = None) -> None:
    """Work on the task of a folder that has `begun`. SIGKILL strikes at call number `crash_at` of the hook, which stands
    before and after every git command and every write of the store; 0 never strikes. `record`: where to write how many
    calls there were."""
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


async def yard_of(folder: Path) -> tuple[Yard, Any]:
    """As one process sees it; its store is open."""
    clock, store = StoppedClock(), a_store(folder, None, StoppedClock(), synchronous="OFF")
    await store.open()
    services = Services(
        store=store,
        policy=Policy(wip_limit=50),
        roadmap=RoadmapSource(folder / "roadmap.yaml"),
        directives=DirectiveFiles(folder),
        providers=FixedProviders(Catalogue(())),
    )
    return Yard(folder / "shop", Bench(services, store, clock, Servers())), store


async def begun(folder: Path) -> None:
    """A repository, and a task in progress."""
    yard, store = await yard_of(folder)
    try:
        yard.begin()
        await yard.bench.create(a_task("T1"))
        await yard.claim("T1")
    finally:
        await store.close()


async def lived(folder: Path, hook: Any = None) -> None:
    """Finish the task, however far it is: what an autopilot does, also after one that was killed."""
    yard, store = await yard_of(folder)
    try:
        if hook is not None:
            store.writer.on_write = hook
        else:
            assert await yard.places.recover() == []
        agent = an_agent("auto-host.T1")
        task = await yard.bench.task("T1")
        if task.status == "in_progress":
            worker = replace(agent, admitted=WorkerPass("w-1", "T1", task.lease_token))
            place = await yard.open(worker)
            yard.write(place.path, {"new.py": "b = 2\n"})
            await yard.complete(worker)
        if (await yard.bench.task("T1")).status == "in_review":
            await yard.landed("T1")
        assert await yard.places.close("T1") is None
    finally:
        await store.close()
