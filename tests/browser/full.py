"""A project with something of everything, each text as an attacker would write it."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support.bench import OWNER, Bench, a_task
from tests.support.services import Services
from tests.support.sessions import Servers, an_agent
from tests.support.yard import HERE, Yard
from wvo_mcp.domain.approval import ApprovalKind, subject_of_command
from wvo_mcp.domain.lease import Caller, Policy, WorkerPass
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.approvals import deciding
from wvo_mcp.orchestration.tasks import review
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.workers import Violation
from wvo_mcp.store.sqlite.store import SqliteStore

HOSTILE = (
    '<img src=x onerror="window.__xss=1"><script>window.__xss=1</script>\x1b[31mred\u202e" onfocus="window.__xss=1'
)
FILE = "<img src=x onerror=window.__xss=1>.py"
_WORKER = an_agent("robot", durable=True)
_ASKING = ("ASK-1", "ASK-2", "ASK-3", "ASK-4", "ASK-5", "ASK-6")
_ROADMAP = """
epics:
  - id: E
    title: "<script>window.__xss=1</script>"
    milestones:
      - {id: M, title: Soon, due: 2027-01-15}
    tasks:
      - {id: R1, title: first of the roadmap, milestone: M}
      - {id: R2, title: second of the roadmap, depends_on: [R1]}
"""


_PROVIDERS = """
providers:
  claude:
    kind: claude
    limits: {hourly: 3000000, daily: 20000000}
    tiers:
      low: {model: haiku, cost: {input: 1, output: 5, cached: 0.1}}
