"""A person's repository with worktrees of workers in it; real git that knows nobody, and a real store."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.bench import Bench, a_task, an_agent
from tests.support.fixed_rules import FixedRules
from wvo_mcp.domain.lease import Caller, WorkerPass
from wvo_mcp.domain.policy import SafetyPolicy
from wvo_mcp.domain.text import as_id
from wvo_mcp.execution.reviews import CommitsOfRoot, ReviewFolder
from wvo_mcp.execution.workspaces.checkpoints import FileCheckpoints
from wvo_mcp.execution.workspaces.judging import Judging
from wvo_mcp.execution.workspaces.places import Worktrees
from wvo_mcp.execution.workspaces.promotions import ShadowPromotions
from wvo_mcp.execution.workspaces.rolling import FileRollbacks
from wvo_mcp.execution.workspaces.rows import Rows
from wvo_mcp.execution.workspaces.submitting import PinnedSubmissions
from wvo_mcp.execution.workspaces.validating import Validator
from wvo_mcp.execution.workspaces.worktree import host_name
from wvo_mcp.operations import ALL, Container
from wvo_mcp.orchestration.tasks import review
from wvo_mcp.orchestration.workspaces.triggers import Guard
from wvo_mcp.ports.places import Place, PlaceAsk
from wvo_mcp.ports.rules import ProjectRules

HERE = as_id(host_name())[:48]
JOURNAL = Caller("wvo-mcp", "places", durable=True, pooled=False)


class FixedJudge:
    """`ports.safety.Judge` whose policy a test sets."""

    def __init__(self) -> None:
        self.now = SafetyPolicy()

    async def refresh(self) -> None: ...

    def policy(self) -> SafetyPolicy:
        return self.now


class Yard:
    """`root` is the person's checkout; ROOT, and with it the worktrees' folder, is below it."""

    def __init__(self, root: Path, bench: Bench) -> None:
        self.root = root
        self.bench = bench
        self.folder = root / "state" / "worktrees"
        self.rules = FixedRules()
        self.judge: Any = FixedJudge()
        self.again()

    def again(self) -> None:
        """As another process sees it."""
        logs = self.root / "state" / "workers"
        store: Any = self.bench and self.bench.store
        self.places = Worktrees(
            root=self.root, folder=self.folder, logs=logs, store=store, caller=JOURNAL, rules=self.rules
        )
        judging = Judging(store, JOURNAL, Validator(self.judge))
        self.submissions = PinnedSubmissions(self.root, store, JOURNAL, judging)
        self.files = FileCheckpoints(self.root, self.folder, store, JOURNAL, judging)
        self.promotions = ShadowPromotions(self.root, self.folder, Rows(store, JOURNAL), judging)
        self.rollbacks = FileRollbacks(self.root, self.folder, store, JOURNAL, self.files, judging)
        self.guard = Guard(store, self.files, self.rollbacks)

    @property
    def services(self) -> Container:
        """What tools of workspaces need."""
        files = {"Checkpoints": self.files, "Rollbacks": self.rollbacks, "Promotions": self.promotions}
        places = {"Places": self.places, "Submissions": self.submissions}
        reviews = {
            "Commits": CommitsOfRoot(self.root, self.folder),
            "ReviewFiles": ReviewFolder(self.root / "state" / "reviews"),
        }
        parts: dict[type | str, object] = {Guard: self.guard, ProjectRules: self.rules}
        parts |= {f"wvo_mcp.ports.checkpoints.{name}": part for name, part in files.items()}
        parts |= {f"wvo_mcp.ports.places.{name}": part for name, part in places.items()}
        parts |= {f"wvo_mcp.ports.reviews.{name}": part for name, part in reviews.items()}
        return self.bench.services.having(parts)

    def begin(self, **files: str) -> "Yard":
        self.root.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")
        self.write(self.root, {"code.py": "a = 1\n", ".gitignore": "*.log\n.env\nstate/\n", **files})
        self.save("begin")
        return self

    def copied(self, origin: Path) -> "Yard":
        """As another one began."""
        shutil.copytree(origin, self.root, symlinks=True)
        return self

    def write(self, folder: Path, files: dict[str, str]) -> None:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    def save(self, message: str) -> str:
        self.git("add", "-A")
        self.git("-c", "user.name=Pat", "-c", "user.email=pat@example.org", "commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str, at: Path | None = None, check: bool = True) -> str:
        return git(at or self.root, *arguments, check=check)

    async def claimed(self, task_id: str, **fields: Any) -> Caller:
        """Make the task and claim it; the worker's own connection."""
        await self.bench.create(a_task(task_id, **fields))
        return await self.claim(task_id)

    async def claim(self, task_id: str, host: str = HERE) -> Caller:
        self.bench.limits(wip_limit=50)
        agent = an_agent(f"auto-host.{task_id}")
        token = (await self.bench.claim(agent, task_id))["lease"]["token"]
        on = {"task_id": task_id, "lease_token": token, "agent_id": agent.agent_id, "run_id": "r", "host": host}
        model = {"provider": "claude", "tier": "high", "model": "opus"}
        row = await self.bench.write(lambda tx: tx.workers.add({**on, **model}))
        return replace(agent, admitted=WorkerPass(row.worker_id, task_id, token))

    async def open(self, worker: Caller, slot: int = 0, onto: str | None = None, **begins: Any) -> Place:
        assert worker.admitted is not None
        ask = PlaceAsk(
            task_id=worker.admitted.task_id, lease_token=worker.admitted.lease_token, slot=slot, onto=onto, **begins
        )
        return await self.places.open(ask)

    async def opened(self, task_id: str, **fields: Any) -> tuple[Caller, Place]:
        worker = await self.claimed(task_id, **fields)
        return worker, await self.open(worker)

    async def complete(self, worker: Caller, **more: Any) -> dict[str, Any]:
        assert worker.admitted is not None
        return await ALL["complete_task"](
            self.services, worker, {"task_id": worker.admitted.task_id, "summary": "done", **more}
        )

    async def submitted(self, task_id: str, **files: str) -> str:
        """A task that was done with these files, and counts as landed; the commit."""
        worker, place = await self.opened(task_id)
        self.write(place.path, files)
        await self.complete(worker)
        return await self.landed(task_id)

    async def landed(self, task_id: str) -> str:
        """Its newest submission counts as landed; the commit."""

        async def work(tx: Any) -> str:
            entry = (await tx.submissions.of_task(task_id))[0]
            await review.landed(tx, entry, {"landed_sha": entry["commit_sha"]})
            return entry["commit_sha"]

        return await self.bench.write(work)

    async def returned(self, task_id: str) -> None:
        """Its submission could not land: it can be claimed again."""

        async def work(tx: Any) -> None:
            task = await tx.tasks.get(task_id)
            await tx.tasks.change(task, "task.returned", {"status": "pending"}, {})

        await self.bench.write(work)

    async def states(self, task_id: str) -> list[str]:
        rows = await self.bench.sql("SELECT state FROM workspaces WHERE task_id = ? ORDER BY created_at", task_id)
        return [row["state"] for row in rows]

    def refs(self, prefix: str = "refs") -> list[str]:
        return self.git("for-each-ref", "--format=%(refname)", prefix).split()

    def show(self, commit: str, name: str) -> str:
        return self.git("show", f"{commit}:{name}")

    def names(self, commit: str) -> set[str]:
        return set(self.git("ls-tree", "-r", "--name-only", "-z", commit).split("\0")) - {""}


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """As a person runs it there."""
    ran = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0 or not check, ran.stderr
    return ran.stdout.strip()


def new_mode(*, executable: bool = False) -> int:
    """Of a file that a program makes here."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "new").touch()
        mode = (Path(folder) / "new").stat().st_mode & 0o777
    return mode | (mode & 0o444) >> 2 if executable else mode


def digests(root: Path, spared: Sequence[str] = ()) -> dict[str, str]:
    """Of every file, link and folder below, with modes; but for what is below `spared`."""
    found: dict[str, str] = {}
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = [one for one in folders if (here / one).relative_to(root).as_posix() not in spared]
        for path in (here / one for one in (*folders, *files)):
            name = path.relative_to(root).as_posix()
            if name in spared:
                continue
            content = (
                str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            )
            found[name] = f"{path.lstat().st_mode:o} {hashlib.sha256(content).hexdigest()}"
    return found
