"""The judge of one project: its policy, read again when it changes, the parser and the paths of this machine."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wvo_mcp.domain.policy import ALLOWED, Judgement, SafetyPolicy, Verdict, held_back, waits
from wvo_mcp.errors import InvalidInput, StoreUnavailable
from wvo_mcp.execution.replacement import fingerprint
from wvo_mcp.execution.safety.policy_file import stated_in
from wvo_mcp.execution.trust import POLICY, Trust

if TYPE_CHECKING:  # a server that judges nothing needs neither grammar nor rules
    from wvo_mcp.domain.judging.reach import Place
    from wvo_mcp.domain.policy import Stated
    from wvo_mcp.ports import Clock

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
_OWN = re.compile(r"mcp_{1,2}wvo(-mcp|_mcp)?_{1,2}\w+")
_HARMLESS = frozenset(
    {"Task", "Agent", "TodoWrite", "TodoRead", "ExitPlanMode", "EnterPlanMode", "Skill", "ToolSearch", "BashOutput"}
    | {"KillShell", "TaskOutput", "TaskStop", "TaskCreate", "TaskUpdate", "TaskGet", "TaskList", "ListMcpResources"}
    | {"update_plan", "write_todos", "save_plan", "activate_skill"}
)
_NETWORK = frozenset({"WebFetch", "WebSearch", "web_fetch", "google_web_search", "web_search"})


class PolicyJudge:
    """Implements `ports.safety.Judge` over the one file of ROOT."""

    def __init__(self, path: Path, trust: Trust, clock: Clock, root: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        self._trust = trust
        self._clock = clock
        home = os.path.realpath(environ.get("HOME") or Path.home())
        self._home = home
        self._root = root
        self._closed = (str(root.resolve()), str(path.parent.resolve()), home)
        folders = ("/tmp", "/var/tmp", environ.get("TMPDIR") or "/tmp")  # noqa: S108 - nothing that we open
        self._temporary = tuple(dict.fromkeys(os.path.realpath(one) for one in folders))
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._seen: object = None
        self._stated: Stated = {}
        self._policy = SafetyPolicy()
        self._unaccepted: str | None = None
        self._problem: str | None = None

    async def refresh(self) -> None:
        self.read_changes()  # two looks at a file take less than a hop to a thread

    def read_changes(self) -> None:
        """`refresh`, in the thread of the caller."""
        with self._lock:
            now = self._clock.steady()
            if now < self._looked + LOOK_SECONDS:
                return
            self._looked = now
            marks = fingerprint(self._path), self._trust.fingerprint()
            if marks == self._seen:
                return
            try:
                self._stated, self._problem = stated_in(self._path), None
            except (InvalidInput, StoreUnavailable) as error:
                self._problem = error.message
                logger.warning("%s", error.message)
            self._policy, differences = held_back(self._stated, self._trust.accepted(POLICY))
            self._unaccepted = waits(differences)
            self._seen = marks

    def policy(self) -> SafetyPolicy:
        return self._policy

    def problem(self) -> str | None:
        return self._problem

    def unaccepted(self) -> str | None:
        return self._unaccepted

    def around(self, cwd: str | None) -> tuple[Path, Path]:
        folder = Path.cwd() / (cwd or ".")
        top = next((one for one in (folder, *folder.parents) if os.path.lexists(one / ".git")), None)
        return folder, self._root if top is None else top

    def command(self, command: str, cwd: Path, workspace: Path, *, attended: bool) -> Judgement:
        from wvo_mcp.domain.judging.running import judge

        try:
            return judge(command, self._place(cwd, workspace, attended=attended))
        except (ValueError, OSError) as error:  # a path that no file system takes, for one
            return Judgement(Verdict.ASK, "unjudged", f"A person must decide: it cannot be judged ({error}).", command)
        except Exception:  # an edge: a defect of the judge must not let a command pass, nor end the worker
            logger.exception("a command could not be judged")
            return Judgement(Verdict.ASK, "unjudged", "A person must decide: it could not be judged.", command)

    def paths(self, paths: Sequence[str], cwd: Path, workspace: Path, *, writes: bool) -> Judgement:
        from wvo_mcp.domain.command import Word
        from wvo_mcp.domain.judging.reach import Reach

        if not paths:
            return Judgement(Verdict.ASK, "no path", "A person must decide: which files it writes is not known.")
        worst, reach = ALLOWED, Reach(self._place(cwd, workspace, attended=False))
        for path in paths:
            try:
                found = list(reach.path(Word((path,)), path, writes=writes))
            except (ValueError, OSError) as error:
                found = [Judgement(Verdict.DENY, "path", f"{path!r} is not a path: {error}.", path)]
            worst = max((worst, *found), key=lambda one: one.verdict)
        return worst

    def tool(self, name: str) -> Judgement:
        policy = self._policy
        lists = ((Verdict.DENY, policy.block), (Verdict.ASK, policy.ask), (Verdict.ALLOW, policy.allow))
        for verdict, listed in lists:
            if name in listed:
                return Judgement(verdict, name, f"The policy of this project lists {name}.", name)
        if _OWN.fullmatch(name) or name in _HARMLESS:
            return ALLOWED
        if name in _NETWORK:
            reason = f"{name} is not allowed here: work with what is in the workspace."
            return Judgement(Verdict.DENY, name, reason, name)
        return Judgement(Verdict.ASK, "tool", f"A person must decide: the policy does not know the tool {name}.", name)

    def _place(self, cwd: Path, workspace: Path, *, attended: bool) -> Place:
        from wvo_mcp.domain.judging.reach import Place
        from wvo_mcp.execution.safety import shell
        from wvo_mcp.execution.safety.paths import resolve

        return Place(
            workspace=os.path.realpath(workspace),
            cwd=os.path.realpath(cwd),
            home=self._home,
            resolve=resolve,
            read=shell.read,
            exists=os.path.lexists,
            is_folder=os.path.isdir,
            policy=self._policy,
            temporary=self._temporary,
            closed=self._closed,
            attended=attended,
        )
