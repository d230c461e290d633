"""The whole life of a task in one repository, and what must be true of it in every repository."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.orchestration.merging.conftest import Lane
from tests.support.bench import OWNER
from tests.support.yard import Yard, digests, git
from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.domain.rollbacks import Extent, RollbackAsk
from wvo_mcp.errors import Conflict
from wvo_mcp.ports.places import Place

_AS = ("user.name=Pat", "user.email=pat@example.org", "protocol.file.allow=always", "safe.directory=*")
_SAFE = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "core.pager=cat", "commit.gpgSign=false")
_OFF = tuple(f"filter.{name}.{what}=" for name in "xw" for what in ("clean", "smudge", "process", "required"))
PAT = tuple(one for setting in (*_AS, *_SAFE, *_OFF) for one in ("-c", setting))
"""A person, and an agent, whom no canary hears."""
_HOOKS = (
    *("pre-commit", "commit-msg", "post-commit", "post-checkout", "post-merge", "post-rewrite", "pre-push"),
    *("reference-transaction", "post-index-change", "pre-auto-gc", "fsmonitor-watchman", "applypatch-msg"),
)
_PROGRAMS = (
    *("core.fsmonitor", "core.pager", "core.editor", "core.askPass", "gpg.program", "diff.external"),
    *("core.alternateRefsCommand", "core.sshCommand", "credential.helper", "diff.x.textconv", "merge.x.driver"),
)


class Canary:
    """A program that notes that it was run, and fails."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "sung"
        self.program = str(folder / "canary")
        Path(self.program).write_text(f'#!/bin/sh\necho "$0 $*" >> {self._file}\nexit 1\n')
        Path(self.program).chmod(0o755)

    def plant(self, git_dir: Path) -> None:
        """As each hook of the repository, and wherever its config names a program."""
        (git_dir / "hooks").mkdir(exist_ok=True)
        for name in _HOOKS:
            (git_dir / "hooks" / name).unlink(missing_ok=True)
            (git_dir / "hooks" / name).symlink_to(self.program)
        for key in _PROGRAMS:
            git(git_dir, "config", "--file", str(git_dir / "config"), key, self.program)
        for key in ("commit.gpgSign", "tag.gpgSign", "push.gpgSign"):
            git(git_dir, "config", "--file", str(git_dir / "config"), key, "true")

    def heard(self) -> str:
        return self._file.read_text() if self._file.exists() else ""


def _nothing(_: "Shop") -> None: ...


@dataclass(frozen=True, kw_only=True)
class Odd:
    """A repository, and what an agent does there. `form` makes it of a usual one before work begins; `shop.yard` may be another
    one then. `ends`: the state of the entry, and a part of its reason; `mended`: what a person does then so that it lands."""

    form: Callable[["Shop"], None] = _nothing
    work: Callable[["Shop"], None] = _nothing
    wreck: Callable[["Shop"], None] | None = None
    check: Callable[["Shop"], None] = _nothing
    ends: tuple[str, str] | None = None
    mended: Callable[["Shop"], None] = _nothing
    exact: bool = True
    """The bytes of a file are those that were written: git converts none of them."""
    left_out: tuple[bytes, ...] = ()
    """What git takes from nobody: it is in no checkpoint, and must go before the work can be submitted."""
    left: str = ""
    """Why the worktree stays."""


@dataclass
class Shop:
    """What a test has: the queue, the person's checkout and the worktree of the task."""

    lane: Lane
    tmp: Path
    top: Path = field(init=False)
    """The person's files."""
    git_dir: Path = field(init=False)
    place: Place = field(init=False)
    commit: str = ""
    reason: str = ""
    """Why it did not land."""

    def __post_init__(self) -> None:
        self.top = self.lane.yard.root
        self.git_dir = self.top / ".git"

    @property
    def yard(self) -> Yard:
        return self.lane.yard

    @property
    def path(self) -> Path:
        return self.place.path

    def moved(self, root: Path, top: Path | None = None, git_dir: Path | None = None) -> None:
        """The project is in another folder from now on."""
        rules = self.yard.rules
        self.lane.yard = Yard(root, self.lane.bench)
        self.lane.yard.rules.rules = rules.rules
        self.lane.yard.again()
        self.lane.queue = self.lane.runner()
        self.top = top or root
        self.git_dir = git_dir or self.top / ".git"

    def person(self, *arguments: str, at: Path | None = None, check: bool = True) -> str:
        return git(at or self.top, *PAT, *arguments, check=check)

    def agent(self, *arguments: str) -> str:
        return git(self.path, *PAT, *arguments)

    def write(self, name: str | bytes, content: str | bytes = "new\n") -> Path:
        """The agent writes a file."""
        path = self.path / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def save(self, files: dict[str, str | bytes], message: str = "more") -> None:
        """The person commits these files and all else that is there."""
        for name, content in files.items():
            path = self.top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.person("add", "-A")
        self.person("commit", "-qm", message)

    def files(self) -> dict[str, str]:
        """Those in the worktree, but folders."""
        return {
            name: one
            for name, one in digests(self.path, [".git"]).items()
            if not (self.path / name).is_dir() or (self.path / name).is_symlink()
        }


def everything_else(shop: Shop) -> None:
    """An agent goes astray: all files are gone, and others stand in their places."""
    for path in shop.path.iterdir():
        if path.name == ".git":
            continue
        if path.name in (".gitattributes", ".gitmodules"):  # as folders, git's own check of objects would complain
            path.unlink()
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
            path.write_text("a file\n")
        else:
            path.unlink()
            path.mkdir()
            (path / "deep").write_text("a folder\n")


