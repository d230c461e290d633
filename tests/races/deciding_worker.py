"""A process that asks, decides, uses, lets expire and changes what is asked, at random. Run by the nursery.

What was acknowledged to it goes to a file of its own, one line each, whole or not at all.
"""

import json
import os
import random
import uuid
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import anyio

from tests.support.services import Services
from tests.support.sessions import a_person, an_agent
from tests.support.stores import a_store, attending
from wvo_mcp.domain.approval import Approval, ApprovalKind, subject_of_step
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.errors import WvoError
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.approvals import deciding
from wvo_mcp.ports import Transaction

EXPIRED = "expired"
"""A file that is there once an approval has expired: nobody stops before."""
TASKS = [f"T{number}" for number in range(4)]
GATES = [f"G{number}" for number in range(3)]
TOPICS = [f"flow/{number}" for number in range(3)]
POLICY = Policy(wip_limit=50, agent_wip_limit=50, approval_seconds=cast("int", 0.2))


def warm() -> None:
    with TemporaryDirectory() as folder:
        for name, person in (("seed", False), ("warm", False), ("owner", True)):
            run(folder, None, name, 1, 20, person, goes_on=1)


def run(folder: str, url: str | None, name: str, seed: int, calls: int, person: bool, goes_on: int = 20) -> None:
    """`goes_on`: so many times the calls it acts at most, until something has expired."""
    anyio.run(_live, Path(folder), url, name, random.Random(seed), calls, person, goes_on)


async def _live(
    folder: Path, url: str | None, name: str, chance: random.Random, calls: int, person: bool, goes_on: int
) -> None:
    caller = a_person(name) if person else an_agent(name, uuid.uuid4().hex)
    store = a_store(folder, url, synchronous="OFF")
    with attending(folder, url, caller.session_id):
        await store.open()
        roadmap, directives = RoadmapSource(folder / "roadmap.yaml"), DirectiveFiles(folder)
        services = Services(store=store, policy=POLICY, roadmap=roadmap, directives=directives)
        actor = _Actor(services, caller, folder, chance)
        try:
            if name == "seed":
                await actor.seed()
                return
            for number in range(calls * goes_on):
                if number >= calls and (folder / EXPIRED).exists():
                    break
                await actor.act()
        finally:
            await store.close()


def _now() -> datetime:
    return datetime.now(UTC)


class _Actor:
    def __init__(self, services: Services, caller: Caller, folder: Path, chance: random.Random) -> None:
        self._services, self._caller, self._chance, self._folder = services, caller, chance, folder
        self._file = os.open(folder / f"told-{caller.agent_id}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        person = [(8, self._decide), (2, self._expire), (2, self._lift), (1, self._change)]
        agent = [(4, self._ask), (4, self._use_command), (3, self._use_step), (2, self._change), (1, self._decide)]
        self._acts = person if caller.person else agent

    def tell(self, *said: Any) -> None:
        os.write(self._file, json.dumps(said).encode() + b"\n")

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return await ALL[tool](self._services, self._caller, arguments)

    async def seed(self) -> None:
        gates = [{"id": name, "title": "as it was", "requires_approval": True} for name in GATES]
        await self.call("create_tasks", tasks=[{"id": name, "title": name} for name in TASKS] + gates)

    async def act(self) -> None:
        (act,) = self._chance.choices([act for _, act in self._acts], [weight for weight, _ in self._acts])
        try:
            await act()
        except WvoError as error:
            self.tell("refused", act.__name__, error.code)

    async def _decide(self) -> None:
        async def waiting(tx: Transaction) -> list[Approval]:
            return [*await tx.approvals.expired(3), *await tx.approvals.waiting(20)]

        found = await self._services.store.read(self._caller, waiting)
        if not found:
            return
        # Most go for what was asked last; what expires soon is left to expire, or to be decided at the same moment.
        known = max(found, key=lambda one: one.seq) if self._chance.random() < 0.5 else self._chance.choice(found)
        verdict = self._chance.choice(["approve", "deny"])
        left = None if known.expires_at is None else (known.expires_at - _now()).total_seconds()
        if left is not None and 0.01 < left < 60 and self._chance.random() < 0.97:
            return
        await self.call(verdict, id=known.approval_id, reason=self._caller.agent_id)
        self.tell(verdict, known.approval_id)

    async def _expire(self) -> None:
        for one in await self._services.store.write(self._caller, deciding.expire):
            self.tell("expire", one.approval_id)
            (self._folder / EXPIRED).touch()

    async def _lift(self) -> None:
        await self.call("unblock", task_id=self._chance.choice(TASKS + GATES))

    async def _change(self) -> None:
        """What is approved says something else from now on."""
        version = self._chance.randrange(3)
        if self._chance.random() < 0.5:
            await self.call("update_task", task_id=self._chance.choice(GATES), title=f"version {version}")
        else:
            await self._step(version)

    async def _ask(self) -> None:
        if self._chance.random() < 0.5:
            await self._step(0)
        else:
            await self._use_command()

    async def _step(self, version: int) -> None:
        topic = self._chance.choice(TOPICS)

        async def ask(tx: Transaction) -> Approval:
            return await deciding.ask_apart(tx, POLICY, ApprovalKind.FLOW_STEP, topic, _subject(topic, version))

        await self._services.store.write(self._caller, ask)

    async def _use_step(self) -> None:
        topic, version = self._chance.choice(TOPICS), self._chance.randrange(2)

        async def use(tx: Transaction) -> Approval | None:
            return await deciding.use(tx, ApprovalKind.FLOW_STEP, _subject(topic, version))

        used = await self._services.store.write(self._caller, use)
        if used is not None:
            self.tell("use", used.approval_id)

    async def _use_command(self) -> None:
        """Claims a task and asks for its command, which is what uses it once it is approved."""
        task_id = self._chance.choice(TASKS)
        lease = (await self.call("claim_task", task_id=task_id))["lease"]["token"]
        command = f"make {task_id}"
        asked = await self.call("approval_request", task_id=task_id, lease_token=lease, command=command)
        if asked["approval"]["state"] == "approved":
            self.tell("use", asked["approval"]["approval_id"])
            await self.call("release_task", task_id=task_id, lease_token=lease)


def _subject(topic: str, version: int) -> dict[str, Any]:
    return subject_of_step(topic, "deploy", f"deploy version {version}", {"version": version})
