"""The changed files of a commit, as git's objects say that they are, judged by the policy of the project.

The worktree is never looked at: it may change while it is judged, and what is in it is not what lands.
"""

import heapq
import itertools
import random
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum

import anyio
from anyio import to_thread

from wvo_mcp.domain import validation
from wvo_mcp.domain.policy import SafetyPolicy
from wvo_mcp.domain.validation import Change, Content, Finding, Validation
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.ports.safety import Judge

SECONDS = 5.0
"""After that contents are sampled, where more than SAMPLED files differ."""
SAMPLED = 100
_AT_ONCE = 3
_FILES, _BYTES = 500, 16 << 20
"""Of one call of git."""
_BEGIN = 4_096
"""Bytes of a file that are kept; no link is longer."""
_LARGEST_READ = 48 << 20
_MOST_KNOWN = 50_000
_PROGRAMS = (b"\x7fELF", b"MZ", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe")
"""What ELF, PE and Mach-O files begin with."""


_Judged = tuple[int, tuple[Finding, ...]]
"""The size of the file, and what was found."""


class Priority(IntEnum):
    """Who is judged first when more wait than are judged at once."""

    COMPLETE = 0
    PAUSE = 1
    INTERVAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be judged: what `commit` changes of `base`. `files`: the globs that the task claims; `included`: what
    `.worktreeinclude` brought; `others`: bytes that differ in all other open workspaces of this host; `reserved`: the globs
    that other tasks claim, by their ids."""

    common: Common
    base: str
    commit: str
    files: Sequence[str] = ()
    included: Collection[str] = ()
    others: int = 0
    reserved: Sequence[tuple[str, Sequence[str]]] = ()


class Validator:
    """One for a process: at most three at once, and what is known of a file is known to the next."""

    def __init__(self, judge: Judge, steady: Callable[[], float] = time.monotonic) -> None:
        self._judge = judge
        self._steady = steady
        self._turns = _Turns(_AT_ONCE)
        self._lock = threading.Lock()
        self._policy = SafetyPolicy()
        self._known: OrderedDict[Change, _Judged] = OrderedDict()

    async def validate(self, work: Work, priority: Priority = Priority.INTERVAL) -> Validation:
        """By the policy as it holds now. Raises Tampered, GitFailed."""
        async with self._turns.turn(priority):
            await self._judge.refresh()
            return await to_thread.run_sync(self._validated, work, self._judge.policy())

    def _validated(self, work: Work, policy: SafetyPolicy) -> Validation:
        began = self._steady()
        changes = _changes(work)
        known = self._known_of(policy, changes)
        new, cached = [one for one in changes if one not in known], len(known)
        sizes = _sizes(work.common, [one.blob for one in new if one.has_content])
        # Links first, for they are short and may lead anywhere; then in an order that whoever wrote them cannot foresee.
        random.Random(work.commit).shuffle(new)  # noqa: S311 - a sample, no secret
        new.sort(key=lambda one: not one.is_link)
        looked: dict[Change, _Judged] = {}
        for part in _parts(new, sizes):
            late = len(changes) > SAMPLED and self._steady() - began > SECONDS
            if late and not part[0].is_link:
                break
            looked |= {one: _judged(one, content, policy) for one, content in _contents(work.common, part, sizes)}
        self._keep(policy, looked)
        known |= looked
        unseen = {one: _judged(one, Content(sizes.get(one.blob, 0)), policy) for one in new if one not in looked}
        all_ = [*known.values(), *unseen.values()]
        found = [finding for _, findings in all_ for finding in findings]
        found += validation.of_task(changes, policy, work.files, work.included, work.reserved)
        size = sum(one for one, _ in all_)
        found += validation.of_sizes(size, work.others, policy)
        took = round((self._steady() - began) * 1_000)
        return validation.validation(
            found, judged=len(known), total=len(changes), size=size, took_ms=took, cached=cached
        )

    def _known_of(self, policy: SafetyPolicy, changes: Sequence[Change]) -> dict[Change, _Judged]:
        with self._lock:
            if policy != self._policy:
                self._policy = policy
                self._known.clear()
            return {one: self._known[one] for one in changes if one in self._known}

    def _keep(self, policy: SafetyPolicy, looked: dict[Change, _Judged]) -> None:
        with self._lock:
            if policy != self._policy:  # another was faster, with what holds now
                return
            self._known |= looked
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)


def _judged(change: Change, content: Content, policy: SafetyPolicy) -> _Judged:
    found = (*validation.of_path(change, policy), *validation.of_content(change, content, policy))
    return content.size, found


def _changes(work: Work) -> list[Change]:
    """What differs between the trees; a file that was renamed is gone there and new here."""
    printed = work.common.run(
        "diff-tree",
        "-r",
        "-z",
        "--raw",
        "--no-abbrev",
        "--no-renames",
        "--ignore-submodules=none",
        work.base,
        work.commit,
    )
    fields = printed.decode(errors="surrogateescape").split("\0")
    found: list[Change] = []
    for entry, path in zip(fields[0::2], fields[1::2], strict=False):
        old_mode, mode, _, blob, _ = entry[1:].split(" ")
        found.append(Change(path, mode, old_mode, blob))
    return found


def _sizes(common: Common, blobs: Sequence[str]) -> dict[str, int]:
    if not blobs:
        return {}
    asked = "".join(f"{one}\n" for one in dict.fromkeys(blobs)).encode()
    printed = common.run("cat-file", "--batch-check=%(objectname) %(objectsize)", "--buffer", content=asked).decode()
    rows = [line.split(" ") for line in printed.splitlines()]
    if missing := [name for name, size in rows if not size.isdecimal()]:
        raise GitFailed(f"the object {missing[0]} is missing")
    return {name: int(size) for name, size in rows}


def _parts(changes: Sequence[Change], sizes: Mapping[str, int]) -> Iterator[list[Change]]:
    """What one call of git is asked for; links by themselves."""
    part, bytes_ = list[Change](), 0
    for change in changes:
        size = sizes.get(change.blob, 0)
        if part and (len(part) == _FILES or bytes_ + size > _BYTES or part[0].is_link != change.is_link):
            yield part
            part, bytes_ = [], 0
        part.append(change)
        bytes_ += size
    if part:
        yield part


def _contents(common: Common, part: Sequence[Change], sizes: Mapping[str, int]) -> Iterator[tuple[Change, Content]]:
    wanted = {one.blob for one in part if one.has_content and sizes[one.blob] <= _LARGEST_READ}
    begins = _begins(common, wanted)
    for one in part:
        size, begin = sizes.get(one.blob, 0), begins.get(one.blob, b"")
        if one.is_link:  # one that is too long to be read leads nowhere
            yield one, Content(size, link=begin.decode(errors="surrogateescape") if size <= _BEGIN else "")
        else:
            yield one, Content(size, program=begin.startswith(_PROGRAMS))


def _begins(common: Common, blobs: Collection[str]) -> dict[str, bytes]:
    """The first bytes of each."""
    if not blobs:
        return {}
    printed = common.run("cat-file", "--batch", "--buffer", content="".join(f"{one}\n" for one in blobs).encode())
    found: dict[str, bytes] = {}
    at = 0
    while at < len(printed):
        end = printed.index(b"\n", at)
        name, _, size = printed[at:end].decode().split(" ")
        found[name] = printed[end + 1 : end + 1 + min(int(size), _BEGIN)]
        at = end + 1 + int(size) + 1
    return found


class _Turns:
    """So many at once; who waits comes by priority, then in order."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: list[tuple[Priority, int, anyio.Event]] = []
        self._order = itertools.count()

    @asynccontextmanager
    async def turn(self, priority: Priority) -> AsyncGenerator[None]:
        if self._free:
            self._free -= 1
        else:
            await self._given(priority)
        try:
            yield
        finally:
            self._pass_on()

    async def _given(self, priority: Priority) -> None:
        place = (priority, next(self._order), anyio.Event())
        heapq.heappush(self._waiting, place)
        try:
            await place[2].wait()
        except BaseException:
            if place in self._waiting:
                self._waiting.remove(place)
                heapq.heapify(self._waiting)
            else:  # it was given to us already
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        if self._waiting:
            heapq.heappop(self._waiting)[2].set()
        else:
            self._free += 1
