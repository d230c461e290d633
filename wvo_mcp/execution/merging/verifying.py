"""The project's commands on a candidate, in a detached worktree of ours (contract, section 9).

What runs there is the work of agents: it runs below a warden, as workers do, so that it can decide nothing that only people
may, and nothing of it is left when it has ended.
"""

import fcntl
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from anyio import to_thread

from wvo_mcp.domain.redaction import redact
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.merging.telling import what_matters
from wvo_mcp.execution.workspaces import preparing
from wvo_mcp.execution.workspaces.places import SETUP_SECONDS
from wvo_mcp.execution.workspaces.repository import Common, Tampered, found_around
from wvo_mcp.execution.workspaces.worktree import admin
from wvo_mcp.ports.merging import Candidate, NotNow, Verdict
from wvo_mcp.processes import Limit, NotStarted, Program, started

_NAME = ".verify"
_SLOT = 15
"""The last one, whose ports no worker of a usual run has."""
_WARDEN = Path(__file__).parents[1] / "agents" / "warden.py"
_HALF = 1 << 20
_LOGS_KEPT = 50
_MOST_OUTPUT = 1 << 30
_GRACE = 5.0
_WHOLE = (("core.sparseCheckout", "false"),)
"""All files are verified, also where the person has checked out a part."""


@dataclass
class _Said:
    """What a program printed: its beginning and its end, and how much that was."""

    head: bytearray = field(default_factory=bytearray)
    tail: deque[bytes] = field(default_factory=deque[bytes])
    size: int = 0
    _kept: int = 0

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        room = _HALF - len(self.head)
        self.head += chunk[:room]
        if rest := chunk[room:]:
            self.tail.append(rest)
            self._kept += len(rest)
            while self._kept - len(self.tail[0]) > _HALF:
                self._kept -= len(self.tail.popleft())

    def text(self) -> str:
        kept = b"".join(self.tail)
        cut = self.size - len(self.head) - len(kept)
        middle = f"\n[{cut:,} bytes are left out]\n".encode() if cut else b""
        return redact((bytes(self.head) + middle + kept).decode(errors="replace").replace("\0", "\\0"))


@dataclass(frozen=True, slots=True)
class _Ran:
    code: int | None
    why: str
    text: str


