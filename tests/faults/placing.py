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


def run(folder: str, crash_at: int, record: str | None = None, *, back: bool = False) -> None:
    """Work on the task of a folder that has `begun`, or with `back` is `begun_again`. SIGKILL strikes at call number `crash_at`
    of the hook, which stands before and after every git command and every write of the store; 0 never strikes. `record`:
    where to write how many calls there were."""
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
        anyio.run(lived_again if back else lived, Path(folder), hook)
    finally:
        repository.run_git = _run
    if record is not None:
        Path(record).write_text(str(calls))


async def yard_of(folder: Path) -> tuple[Yard, Any]:
    """As one process sees it; its store is open."""
    clock = StoppedClock()
    store = a_store(folder, None, clock, synchronous="OFF")
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


MINE, THEIRS, JOINED = "a = 2\n", "a = 3\n", "a = 23\n"


async def begun_again(folder: Path) -> None:
    """What the task submitted conflicts with the target: it is in progress again, its worktree as it was left."""
    await begun(folder)
    yard, store = await yard_of(folder)
    try:
        task = await yard.bench.task("T1")
        worker = replace(an_agent("auto-host.T1"), admitted=WorkerPass("w-1", "T1", task.lease_token))
        place = await yard.open(worker)
        yard.write(place.path, {"code.py": MINE})
        await yard.complete(worker)
        yard.write(place.path, {"late.py": "late\n"})
        yard.write(yard.root, {"code.py": THEIRS, "their.py": "b = 2\n"})
        yard.save("theirs")
        await yard.returned("T1")
        await yard.claim("T1")
    finally:
        await store.close()


async def lived_again(folder: Path, hook: Any = None) -> None:
    """Bring it onto the target, resolve the conflict and finish the task, however far it is."""
    yard, store = await yard_of(folder)
    try:
        if hook is not None:
            store.writer.on_write = hook
        else:
            assert await yard.places.recover() == []
        task = await yard.bench.task("T1")
        if task.status == "in_progress":
            worker = replace(an_agent("auto-host.T1"), admitted=WorkerPass("w-2", "T1", task.lease_token))
            place = await yard.open(worker, onto=yard.git("rev-parse", "main"))
            assert list(place.conflicts) == ["code.py"]
            code = (place.path / "code.py").read_text()
            assert code == JOINED or all(code.count(one) == 1 for one in ("<<<<<<<", MINE, THEIRS)), code
            yard.write(place.path, {"code.py": JOINED})
            await yard.complete(worker)
        if (await yard.bench.task("T1")).status == "in_review":
            await yard.landed("T1")
        assert await yard.places.close("T1") is None
    finally:
        await store.close()
