"""What the merge queue does with git: no call within a transaction, and each may be repeated after a crash."""

# pyright: reportReturnType=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from wvo_mcp.domain.rules import MergeMode, MergePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """What is to land: the commits `base`..`commit`, pinned under `refs/wvo/submit/TASK/number`. `title` and `made_at` give
    squashed and merged commits their text and date, so that the same landing on the same tip gives the same commit.
    `undo`: what lies between `base` and `commit` of the target is to be taken back, by a new commit; nothing is pinned."""

    entry_id: str
    task_id: str
    title: str
    target: str
    commit: str
    base: str
    number: int
    made_at: datetime
    policy: MergePolicy
    mode: MergeMode
    undo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What the target would become: `commit` with `tree` on top of `tip`. `files` are the paths that it changes; without
    any, the target holds all of it already and `commit` is `tip`."""

    commit: str
    tree: str
    tip: str
    files: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the commands said of a tree. Of the one that failed: `command`, `exit_code` (None: out of time), `tail` (what
    matters of its output, at most 4,000 characters). `log` holds all output, bounded and redacted."""

    passed: bool
    took_ms: int
    command: str | None = None
    exit_code: int | None = None
    tail: str = ""
    log: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """`commit` is in the target. `note`: for a person, such as a checkout that was updated. `pull_request`: its address;
    `onto`: what the work was put on where that is not the candidate's tip, as where people merge."""

    commit: str
    note: str | None = None
    pull_request: str | None = None
    onto: str | None = None


class Conflicting(Exception):
    """It cannot be put on the tip: `paths` disagree; `texts` has what each would look like, with conflict markers, cut."""

    def __init__(self, paths: Sequence[str], tip: str, texts: Mapping[str, str] | None = None) -> None:
        super().__init__(f"It conflicts with {tip[:12]} in {', '.join(paths[:5])}")
        self.paths = tuple(paths)
        self.tip = tip
        self.texts = dict(texts or {})


class Moved(Exception):
    """The target is no longer at the candidate's tip: build again."""


class NotNow(Exception):
    """It cannot land as things are; the text says why in a sentence. `passing`: the cause may go by itself, though not within
    so many `seconds`."""

    def __init__(
        self, reason: str, *, passing: bool = True, pull_request: str | None = None, seconds: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.passing = passing
        self.pull_request = pull_request
        self.seconds = seconds


class Failing(Exception):
    """What others ran on its pull request did not pass: `checks` by name, with what they said, for the agent."""

    def __init__(self, pull_request: str, checks: Mapping[str, str]) -> None:
        super().__init__(f"{', '.join(checks)} of {pull_request} did not pass")
        self.pull_request = pull_request
        self.checks = dict(checks)


@dataclass(frozen=True, slots=True)
class Predicted:
    """Two entries, or one and the target (`other` is None), that would conflict in `paths`."""

    entry_id: str
    other: str | None
    paths: Sequence[str] = field(default_factory=tuple)


class RefKind(StrEnum):
    PIN = "pin"
    """Of what was submitted."""
    RECORD = "record"
    """Of what we pushed for a pull request."""
    BRANCH = "branch"
    """Of a pull request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRef:
    """One of a remote's that has the form of ours; whose it is its form does not say. `of`: how the commit begins that was
    submitted, which a record names."""

    name: str
    commit: str
    kind: RefKind
    task_id: str
    number: int
    of: str | None = None


class Repository(Protocol):
    """That of ROOT, as a runner sees it."""

    async def tip(self, target: str, mode: MergeMode) -> str:
        """The commit of the target now; of the remote's branch, fetched, where work is pushed. Raises NotNow."""

    async def build(self, landing: Landing, tip: str) -> Candidate:
        """Objects only: no worktree is touched. Raises Conflicting, NotNow."""

    async def verify(
        self, candidate: Candidate, commands: Sequence[str], *, seconds: float, setup: str | None, names: Sequence[str]
    ) -> Verdict:
        """In a detached worktree of ours, after `setup`; `names` are the variables that pass to the commands. Each of them
        has `seconds`. Raises NotNow where the worktree cannot be made, or setup fails."""

    async def land(self, landing: Landing, candidate: Candidate) -> Landed:
        """Compare and swap. Raises Moved, NotNow, Failing. A pull request that is still open is a NotNow that names it."""

    async def landed(self, landing: Landing, candidate: str) -> Landed | None:
        """How the target holds the candidate, when it landed before a crash. Raises NotNow, Failing."""

    async def predict(self, tip: str, landings: Sequence[Landing]) -> list[Predicted]:
        """Among at most 20, and with the target."""

    async def remote_refs(self, target: str) -> list[RemoteRef]:
        """Those of the remote that the target is pushed to. Raises NotNow."""

    async def forget(self, target: str, refs: Sequence[RemoteRef]) -> None:
        """Remove those of them that still lead where they led. Raises NotNow."""
