"""`ports.Watchers` by watchfiles: a thread for each worktree, in which somebody works.

Its class `RustNotify` is used without the functions around it, in the one way that neither hides nor loses anything. Folders
are named one by one: its own walk follows links, to `/` too, and watches what git ignores. Permission is never ignored: with
it the class says nothing of watches that ran out. It waits without a time limit: at one it throws away what came just then.
"""

import logging
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Protocol

from anyio import to_thread

from wvo_mcp.domain.changes import ChangeKind, FileChange
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import worktree
from wvo_mcp.execution.workspaces.change_log import ChangeLog, sweep
from wvo_mcp.execution.workspaces.listing import Listing, NotWatchable
from wvo_mcp.execution.workspaces.repository import Tampered
from wvo_mcp.execution.workspaces.rows import Rows
from wvo_mcp.execution.workspaces.snapshot import Tree
from wvo_mcp.ports.watching import Noticed

logger = logging.getLogger(__name__)

DEBOUNCE_MS, STEP_MS = 500, 50
"""Changes are taken together while they come within a step of each other, and for so long at most."""
BURST = 2_000
"""After so many at once some may be missing: the system keeps 16,384 for us, and drops what comes then without a word."""
_ROUNDS = 5
_IDLE_SHARE, _MOST_WAIT = 20, 5.0
"""Folders are named again at most so often that it takes a twentieth of the time, or every so many seconds."""
_MOST_FILES = 20_000
_SAMPLED = 100
_STALE_SECONDS = 60.0
_END_SECONDS = 2.0


class Notify(Protocol):
    """`watchfiles._rust_notify.RustNotify`, as far as it is used."""

    def watch(self, debounce_ms: int, step_ms: int, timeout_ms: int, stop_event: Any) -> Any: ...
    def close(self) -> None: ...


def notify_of(folders: list[str]) -> Notify:
    """Raises OSError when the system has no watches left, RuntimeError when it has no more for this user."""
    from watchfiles._rust_notify import RustNotify  # 4 ms and 1 MB, for those who watch

    return RustNotify(folders, False, False, 0, False, False)


