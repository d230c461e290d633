"""The desk from which a test's alerts are delivered, over a channel that does as the test says."""

import anyio

from tests.support.bench import ANN, OWNER, Bench
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.news import Message
from wvo_mcp.orchestration.delivery import Courier
from wvo_mcp.orchestration.leader import Candidate, LeaderTerm
from wvo_mcp.ports.world import Undelivered


class Line:
    """A channel: `broken` for certain kinds of alerts or for all, or hanging until `go_on`."""

    def __init__(self, name: str = "command") -> None:
        self.name = name
        self.told: list[Message] = []
        self.attempts = 0
        self.broken: set[str] = set()
        self.hang = False
        self.hangs = anyio.Event()

    async def deliver(self, message: Message) -> None:
        self.attempts += 1
        self.hangs.set()
        if self.hang:
            await anyio.sleep_forever()
        kind = message.body["data"]["alert"]["kind"]
        if self.broken & {kind, "*"}:
            raise Undelivered(f"{self.name} is down; password=swordfish-42")
        self.told.append(message)

    @property
    def heard(self) -> list[tuple[str, str]]:
        return [(m.body["type"].removeprefix("alert."), m.body["data"]["alert"]["kind"]) for m in self.told]


class Desk:
    """The leader of a bench with one line, and alerts to raise."""

    def __init__(self, bench: Bench, line: Line, least: str = "warning") -> None:
        self.bench = bench
        self.line = line
        self.courier = Courier(line, least, "host:shop", lambda: 0.5)  # pyright: ignore[reportArgumentType]

    async def term(self, caller: Caller = ANN) -> LeaderTerm:
        term = await Candidate(self.bench.store, lambda: caller, self.bench.clock).seek()
        assert term is not None
        return term

    async def look(self, times: int = 1) -> list[tuple[str, str]]:
        """What is heard at the next looks."""
        before = len(self.line.told)
        for _ in range(times):
            await self.courier.work(await self.term())
        return self.line.heard[before:]

    async def alert(self, kind: str, severity: str = "warning", task_id: str | None = None, message: str = "m") -> None:
        await self.bench.write(lambda tx: tx.alerts.raise_alert(kind, severity, task_id, message, {"n": 1}))

    async def over(self, kind: str) -> None:
        await self.bench.write(lambda tx: tx.alerts.resolve_alert(kind, None))

    async def acknowledge(self, kind: str) -> None:
        row = await self.bench.read(lambda tx: tx.alerts.find(kind, None))
        assert row is not None
        await self.bench.call("alert_ack", OWNER, alert_id=row["id"])
