"""A process that works on a store directly, without a server around it; run by the nursery and killed at any instant.

Time is the real one, leases are short, sessions are real locks.
"""

import asyncio
import json
import os
import random
import signal
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from tests.support.dag import random_tasks
from tests.support.services import Services
from tests.support.sessions import an_agent
from tests.support.stores import a_store, attending
from wvo_mcp.domain.lease import Policy
from wvo_mcp.errors import StaleLease
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.operations import ALL

LEASE_SECONDS = 2
Call = Callable[..., Awaitable[dict[str, Any]]]


def warm() -> None:
    """Work a small store empty, so that every model is built before children are forked."""
    with TemporaryDirectory() as folder:
        seed_store(Path(folder), None, random_tasks(3, seed=1, epics=["E"]))
        run(folder, None, "warm", 3, 1)


def seed_store(folder: Path, url: str | None, tasks: list[dict[str, Any]]) -> None:
    """In the database of `url`, else in the folder."""

    async def seeding(call: Call) -> None:
        for start in range(0, len(tasks), 500):
            await call("create_tasks", tasks=tasks[start : start + 500])

    anyio.run(_with_session, folder, url, "planner", 100, seeding)


def run(
    folder: str,
    url: str | None,
    agent_id: str,
    wip_limit: int,
    seed: int,
    dies_in: int = 0,
    lease_seconds: int = LEASE_SECONDS,
) -> None:
    """Claim and complete until nothing is left; what was acknowledged goes to the file `acknowledged`. It kills itself in
    the middle of its task number `dies_in`: whoever kills it from outside may always find it between two tasks."""
    chance = random.Random(seed)
    told = os.open(Path(folder) / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def tell(what: str, name: str) -> None:
        os.write(told, json.dumps([what, name]).encode() + b"\n")

    async def working(call: Call) -> None:
        begun = 0
        while True:
            claim = await call("claim_task")
            if claim["task"] is None:
                found = await call("status")
                if found["counts"]["done"] == sum(count for name, count in found["counts"].items() if name != "ready"):
                    return
                await asyncio.sleep(0.05)
                continue
            begun += 1
            task_id = claim["task"]["id"]
            held = {"task_id": task_id, "lease_token": claim["lease"]["token"]}
            try:
                for step in range(chance.randint(2, 10)):
                    saved = await call(
                        "checkpoint", **held, summary=f"{agent_id} took step {step} under {held['lease_token']}"
                    )
                    tell("checkpoint", saved["checkpoint"]["id"])
                    if begun == dies_in:
                        os.kill(os.getpid(), signal.SIGKILL)
                await call("complete_task", **held, summary="done")
                tell("completed", task_id)
            except StaleLease:
                tell("stale", task_id)

    anyio.run(_with_session, Path(folder), url, agent_id, wip_limit, working, lease_seconds)
    os.close(told)


async def _with_session(
    folder: Path,
    url: str | None,
    agent_id: str,
    wip_limit: int,
    work: Callable[[Call], Awaitable[None]],
    lease_seconds: int = LEASE_SECONDS,
) -> None:
    caller = an_agent(agent_id, uuid.uuid4().hex)
    store = a_store(folder, url)
    services = Services(
        store=store,
        policy=Policy(
            wip_limit=wip_limit, agent_wip_limit=1, lease_seconds=lease_seconds, grace_seconds=lease_seconds // 2
        ),
        roadmap=RoadmapSource(folder / "roadmap.yaml"),
        directives=DirectiveFiles(folder),
    )

    async def call(name: str, **arguments: Any) -> dict[str, Any]:
        return await ALL[name](services, caller, arguments)

    with attending(folder, url, caller.session_id):
        await store.open()
        try:
            await work(call)
        finally:
            await store.close()