class Watcher:
    """Of one worktree, from `start` on."""

    def __init__(self, tree: Tree, log: ChangeLog, make: Callable[[list[str]], Notify] = notify_of) -> None:
        self._tree = tree
        self._top = str(tree.path)
        self._log = log
        self._make = make
        self._listing = Listing(tree)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {tree.path.name}", daemon=True)
        self._notify: Notify | None = None
        self._folders: set[str] = set()
        self._renew_at: float | None = 0.0
        self._not_before = 0.0
        self._lock = threading.Lock()
        self._files: set[str] = set()
        self._more = 0
        self._missed = self._blind = True
        self._trouble: str | None = None
        self._delays: deque[float] = deque(maxlen=1_000)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """It ends within a step of its own."""
        self._stop.set()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def look(self) -> Noticed:
        with self._lock:
            trouble = self._trouble
            if trouble is None and not self._thread.is_alive():
                trouble = "its thread ended"
            sure = trouble is None and not (self._missed or self._blind)
            return Noticed(files=len(self._files) + self._more, sure=sure, trouble=trouble)

    def mark(self) -> None:
        with self._lock:
            self._files.clear()
            self._more, self._missed = 0, False

    def distrust(self, why: str) -> None:
        with self._lock:
            self._trouble = self._trouble or why
        self._stop.set()

    def delays(self) -> list[float]:
        with self._lock:
            found = [*self._delays]
            self._delays.clear()
        return found

    # In its thread

    def _run(self) -> None:
        try:
            self._watch()
        except (NotWatchable, Tampered, GitFailed, OSError, RuntimeError) as error:
            self.distrust(_said(error))
        except Exception as error:  # an edge: whoever asks must hear that it is over
            logger.exception("a watcher failed")
            self.distrust(f"an error of ours: {error!r}")
        finally:
            if self._notify is not None:
                self._notify.close()
            if self._trouble is not None:
                self._logged(lambda: self._log.end(self._trouble or ""))

    def _watch(self) -> None:
        while not self._stop.is_set():
            if self._renew_at is not None:
                if self._stop.wait(max(0.0, self._renew_at - time.monotonic())):
                    return
                self._renew()
            if self._notify is None or self._renew_at is not None:  # nothing may come that would end the wait below
                continue
            raw = self._notify.watch(DEBOUNCE_MS, STEP_MS, 0, self._stop)
            if isinstance(raw, str):  # stop
                return
            self._take(raw)

    def _renew(self) -> None:
        """Watch the folders that there are now. What is in new ones counts as added: it came before they were watched."""
        began, settled = time.monotonic(), False
        new, rest = set[str](), list[tuple[int, str]]()
        for _ in range(_ROUNDS):
            folders = self._listing.folders()
            if settled := folders == self._folders and self._notify is not None:
                break
            try:
                fresh = self._make([str(self._tree.path / one) for one in sorted(folders)])
            except FileNotFoundError:  # one has just gone
                continue
            if self._notify is not None:
                rest += _drained(self._notify)
                new |= folders - self._folders
            self._notify, self._folders = fresh, folders
        now = time.monotonic()
        self._not_before = now + min(_MOST_WAIT, _IDLE_SHARE * (now - began))
        self._renew_at = None if settled else self._not_before
        self._take([*rest, *((1, f"{self._top}/{name}") for one in new for name in self._listing.files(one))])
        with self._lock:
            self._missed, self._blind = True, self._renew_at is not None

    def _renew_soon(self) -> None:
        """Not at once: who makes one folder makes more."""
        with self._lock:
            self._blind = True
        if self._renew_at is None:
            self._renew_at = self._not_before

    def _take(self, raw: Collection[tuple[int, str]]) -> None:
        now = time.time()
        found = self._sorted(raw, now)
        names = self._listing.counted(found)
        if len(raw) >= BURST or any(name.rpartition("/")[2] == ".gitignore" for name in names):
            self._renew_soon()
        with self._lock:
            self._files |= names
            if len(self._files) > _MOST_FILES:
                self._more += len(self._files)
                self._files.clear()
        if names:
            changes = [FileChange(kind, name) for name, kind in sorted(found.items()) if name in names]
            self._logged(lambda: self._log.add(changes))

    def _sorted(self, raw: Iterable[tuple[int, str]], now: float) -> dict[str, ChangeKind]:
        """What became of each path: it may have come and gone, and be a folder by now."""
        said: dict[str, set[int]] = {}
        for number, path in raw:
            if path.startswith(f"{self._top}/"):
                said.setdefault(path[len(self._top) + 1 :], set()).add(number)
        if not os.path.isdir(self._top):  # noqa: PTH112
            raise NotWatchable("its folder is gone")
        found: dict[str, ChangeKind] = {}
        delays: list[float] = []
        for name, numbers in said.items():
            try:
                here = os.lstat(f"{self._top}/{name}")
            except OSError:
                here = None
            was_folder = name in self._folders
            if was_folder and (here is None or numbers & {1, 3}):
                self._folders = {one for one in self._folders if one != name and not one.startswith(f"{name}/")}
                self._renew_soon()
            if here is None:
                found[f"{name}/" if was_folder else name] = ChangeKind.DELETED
            elif not stat.S_ISDIR(here.st_mode):
                found[name] = ChangeKind.ADDED if 1 in numbers and 3 not in numbers else ChangeKind.MODIFIED
                if len(delays) < _SAMPLED and 0 <= (late := now - here.st_ctime) < _STALE_SECONDS:
                    delays.append(late * 1_000)
            elif 1 in numbers:
                self._renew_soon()
        with self._lock:
            self._delays.extend(delays)
        return found

    def _logged(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:  # the files are watched all the same
            logger.debug("the log of changes was not written: %s", error)


class FileWatchers:
    """`logs` is the folder of the logs of changes."""

    def __init__(self, root: Path, rows: Rows, logs: Path, make: Callable[[list[str]], Notify] = notify_of) -> None:
        self._root = root.resolve()
        self._rows = rows
        self._logs = logs
        self._make = make
        self._watchers: dict[str, Watcher] = {}
        self._unwatched: dict[str, str] = {}

    async def follow(self, task_ids: Collection[str]) -> None:
        known = self._watchers.keys() | self._unwatched.keys()
        if known == set(task_ids):
            return
        for task_id in known - set(task_ids):
            self._unwatched.pop(task_id, None)
            if (gone := self._watchers.pop(task_id, None)) is not None:
                gone.end()
        for task_id in set(task_ids) - known:
            await self._begin(task_id)
        live = {row["workspace_id"] for row in await self._rows.live()}
        await to_thread.run_sync(sweep, self._logs, live)

    def look(self, task_id: str) -> Noticed:
        watcher = self._watchers.get(task_id)
        return Noticed(trouble=self._unwatched.get(task_id)) if watcher is None else watcher.look()

    def mark(self, task_id: str) -> None:
        if (watcher := self._watchers.get(task_id)) is not None:
            watcher.mark()

    def distrust(self, task_id: str, why: str) -> None:
        if (watcher := self._watchers.get(task_id)) is not None:
            watcher.distrust(why)

    def delays(self) -> list[float]:
        return [one for watcher in self._watchers.values() for one in watcher.delays()]

    async def end(self) -> None:
        watchers = [*self._watchers.values()]
        self._watchers.clear()
        for watcher in watchers:
            watcher.end()
        for watcher in watchers:
            await to_thread.run_sync(watcher.join, _END_SECONDS)

    async def _begin(self, task_id: str) -> None:
        row = await self._rows.of(task_id)
        if row is None or row["state"] != "open":
            return  # it is asked for again
        if row["mode"] == "folder":
            self._unwatched[task_id] = "it has no worktree of its own"
            return
        try:
            tree = await to_thread.run_sync(worktree.tree_of, self._root, row)
        except GitFailed as error:
            self._unwatched[task_id] = str(error)
            return
        watcher = Watcher(tree, ChangeLog(self._logs, row["workspace_id"]), self._make)
        watcher.start()
        self._watchers[task_id] = watcher


def _drained(old: Notify) -> list[tuple[int, str]]:
    """What it still had. The new one watches already."""
    try:
        raw = old.watch(0, 10, 10, None)
    except RuntimeError:
        return []
    finally:
        old.close()
    return [] if isinstance(raw, str) else list(raw)


def _said(error: Exception) -> str:
    text = next(iter(str(error).splitlines()), "")
    if "watch limit" in text:
        return "the system has no watches left (fs.inotify.max_user_watches)"
    if "Too many open files" in text:
        return "the system has no watchers left (fs.inotify.max_user_instances), or too many files are open"
    if "Unable to decode" in text:
        return "the name of a file is not UTF-8"
    return text or type(error).__name__