class Verifier:
    """`folder` is that of the worktrees, `logs` that of workers."""

    def __init__(self, root: Path, folder: Path, logs: Path) -> None:
        self._root = root.resolve()
        self._path = folder.resolve() / _NAME
        self._spared = (folder.resolve(), logs.resolve())
        self._logs = logs.resolve() / "verify"

    async def verify(
        self,
        common: Common,
        candidate: Candidate,
        commands: Sequence[str],
        *,
        seconds: float,
        setup: str | None,
        names: Sequence[str],
    ) -> Verdict:
        began = time.monotonic()
        lock = await to_thread.run_sync(self._locked)
        try:
            await self._prepare(common, candidate)
            log = self._logs / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{candidate.commit[:12]}.log"
            env = {
                **preparing.restricted(os.environ, names),
                "WVO_PORT_BASE": str(preparing.port_base(self._root, _SLOT)),
            }
            parts: list[str] = []

            async def done(command: str, limit: float) -> _Ran:
                ran = await self._run(command, env, limit, lock)
                parts.append(f"$ {redact(command)}\n{ran.text}\n[{ran.why}]\n")
                await to_thread.run_sync(self._write, log, "\n".join(parts))
                return ran

            if setup is not None and (ran := await done(setup, SETUP_SECONDS)).code != 0:
                raise NotNow(f"project.setup {ran.why} in the worktree for verification; its log is {log}")
            for command in commands:
                ran = await done(command, seconds)
                if ran.code != 0:
                    return Verdict(
                        passed=False,
                        took_ms=_ms(began),
                        command=redact(command),
                        exit_code=ran.code,
                        tail=what_matters(ran.text),
                        log=str(log),
                    )
            return Verdict(passed=True, took_ms=_ms(began), log=str(log))
        except OSError as error:
            raise NotNow(f"the verification could not be run: {error.strerror or error}") from None
        finally:
            os.close(lock)

    # The worktree

    def _locked(self) -> int:
        """Raises NotNow while another process verifies here."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._path.parent / f"{_NAME}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise NotNow("another process verifies in the same worktree") from None
        return lock

    async def _prepare(self, common: Common, candidate: Candidate) -> None:
        """Raises NotNow."""
        try:
            await to_thread.run_sync(self._exactly, common, candidate.commit)
        except Tampered as error:
            raise NotNow(f"the repository's own files were changed; see wvo-mcp trust: {error}") from None
        except (GitFailed, OSError, preparing.NotPrepared) as error:
            raise NotNow(f"the worktree for verification could not be prepared: {error}") from None

    def _exactly(self, common: Common, commit: str) -> None:
        """The worktree has the files of the commit, what `.worktreeinclude` names, and nothing else."""
        try:
            self._reset(common, commit)
        except (GitFailed, OSError):  # the last run may have left anything there; it is made anew
            self._removed(common)
            add = ("worktree", "add", "--quiet", "--detach", "--force", str(self._path), commit)
            common.git(*add, ends_with_us=True, settings=_WHOLE)
            self._reset(common, commit)
        preparing.included(common, self._path, self._spared)

    def _reset(self, common: Common, commit: str) -> None:
        folder = admin(common, self._path)
        if folder is None or not self._path.is_dir() or self._path.is_symlink():
            raise GitFailed(f"{self._path} is no worktree")
        # The locks are of a run that was killed: we hold the lock of the worktree. In its index, a command may have marked
        # files as not to be looked at or not to be written: then later runs would see what it made of them.
        for name in ("index.lock", "HEAD.lock", "index"):
            (folder / name).unlink(missing_ok=True)
        mark = self._path / ".git"
        if mark.is_dir() and not mark.is_symlink():
            shutil.rmtree(mark)
        mark.unlink(missing_ok=True)
        mark.write_text(f"gitdir: {folder}\n")
        # As a worktree of its own it would have a configuration of its own, and what ran here may have written that.
        env = {"GIT_INDEX_FILE": str(folder / "index")}
        common.git("update-ref", "--no-deref", f"worktrees/{folder.name}/HEAD", commit)
        for command in (
            ("read-tree", "--reset", "-u", commit),
            ("clean", "--quiet", "-ffdx"),
            ("checkout-index", "--quiet", "--all", "--force"),
        ):
            common.git(*command, env=env, tree=self._path, settings=_WHOLE)

    def _removed(self, common: Common) -> None:
        with suppress(GitFailed):
            common.git("worktree", "remove", "--force", "--force", str(self._path))
        if self._path.is_dir() and not self._path.is_symlink():
            _opened(self._path)
            shutil.rmtree(self._path)
        self._path.unlink(missing_ok=True)
        with suppress(GitFailed):
            common.git("worktree", "prune")

    # The commands

    async def _run(self, command: str, env: Mapping[str, str], seconds: float, lock: int) -> _Ran:
        """What runs has the lock as well: after a kill of this process nobody else begins before all of it has ended. Raises
        OSError, NotNow."""
        found = found_around(self._root)
        where = self._path / (self._root.relative_to(found[0]) if found else "")
        said = _Said()
        reading, writing = os.pipe()
        try:
            program = Program(
                argv=(sys.executable, "-I", "-S", str(_WARDEN), str(reading), "sh", "-c", f"exec 2>&1\n{command}"),
                env=env,
                cwd=where if where.is_dir() else self._path,
                deadline=seconds,
                output=_MOST_OUTPUT,
                grace=_GRACE,
                inherits=(reading, lock),
            )
            async with started(program) as child:
                os.close(reading)
                reading = -1
                while chunk := await child.read():
                    said.add(chunk)
                ended = await child.ended()
        except NotStarted as error:
            raise NotNow(f"the verification could not be started: {error}") from None
        finally:
            for fd in (reading, writing):
                if fd >= 0:
                    os.close(fd)
        text = await to_thread.run_sync(said.text)
        if ended.limit is Limit.DEADLINE:
            return _Ran(None, f"took longer than {seconds:.0f} s", text)
        if ended.limit is Limit.OUTPUT:
            why = f"printed more than {_MOST_OUTPUT >> 20} MiB"
            return _Ran(ended.code or 1, why, f"{text}\n[it {why}, and was ended]")
        return _Ran(ended.code, f"ended with {ended.code}", text)

    def _write(self, log: Path, text: str) -> None:
        with suppress(OSError):  # the verdict counts without a log too: the disk may be full
            self._logs.mkdir(parents=True, exist_ok=True)
            log.write_text(text, "utf-8", "replace")
            for old in sorted(self._logs.glob("*.log"))[:-_LOGS_KEPT]:
                old.unlink(missing_ok=True)


def _opened(folder: Path) -> None:
    """Let us remove what is in it: caches of modules are read-only folders."""
    folder.chmod(0o700)
    for above, names, _ in os.walk(folder):
        for name in names:
            if not (below := Path(above) / name).is_symlink():
                below.chmod(0o700)


def _ms(began: float) -> int:
    return int((time.monotonic() - began) * 1_000)
