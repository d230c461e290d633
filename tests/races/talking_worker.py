"""A process that sends, reads, reserves and releases at random, killed at any instant. Run by the nursery.

What was acknowledged to it, and what it was shown, goes to files of its agent, one line each, whole or not at all.
"""

import json
import os
import random
import time
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from tests.support.services import Services
from tests.support.sessions import an_agent
from tests.support.stores import a_store, attending
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.errors import Conflict, ReservationConflict
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.operations import ALL

PATTERNS = ["**", *(f"{top}/{rest}" for top in "ab" for rest in ("**", "*.py", "x.py", "?.md", "x*", "[xy].md"))]

_GRANTED = 3


def warm() -> None:
    with TemporaryDirectory() as folder:
        run(folder, None, "warm", ["warm"], 1, 10, "reserve")
        run(folder, None, "warm", ["other"], 1, 0, "drain")


def run(folder: str, url: str | None, agent_id: str, peers: list[str], seed: int, calls: int, what: str) -> None:
    anyio.run(_live, Path(folder), url, agent_id, peers, random.Random(seed), calls, what)


async def _live(
    folder: Path, url: str | None, agent_id: str, peers: list[str], chance: random.Random, calls: int, what: str
) -> None:
    caller = an_agent(agent_id, uuid.uuid4().hex)
    store = a_store(folder, url, synchronous="OFF")
    with attending(folder, url, caller.session_id):
        await store.open()
        roadmap, directives = RoadmapSource(folder / "roadmap.yaml"), DirectiveFiles(folder)
        talker = _Talker(Services(store=store, policy=Policy(), roadmap=roadmap, directives=directives), caller, folder)
        try:
            await talker.call("agent_register")
            for _ in range(calls):
                await (talker.reserve(chance) if what == "reserve" else talker.talk(chance, peers))
            while what == "reserve" and talker.granted < _GRANTED:  # what others hold ends within seconds
                await talker.reserve(chance)
            while what == "drain" and await talker.hear():
                pass
        finally:
            await store.close()


class _Talker:
    def __init__(self, services: Services, caller: Caller, folder: Path) -> None:
        self._services, self._caller, self.granted = services, caller, 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._files = {
            name: os.open(folder / f"{name}-{caller.agent_id}", flags, 0o644) for name in ("sent", "heard", "tried")
        }

    def tell(self, name: str, line: list[Any]) -> None:
        os.write(self._files[name], json.dumps(line).encode() + b"\n")

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await ALL[tool](self._services, self._caller, arguments)
        for notice in result.get("notices", ()):
            self.tell("heard", json.loads(json.loads(notice.partition(": ")[2])))
        return result

    async def hear(self) -> bool:
        return "notices" in await self.call("plan_next")

    async def talk(self, chance: random.Random, peers: list[str]) -> None:
        if chance.random() < 0.5:
            await self.hear()
            return
        peer = chance.choice(peers)
        said = [self._caller.agent_id, peer, time.monotonic_ns()]
        try:
            await self.call("message_send", to=peer, body=json.dumps(said))
        except Conflict:  # too many that nobody has read
            return
        self.tell("sent", said)

    async def reserve(self, chance: random.Random) -> None:
        if chance.random() < 0.3:
            await self.call("files_release", all=True)
            return
        patterns = chance.sample(PATTERNS, chance.randint(1, 2))
        mode = "exclusive" if chance.random() < 0.7 else "shared"
        try:
            await self.call("files_reserve", patterns=patterns, mode=mode, seconds=chance.randint(1, 2))
            self.granted += 1
            self.tell("tried", ["granted"])
        except ReservationConflict:
            self.tell("tried", ["refused"])