class Person:
    """Works in their checkout meanwhile: what is theirs is as they left it."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._bare = shop.person("config", "--get", "core.bare", check=False) == "true"
        if self._bare:
            return
        (shop.top / "staged.txt").write_text("staged\n")
        shop.person("add", "staged.txt")
        (shop.top / "staged.txt").write_text("and edited\n")
        (shop.top / "mine.py").write_text("edited\n")
        (shop.top / "note.txt").write_text("untracked\n")
        (shop.top / "a.log").write_text("ignored\n")
        self._before = self._seen()

    def _seen(self) -> dict[str, Any]:
        names = ("staged.txt", "mine.py", "note.txt", "a.log")
        files = {name: (self._shop.top / name).read_bytes() for name in names}
        staged = {name: self._shop.person("ls-files", "--stage", "--", name) for name in names}
        return {
            "files": files,
            "staged": staged,
            "status": self._shop.person("status", "--porcelain", "--ignore-submodules=all"),
        }

    def check(self) -> None:
        if not self._bare:
            assert self._seen() == self._before


async def live(shop: Shop, odd: Odd, canary: Canary) -> None:
    """Opened, edited, kept, wrecked, taken back, undone, completed, landed, closed."""
    shop.save({"mine.py": "mine\n"}, "what the person works on")
    odd.form(shop)
    canary.plant(shop.git_dir)
    person = Person(shop)
    worker, shop.place = await shop.yard.opened("T1")
    odd.work(shop)
    kept = await shop.yard.files.take("T1", Trigger.CALL)
    assert kept is not None
    assert [os.fsencode(name) for name in kept.left_out] == [*odd.left_out], kept.left_out
    if odd.left_out:
        with pytest.raises(Conflict, match="git does not take it"):
            await shop.yard.complete(worker)
    await _back_and_forth(shop, odd, kept.number)

    done = await shop.yard.complete(worker)
    shop.commit = done["submission"]["commit"]
    assert _tree(shop, shop.commit) == _tree(shop, kept.commit)
    await _landed(shop, odd, person)
    assert canary.heard() == ""
    odd.check(shop)
    await _left_clean(shop, odd)
    assert canary.heard() == ""


async def _back_and_forth(shop: Shop, odd: Odd, number: int) -> None:
    """Everything goes to pieces, is as it was, goes to pieces once more, and is as it was."""
    ask = RollbackAsk(task_id="T1", extent=Extent.FULL, to=number)
    before = shop.files()
    (odd.wreck or everything_else)(shop)
    wrecked = shop.files()
    shown = await shop.yard.rollbacks.roll_back(ask, dry_run=True, diff=1_000)
    assert shown is not None
    assert shop.files() == wrecked
    rolled = await shop.yard.rollbacks.roll_back(ask)
    assert rolled is not None
    aside = set(digests(Path(rolled.aside))) if rolled.aside else set[str]()
    assert {os.fsdecode(name) for name in odd.left_out} <= aside - set(shop.files())
    if odd.exact:
        assert shop.files() == before
    if rolled.undo is not None:
        await shop.yard.rollbacks.roll_back(RollbackAsk(task_id="T1", extent=Extent.FULL, to=rolled.undo))
        if odd.exact:
            assert shop.files() == wrecked
        await shop.yard.rollbacks.roll_back(ask)
    again = await shop.yard.files.take("T1", Trigger.CALL)
    assert again is not None
    rows = await shop.lane.bench.sql("SELECT number, tree_sha FROM workspace_checkpoints ORDER BY number")
    trees = {row["number"]: row["tree_sha"] for row in rows}
    assert trees[again.number] == trees[number]


async def _landed(shop: Shop, odd: Odd, person: Person) -> None:
    lane = shop.lane
    await lane.land()
    (entry,) = await lane.bench.sql("SELECT * FROM merge_entries")
    person.check()
    if odd.ends is not None:
        assert (entry["state"], odd.ends[1] in (entry["reason"] or "")) == (odd.ends[0], True), entry["reason"]
        shop.reason = entry["reason"]
        odd.mended(shop)
        await lane.bench.call("merge_retry", OWNER, entry_id=entry["entry_id"])
        lane.bench.clock.advance(minutes=2)
        await lane.land()
        (entry,) = await lane.bench.sql("SELECT * FROM merge_entries")
        person.check()
    assert entry["state"] == "merged", entry["reason"]
    assert await lane.bench.status("T1") == ["done"]
    of = "--no-replace-objects", "diff-tree", "-r", "--no-renames"
    assert shop.person(*of, entry["base_sha"], shop.commit) == shop.person(*of, entry["base_sha"], entry["landed_sha"])
    if (target := shop.person("rev-parse", "--verify", "-q", "refs/heads/main", check=False)) != "":
        assert target == entry["landed_sha"]


async def _left_clean(shop: Shop, odd: Odd) -> None:
    why = await shop.yard.places.close("T1")
    if odd.left:
        assert odd.left in (why or "")
    else:
        assert why is None
        assert not (shop.yard.folder / "T1").exists()
        assert shop.person("for-each-ref", "refs/heads/wvo") == ""
        assert not [*(shop.git_dir / "worktrees").glob("T1*")]
    assert [*shop.git_dir.rglob("*.lock")] == []
    assert shop.person("for-each-ref", "refs/wvo/rollback") == ""
    assert await shop.yard.places.recover() == ([] if not odd.left else await shop.yard.places.recover())
    said = shop.person("fsck", "--full", "--no-dangling")
    assert said == "" or "notice" in said


def _tree(shop: Shop, commit: str) -> str:
    return shop.person("--no-replace-objects", "rev-parse", f"{commit}^{{tree}}")
