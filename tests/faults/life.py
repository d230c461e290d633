"""The scripted life of a store: every kind of write once, each step one transaction, at times that never vary.

So a store that lived through the first k steps always has the same content, to the last hash, and a crash in the
middle of step k may leave only two: that of k steps, or that of k + 1.
"""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.bench import a_task
from tests.support.clock import StoppedClock
from tests.support.services import Services
from tests.support.sessions import a_person, an_agent
from tests.support.stores import a_store, attending, looked_for
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration import background, keeping
from wvo_mcp.store.sql import Rows

ROADMAP = """\
epics:
  - id: SHOP
    title: Shop
    wip_limit: 2
    milestones:
      - {id: BETA, title: Beta, due: 2026-05-01}
    tasks:
      - {id: R1, title: Rates, milestone: BETA, labels: [money]}
      - {id: R2, title: Rounding, depends_on: [R1], complexity: 2}
      - {id: R3, title: Receipts, depends_on: [R2]}
"""
ROADMAP_LATER = """\
epics:
  - id: SHOP
    title: The shop
    milestones:
      - {id: BETA, title: Beta, due: 2026-04-01}
    tasks:
      - {id: R1, title: Rates, milestone: BETA, priority: critical}
      - {id: R2, title: Rounding and signs, complexity: 2}
"""

TASKS = (
    a_task("A", epic_id="CORE", labels=["first"], files=["src/a/**"]),
    a_task("B", depends_on=["A"], max_attempts=2),
    a_task("C", depends_on=["A"], priority="high"),
    a_task("D", complexity=2),
    a_task("E", depends_on=["D"]),
    a_task("F"),
    a_task("G", capabilities=[]),
    a_task("H", requires_approval=True),
    a_task("I", requires_approval=True),
    a_task("P"),
    a_task("P1", parent_id="P"),
)


@dataclass(frozen=True)
class Step:
    """A call of an operation, or `does`. `after` seconds pass before it; a `safe` step may be repeated when nobody knows
    whether it was done."""

    who: str = "ann"
    call: str = ""
    asks: dict[str, Any] = field(default_factory=dict[str, Any])
    does: Callable[["Life"], Awaitable[Any]] | None = None
    after: float = 1
    safe: bool = True


async def _end_of_bob(life: "Life") -> None:
    await keeping.end(life.store, life.callers["bob"], life.policy)


async def _lead(life: "Life") -> Any:
    return await life.store.write(life.callers["ann"], lambda tx: tx.state.lead("background", 15))


async def _rescore(life: "Life") -> Any:
    return await life.store.write(life.callers["ann"], lambda tx: tx.graph.rescore_due(None, 100))


async def _renew(life: "Life") -> None:
    """How many were renewed is nobody's concern."""
    await life.store.write(life.callers["bob"], lambda tx: tx.queue.renew(life.callers["bob"].session_id))


async def _alert(life: "Life") -> None:
    await life.store.write(
        life.callers["ann"], lambda tx: tx.alerts.raise_alert("queue_stalled", "critical", None, "nothing moves")
    )


async def _resolve(life: "Life") -> None:
    await life.store.write(life.callers["ann"], lambda tx: tx.alerts.resolve_alert("queue_stalled", None))


async def _forget(life: "Life") -> None:
    await life.store.write(life.callers["ann"], lambda tx: tx.replays.forget(tx.now - background.KEEP_REPLAYS))


async def _adopt(life: "Life") -> None:
    """A successor of bob's session takes over its lease and completes the task."""
    await ALL["complete_task"](
        life.services, life.callers["bob2"], {"task_id": "D", "lease_token": 2, "summary": "again"}
    )


def _agent(call: str, who: str = "ann", after: float = 1, **asks: Any) -> Step:
    return Step(who=who, call=call, asks=asks, after=after)


def _person(call: str, *, safe: bool = False, **asks: Any) -> Step:
    return Step(who="owner", call=call, asks=asks, safe=safe)


STEPS = (
    _agent("create_tasks", tasks=list(TASKS), request_id="new"),
    Step(who="owner", call="roadmap_sync"),
    _agent("claim_task", task_id="A", request_id="c1"),
    _agent("heartbeat", task_id="A", lease_token=1, progress=10, note="begun"),
    _agent("checkpoint", task_id="A", lease_token=1, summary="half", next_steps="the rest", progress=50, files=["a.py"]),
    _agent("checkpoint", task_id="A", lease_token=1, summary="nearly", progress=90),
    _agent("context_write", topic="money", content="Round half to even.", tags=["t"], epic_id="SHOP", request_id="w1"),
    _agent("complete_task", task_id="A", lease_token=1, summary="done", artifacts=["a.py"]),
    _agent("claim_task", "bob", task_id="B", request_id="c2"),
    _agent("fail_task", "bob", task_id="B", lease_token=1, error="broken"),
    _agent("claim_task", "bob", after=40, task_id="B", request_id="c3"),
    _agent("fail_task", "bob", task_id="B", lease_token=2, error="broken still"),
    _person("retry", task_id="B", reason="mended"),
    _agent("claim_task", task_id="C", request_id="c4"),
    _agent("block_task", task_id="C", lease_token=1, reason="needs D", waiting_for=["D"]),
    _agent("claim_task", "bob", task_id="D", request_id="c5"),
    Step(does=_renew),
    _agent("complete_task", "bob", task_id="D", lease_token=1, summary="done"),
    _person("reopen", task_id="D", reason="forgotten case"),
    _person("cancel", task_id="E", reason="not wanted"),
    _person("restore", task_id="E"),
    _agent("update_task", task_id="G", title="Do G well", priority="low", depends_on=["F"], request_id="u1"),
    _agent("update_task", task_id="G", remove_depends_on=["F"], add_depends_on=["D"], parent_id="P", request_id="u2"),
    _agent("update_task", task_id="P1", status="blocked", reason="later", request_id="u3"),
    _person("unblock", task_id="P1"),
    _agent("claim_task", task_id="F", lease_seconds=5, request_id="c6"),
    _agent("claim_task", "bob", after=10, task_id="D", request_id="c7"),
    Step(who="bob", does=_end_of_bob),
    Step(who="bob2", does=_adopt),
    _agent("claim_task", task_id="F", request_id="c8"),
    _agent("release_task", task_id="F", lease_token=2, reason="tired"),
    _person("approve", task_id="H"),
    _person("deny", task_id="I", reason="too risky"),
    _agent("claim_task", task_id="H", request_id="c9"),
    _agent("approval_request", task_id="H", lease_token=1, command="git push", reason="to ship it"),
    _person("deny", id="H", reason="not today"),
    _agent("claim_task", request_id="c10"),
    _agent("approval_request", task_id="H", lease_token=2, question="Ship it tomorrow?"),
    _person("approve", id="H"),
    _person("pause", safe=True, reason="lunch"),
    _person("resume", safe=True),
    _person("add", title="Thing", id="X1", depends_on=["C"]),
    Step(who="owner", call="roadmap_sync", asks={"later": True}),
    Step(does=_lead),
    Step(does=_rescore),
    Step(does=_alert),
    Step(does=_resolve),
    Step(after=90_000, does=_forget),
)  # fmt: skip


