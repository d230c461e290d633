"""No file of people is read and no YAML parsed while others wait for the store's lock."""

import builtins
import io
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.leading import a_leader
from wvo_mcp.domain.lease import Caller
from wvo_mcp.execution.providers.workspace import ProvidersOfWorkspace
from wvo_mcp.execution.reports import ContextSnapshots
from wvo_mcp.execution.yaml import reading
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration import background
from wvo_mcp.orchestration.routing import overview
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.store import SOON

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SCALE-1")]

T = TypeVar("T")
ONE = "kind: codex, tiers: {{low: {{model: m}}, high: {{model: n}}}}"
PROVIDERS = "providers:\n  one: {{limits: {{hourly: {n}000000}}, " + ONE + "}}\n"
ROADMAP = "epics:\n  - id: E\n    title: E\n    tasks:\n      - {{id: R1, title: number {n}}}\n      - {{id: R2, title: two}}\n"


class Watched:
    """The store of a bench. Tells what is opened and parsed between the beginning and the end of a writing transaction."""

    def __init__(self, bench: Bench, root: Path, patch: pytest.MonkeyPatch) -> None:
        self._store = bench.store
        self._root = str(root)
        self._within = threading.local()
        self.writes = 0
        self.met: list[str] = []
        for module, name in ((os, "open"), (io, "open"), (builtins, "open")):
            patch.setattr(module, name, partial(self._opened, getattr(module, name)))
        patch.setattr(reading, "compose", self._parsed(reading.compose))

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self._store.read(caller, work)

    async def wait_for_change(self, seconds: float, *, within: float = SOON) -> bool:
        return await self._store.wait_for_change(seconds, within=within)

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        async def within(tx: Transaction) -> T:
            self._within.writing = True
            self.writes += 1
            try:
                return await work(tx)
            finally:
                self._within.writing = False

        return await self._store.write(caller, within, keep=keep)

    @property
    def _writing(self) -> bool:
        """In this thread: a transaction never leaves its own, while other jobs of the leader read files in theirs."""
        return getattr(self._within, "writing", False)

    def _opened(self, real: Callable[..., Any], file: Any, *arguments: Any, **named: Any) -> Any:
        # Whether a session lives is told by the lock on its file, whose look belongs to the transaction.
        name = str(file)
        if self._writing and name.startswith(self._root) and "/sessions/" not in name:
            self.met.append(name)
        return real(file, *arguments, **named)

    def _parsed(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def parsed(*given: Any) -> Any:
            if self._writing:
                self.met.append("YAML")
            return real(*given)

        return parsed


async def test_whatever_changed_is_read_before_a_transaction_begins(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state" / "providers.yaml"
    providers = ProvidersOfWorkspace(path, {}, bench.clock)
    watched = Watched(bench, tmp_path, monkeypatch)
    bench.services = replace(
        bench.services, store=watched, providers=providers, snapshots=ContextSnapshots(tmp_path / "snapshots")
    )
    leader = a_leader(
        watched,
        lambda: BOB,
        bench.clock,
        (*background.leader_jobs(bench.services.roadmap, bench.policy), overview.file_check(providers)),
    )
    bench.workers = True
    turns = 0

    async def changed() -> None:
        """Both files are other ones, and have stood for longer than anybody waits."""
        nonlocal turns
        turns += 1
        for file, text in ((path, PROVIDERS), (bench.roadmap, ROADMAP)):
            file.write_text(text.format(n=turns))
            os.utime(file, (1_000_000_000 + turns, 1_000_000_000 + turns))
        bench.clock.advance(10)

    async def call(name: str, caller: Caller = ANN, **arguments: Any) -> dict[str, Any]:
        await changed()
        return await bench.call(name, caller, **arguments)

    async def tick() -> None:
        await changed()
        for _ in range(2):
            async with anyio.create_task_group() as tasks:
                await leader.tick(tasks)
            bench.clock.advance(2)

    await tick()
    await call("create_tasks", tasks=[a_task("T1"), a_task("T2")])
    assert (await call("claim_task", task_id="T1"))["route"]["provider"] == "one"
    await call("provider_report", provider="one", tier="low", tokens_in=10, task_id="T1")
    await call("complete_task", task_id="T1", summary="done")
    await call("claim_task", task_id="T2")
    await call("routing_mode", mode="cloud")
    await changed()
    await ALL["budget_raise"](bench.services, OWNER, {"scope": "provider", "name": "one", "hourly": 1})
    await call("roadmap_sync", OWNER)
    await call("roadmap_export", OWNER)
    await call("roadmap_export", OWNER, dry_run=True)
    await call("import_tasks", OWNER, text="- [ ] one\n")
    await call("context_write", topic="t", content="c")
    await call("context_snapshot")
    await call("health_run")
    await changed()
    await overview.refresh(providers, watched, BOB)
    await tick()
    await call("provider_report", provider="one", tier="low", outcome="rate_limit")

    assert watched.met == []
    assert watched.writes > 20
    hourly = providers.current().providers[0].limits.hourly
    assert hourly == turns * 1_000_000, "the files were read all the same"
