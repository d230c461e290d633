"""A yard whose finished work lands: the real queue over a real store and real git."""

import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from tests.support.bench import ANN
from tests.support.yard import JOURNAL, Yard
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.rules import MergeRules, Rules
from wvo_mcp.execution.merging.repository import MergeRepository
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.execution.workspaces.worktree import host_name
from wvo_mcp.orchestration.leader import Candidate as Slot
from wvo_mcp.orchestration.leader import LeaderJob
from wvo_mcp.orchestration.merging.queue import MergeQueue
from wvo_mcp.orchestration.tasks import review
from wvo_mcp.ports.merging import Candidate, Verdict

RUNNER = Caller("auto-here", "runner/1", client="tests", worker=True)


class Exported:
    """Runs the commands on the files of the candidate, in a folder of its own; `before` is awaited first, each time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.runs: list[str] = []
        self.before: Callable[[], Awaitable[None]] | None = None
        self.log: str | None = None

    async def verify(
        self, common: Common, candidate: Candidate, commands: Sequence[str], *, seconds: float, setup: str | None,
        names: Sequence[str],
    ) -> Verdict:  # fmt: skip
        if self.before is not None:
            await self.before()
        return await to_thread.run_sync(self._run, common, candidate.tree, commands)

    def _run(self, common: Common, tree: str, commands: Sequence[str]) -> Verdict:
        folder = self._folder / str(len(self.runs))
        folder.mkdir(parents=True)
        self.runs.append(tree)
        files = common.run("archive", "--format=tar", tree)
        subprocess.run(["tar", "-x", "-C", str(folder)], input=files, check=True)
        for command in commands:
            ran = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
            if ran.returncode:
                said = ran.stdout + ran.stderr
                return Verdict(passed=False, took_ms=1, command=command, exit_code=ran.returncode, tail=said)
        return Verdict(passed=True, took_ms=1, log=self.log)


class Lane:
    """`yard` has the worktrees; what its workers complete is landed by `queue`."""

    def __init__(self, yard: Yard, folder: Path) -> None:
        self.yard = yard
        self.bench = yard.bench
        self.checks = Exported(folder)
        self.told: list[Mapping[str, Any]] = []
        self.queue = self.runner()

    def runner(self, caller: Caller = RUNNER, **more: Any) -> MergeQueue:
        """As another process has it."""
        store: Any = self.bench.store
        repository = MergeRepository(self.yard.root, self.checks, self.yard.places.suspected)
        given: dict[str, Any] = {
            "store": store, "caller": lambda: caller, "repository": repository, "rules": self.yard.rules,
            "clock": self.bench.clock, "host": host_name(), "news": self.told.append,
        }  # fmt: skip
        return MergeQueue(**(given | more))

    def rule(self, **rules: Any) -> None:
        merge = {name: rules.pop(name) for name in ("policy", "mode", "max_waiting") if name in rules}
        known = self.yard.rules.rules
        if merge:
            rules["merge"] = replace(known.merge or MergeRules(), **merge)
        self.yard.rules.rules = replace(known, **rules)

    async def land(self) -> None:
        """All that can land now."""
        while await self.queue.turn():
            pass

    async def submit(
        self, task_id: str, files: Mapping[str, str], *, claims: Sequence[str] = (), **fields: Any
    ) -> dict[str, Any]:
        """A worker did the task, which `claims` these files; its submission."""
        fields |= {"files": list(claims)} if claims else {}
        worker, place = await self.yard.opened(task_id, **fields)
        self.yard.write(place.path, dict(files))
        return (await self.yard.complete(worker))["submission"]

    async def again(self, task_id: str, files: Mapping[str, str]) -> dict[str, Any]:
        """It came back, and a worker mends it in its worktree."""
        worker = await self.yard.claim(task_id)
        came_back = await self.bench.read(lambda tx: review.returned(tx, task_id))
        place = await self.yard.open(worker, onto=None if came_back is None else came_back["tip_sha"])
        self.yard.write(place.path, dict(files))
        return (await self.yard.complete(worker))["submission"]

    async def entry(self, entry_id: str) -> dict[str, Any]:
        row = await self.bench.read(lambda tx: tx.submissions.get(entry_id))
        assert row is not None
        return row

    async def states(self) -> dict[str, str]:
        """{task: state of its newest entry}."""
        rows = await self.bench.sql("SELECT task_id, state FROM merge_entries ORDER BY seq")
        return {row["task_id"]: row["state"] for row in rows}

    async def do(self, job: LeaderJob) -> None:
        slot = Slot(self.bench.store, lambda: JOURNAL, self.bench.clock)
        term = await slot.seek()
        assert term is not None
        await job.run(term)

    def main(self, name: str) -> str:
        return self.yard.show("main", name)


@pytest.fixture
def lane(yard: Yard, tmp_path: Path) -> Lane:
    yard.rules.rules = Rules()
    return Lane(yard, tmp_path / "checks")


__all__ = ["ANN", "Lane", "lane"]