TABLES = {
    "sqlite": "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    " AND name NOT GLOB '*_search_*' ORDER BY name",
    "postgres": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename",
}


class Life:
    """An open store with the sessions of its agents; `generation` tells the processes of one life apart."""

    def __init__(self, folder: Path, generation: int, steps_done: int = 0, url: str | None = None) -> None:
        self.folder = folder
        self.source = looked_for(folder, url)
        self.clock = StoppedClock()
        self.clock.advance(sum(step.after for step in STEPS[:steps_done]))
        # Nothing is synced: SIGKILL is no power cut, what was written stays with the kernel.
        self.store = a_store(folder, url, self.clock, synchronous="OFF")
        self.policy = Policy(wip_limit=3, agent_wip_limit=1, lease_seconds=600, grace_seconds=60)
        self.callers: dict[str, Caller] = {
            name: an_agent("bob" if name == "bob2" else name, f"{name}.{generation}") for name in ("ann", "bob", "bob2")
        }
        self.callers["owner"] = a_person()
        self._presence = ExitStack()
        self._attending = [
            attending(folder, url, caller.session_id) for caller in self.callers.values() if not caller.durable
        ]
        self.services = Services(
            store=self.store,
            policy=self.policy,
            roadmap=RoadmapSource(folder / "roadmap.yaml"),
            directives=DirectiveFiles(folder),
        )

    async def __aenter__(self) -> "Life":
        await self.store.open()
        for each in self._attending:
            self._presence.enter_context(each)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._presence.close()
        await self.store.close()

    async def live(self, place: int) -> Any:
        """Time passes, and the step is taken."""
        step = STEPS[place]
        self.clock.advance(step.after)
        if step.does is not None:
            return await step.does(self)
        asks = dict(step.asks)
        if step.call == "roadmap_sync":
            (self.folder / "roadmap.yaml").write_text(ROADMAP_LATER if asks.pop("later", False) else ROADMAP)
        return await ALL[step.call](self.services, self.callers[step.who], asks)

    async def content(self) -> dict[str, list[str]]:
        """Every row of every table, but for what names the process."""

        async def dump(rows: Rows) -> dict[str, list[str]]:
            tables = rows.column(TABLES[rows.dialect.name])
            found: dict[str, list[str]] = {}
            for table in tables:
                kept = [
                    {k: v for k, v in row.items() if k not in ("pid", "host")}
                    for row in rows.all(f"SELECT * FROM {table}")
                ]
                found[table] = sorted(map(repr, kept))
            return found

        return await self.store.writer.read(dump)


async def resulting(life: Life) -> dict[str, Any]:
    """What matters at the end, whichever processes brought it about."""

    async def look(rows: Rows) -> dict[str, Any]:
        return {
            "tasks": rows.all(
                "SELECT id, title, status, score, unmet_deps, gates, assigned_to, lease_token, attempts, expiries, progress,"
                " blocked_reason, epic_id, parent_id FROM tasks ORDER BY id"
            ),
            "edges": rows.all("SELECT * FROM task_dependencies ORDER BY 1, 2"),
            "checkpoints": rows.all("SELECT id, summary, progress FROM checkpoints ORDER BY id"),
            "context": rows.all("SELECT topic, version, content FROM context_entries ORDER BY 1, 2"),
            "alerts": rows.all("SELECT kind, task_id, resolved_at IS NULL AS open FROM alerts ORDER BY id"),
            "done": rows.all(
                "SELECT task_id, kind, count(*) AS n FROM events WHERE kind IN ('task.completed', 'task.failed',"
                " 'task.failed_attempt', 'task.created', 'task.checkpoint', 'context.written', 'task.released',"
                " 'approval.asked', 'approval.answered', 'task.approved', 'task.denied')"
                " GROUP BY 1, 2 ORDER BY 1, 2"
            ),
            "approvals": rows.all("SELECT approval_id, state, decided_by, reason FROM approvals ORDER BY seq"),
            "paused": rows.all("SELECT value FROM facts WHERE name = 'paused'"),
        }

    return await life.store.writer.read(look)