"""


@dataclass(frozen=True)
class Filled:
    approvals: Mapping[str, str]
    """By task, what it asks."""
    entry: str
    landed: str

    def addresses(self, patterns: list[str]) -> list[str]:
        """With ids of what is there."""
        known = {"task_id": "HELD", "worker_id": "w-1", "entry_id": self.entry, "review_id": "R-1"}
        return [pattern.format(**known) for pattern in patterns]


class _LastingYard(Yard):
    """Its workers outlive this process: no server takes their tasks back."""

    async def claim(self, task_id: str, host: str = HERE) -> Caller:
        agent = an_agent(f"auto-host.{task_id}", durable=True)
        token = (await self.bench.claim(agent, task_id))["lease"]["token"]
        on = {"task_id": task_id, "lease_token": token, "agent_id": agent.agent_id, "run_id": "r", "host": host}
        model = {"provider": "claude", "tier": "high", "model": "opus", "state": "working"}
        row = await self.bench.write(lambda tx: tx.workers.add({**on, **model}))
        return replace(agent, admitted=WorkerPass(row.worker_id, task_id, token))


@asynccontextmanager
async def bench_at(root: Path, roadmap: str) -> AsyncGenerator[Bench]:
    """Over the store of a project with this roadmap."""
    clock: Any = SystemClock()
    servers = Servers()
    store = SqliteStore(root / "state" / "state.db", clock, servers, synchronous="OFF")
    await store.open()
    try:
        path = root / "state" / "roadmap.yaml"
        path.write_text(roadmap)
        services = Services(
            store=store,
            policy=Policy(wip_limit=50, agent_wip_limit=50),
            roadmap=RoadmapSource(path),
            directives=DirectiveFiles(root),
        )
        bench = Bench(services, store, clock, servers)
        await bench.call("roadmap_sync", OWNER)
        yield bench
    finally:
        await store.close()


async def fill(root: Path) -> Filled:
    async with bench_at(root, _ROADMAP) as bench:
        (root / "state" / "providers.yaml").write_text(_PROVIDERS)
        yard = _LastingYard(root, bench).begin()
        await _work(yard)
        approvals = await _waits(bench)
        entry = await _submitted(yard)
        landed = await _landed(yard)
        await _rests(yard)
        return Filled(approvals, entry, landed)


async def _work(yard: Yard) -> None:
    """HELD by w-1, in a worktree with two checkpoints."""
    bench = yard.bench
    worker, place = await yard.opened(
        "HELD", title=HOSTILE, description=HOSTILE, acceptance=[HOSTILE], labels=["<b>x</b>"], epic_id="E"
    )

    async def ask(name: str, caller: Caller = worker, **given: Any) -> None:
        await ALL[name](yard.services, caller, given)

    for number in range(2):
        yard.write(place.path, {FILE: f"{number} {HOSTILE}\n"})
        await ask("checkpoint", task_id="HELD", summary=HOSTILE, next_steps=HOSTILE, progress=40 + number)
    await ask("context_write", task_id="HELD", topic="a", content=HOSTILE)
    await ask("message_send", _WORKER, to="person", kind="question", body=HOSTILE)
    await ask("message_send", _WORKER, to="person", kind="note", body=HOSTILE)
    await ask("message_send", _WORKER, to="HELD", task_id="HELD", kind="question", body=HOSTILE)
    await ask("review", OWNER, task_id="HELD", question=HOSTILE)
    logs = yard.root / "state" / "workers"
    logs.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(f"{number} {HOSTILE}" for number in range(40))
    (logs / "w-1.jsonl").write_text(f'{{"wvo": "log", "driver": "none"}}\n{lines}\n')

    async def rest(tx: Transaction) -> None:
        await tx.violations.add(Violation("command", "deny", "<u>", HOSTILE, "HELD", "w-1"))
        await tx.workers.change("w-1", {"log": str(logs / "w-1.jsonl"), "last_act": HOSTILE, "reason": HOSTILE})
        await tx.alerts.raise_alert("odd", "warning", "HELD", HOSTILE, {"said": HOSTILE})
        await tx.alerts.raise_alert("queue_stalled", "critical", None, "nothing completed", {"minutes": 60})

    await bench.write(rest)


async def _waits(bench: Bench) -> dict[str, str]:
    """A task in each state; commands and a question that wait for a person."""
    working = (*_ASKING, "WONDERS", "FAILS", "FAILS-2", "FAILS-3", "STOPPED", "DONE", "LOOSE")
    await bench.create(
        *(a_task(name) for name in working),
        a_task("READY", priority="high"),
        a_task("BEHIND", depends_on=["FAILS"]),
        a_task("GATED", requires_approval=True),
        a_task("LATER", not_before="2100-01-01T00:00:00Z"),
        a_task("GONE"),
    )
    for name in working:
        await bench.claim(_WORKER, name)

    async def asked(tx: Transaction) -> dict[str, str]:
        made: dict[str, str] = {}
        for name in _ASKING:
            subject = subject_of_command(name, f"git push {HOSTILE}", ".")
            task = await tx.tasks.get(name)
            made[name] = (await deciding.ask(tx, Policy(), task, ApprovalKind.COMMAND, subject, HOSTILE)).approval_id
        question = {"task_id": "WONDERS", "question": HOSTILE}
        wonders = await tx.tasks.get("WONDERS")
        made["WONDERS"] = (await deciding.ask(tx, Policy(), wonders, ApprovalKind.TASK, question)).approval_id
        return made

    approvals = await bench.write(asked, _WORKER)
    for name in ("FAILS", "FAILS-2", "FAILS-3"):
        await bench.call("fail_task", _WORKER, task_id=name, error=HOSTILE, retry=False)
    await bench.call("block_task", _WORKER, task_id="STOPPED", reason=HOSTILE)
    await bench.complete("DONE", _WORKER)
    await bench.call("cancel", OWNER, task_id="GONE", reason=HOSTILE)
    return approvals


async def _submitted(yard: Yard) -> str:
    """LANDS waits in the merge lane."""
    worker, place = await yard.opened("LANDS", title=HOSTILE)
    yard.write(place.path, {FILE: f"{HOSTILE}\n", "code.py": f"a = '{HOSTILE}'\n"})
    done = await yard.complete(worker, summary=HOSTILE)
    return str(done["submission"]["entry_id"])


async def _landed(yard: Yard) -> str:
    """LANDED is in the target; its entry."""
    worker, place = await yard.opened("LANDED")
    yard.write(place.path, {"landed.py": "b = 2\n"})
    await yard.complete(worker, summary="done")

    async def work(tx: Transaction) -> str:
        entry = (await tx.submissions.of_task("LANDED"))[0]
        await review.landed(tx, entry, {"landed_sha": entry["commit_sha"], "tip_sha": entry["base_sha"]})
        return entry["entry_id"]

    return await yard.bench.write(work)


async def _rests(yard: Yard) -> None:
    """RESTS has a worktree with two checkpoints, in which nobody works."""
    worker, place = await yard.opened("RESTS")
    for text in ("first\n", "second\n"):
        yard.write(place.path, {"rests.py": text})
        await ALL["checkpoint"](yard.services, worker, {"task_id": "RESTS", "summary": text, "progress": 40})
    await ALL["block_task"](yard.services, worker, {"task_id": "RESTS", "reason": "a question"})
