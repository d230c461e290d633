"""A process that stops itself (SIGSTOP) in the middle of a write transaction; run by the nursery."""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import anyio

from tests.support.services import Services
from tests.support.sessions import an_agent
from tests.support.stores import a_store, attending
from wvo_mcp.domain.lease import Policy
from wvo_mcp.errors import WvoError
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.operations import ALL
from wvo_mcp.store.postgres.store import PostgresStore
from wvo_mcp.store.sql import Rows


def warm() -> None:
    """What is imported is enough."""
    assert PostgresStore


def run(folder: str, url: str, between: bool = False) -> None:
    """Freeze `between` two statements that are sent in one go. Else claim the best task for a second, and freeze before
    the commit that completes it; the file `told` has what each call answered. `pid` has who is to be woken."""
    anyio.run(_freeze_between if between else _freeze, Path(folder), url)


def stand_still() -> None:
    # To this very thread: sent to the process, it may strike another one first, and this one goes on.
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


async def _freeze_between(folder: Path, url: str) -> None:
    store = PostgresStore(url)

    async def lie_down(rows: Rows) -> None:
        rows.put("INSERT INTO facts (name, value) VALUES ('woken', '1')")
        if not (folder / "pid").exists():
            (folder / "pid").write_text(str(os.getpid()))
            stand_still()

    await store.open()
    await store.writer.write(lie_down)
    await store.close()


async def _freeze(folder: Path, url: str) -> None:
    caller = an_agent("frozen", "frozen/1")
    store = a_store(folder, url)
    services = Services(
        store=store,
        policy=Policy(wip_limit=5, lease_seconds=1, grace_seconds=0),
        roadmap=RoadmapSource(folder / "roadmap.yaml"),
        directives=DirectiveFiles(folder),
    )
    told = os.open(folder / "told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def call(name: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer = await ALL[name](services, caller, arguments)
        except WvoError as error:
            answer = error.payload()
        os.write(told, json.dumps(answer, default=str).encode() + b"\n")
        return answer

    def freeze(what: str) -> None:
        if what == "before COMMIT":
            store.writer.on_write = None
            stand_still()

    await store.open()
    with attending(folder, url, caller.session_id):
        claim = await call("claim_task")
        store.writer.on_write = freeze
        (folder / "pid").write_text(str(os.getpid()))
        held = {"task_id": claim["task"]["id"], "lease_token": claim["lease"]["token"]}
        await call("complete_task", **held, summary="I slept")
    await store.close()
