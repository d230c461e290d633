"""Changes in a worktree are noticed while they happen, whatever becomes of its folders (WS-2, WS-10)."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from tests.support.waiting import eventually
from tests.support.yard import JOURNAL, Yard
from wvo_mcp.execution.workspaces import listing, worktree
from wvo_mcp.execution.workspaces.change_log import ChangeLog
from wvo_mcp.execution.workspaces.rows import Rows
from wvo_mcp.execution.workspaces.watching import BURST, FileWatchers, Notify, Watcher, notify_of

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-2", "WS-10")]


class Watched:
    """T1 is being worked on in `path`, which is watched."""

    def __init__(self, yard: Yard, path: Path, row: dict[str, Any]) -> None:
        self.yard = yard
        self.path = path
        self.row = row
        self.logs = yard.root / "state" / "workers" / "changes"
        self.watchers: list[Watcher] = []

    def watcher(self, make: Callable[[list[str]], Notify] = notify_of) -> Watcher:
        """Begun, and sure."""
        tree = worktree.tree_of(self.yard.root, self.row)
        watcher = Watcher(tree, ChangeLog(self.logs, self.row["workspace_id"]), make)
        self.watchers.append(watcher)
        watcher.start()
        return watcher

    def sure(self) -> Watcher:
        watcher = self.watcher()
        settle(watcher)
        return watcher

    def log(self) -> list[dict[str, str]]:
        path = self.logs / f"{self.row['workspace_id']}.jsonl"
        return [json.loads(line) for line in path.read_text("ascii").splitlines()] if path.exists() else []

    def kinds(self) -> dict[str, str]:
        """The last one of each path."""
        return {line["path"]: line["kind"] for line in self.log() if "path" in line}


def settle(watcher: Watcher) -> None:
    def sure() -> bool:
        watcher.mark()
        seen = watcher.look()
        assert seen.trouble is None
        return seen.sure

    eventually(sure)


def trouble(watcher: Watcher) -> str:
    return eventually(lambda: watcher.look().trouble)


@pytest.fixture
async def watched(yard: Yard) -> AsyncGenerator[Watched]:
    _, place = await yard.opened("T1")
    rows: Any = yard.bench.store
    row = await Rows(rows, JOURNAL).of("T1")
    assert row is not None
    ground = Watched(yard, place.path, row)
    yield ground
    for watcher in ground.watchers:
        watcher.end()
        await to_thread.run_sync(watcher.join, 30)


async def test_what_is_added_modified_and_deleted_is_counted_and_logged(watched: Watched) -> None:
    watcher = watched.sure()
    assert (watcher.look().files, watcher.look().sure) == (0, True)
    watched.yard.write(watched.path, {"new.py": "1\n"})
    eventually(lambda: "new.py" in watched.kinds())
    watched.yard.write(watched.path, {"code.py": "a = 2\n"})
    (watched.path / "new.py").unlink()
    eventually(lambda: watched.kinds() == {"new.py": "deleted", "code.py": "modified"})
    assert watcher.look().files == 2
    assert all(line["at"].endswith("Z") for line in watched.log())
    assert [one for one in watcher.delays() if 0 <= one < 60_000]
    watcher.mark()
    assert watcher.look().files == 0


async def test_what_git_ignores_is_neither_watched_nor_counted(watched: Watched) -> None:
    yard, path = watched.yard, watched.path
    yard.write(path, {".gitignore": "*.log\nnode_modules/\n"})
    yard.write(path, {f"node_modules/p{number}/index.js": "1\n" for number in range(50)})
    made: list[list[str]] = []

    def counting(folders: list[str]) -> Notify:
        made.append(folders)
        return notify_of(folders)

    watcher = watched.watcher(counting)
    settle(watcher)
    assert made == [[str(path)]]
    yard.write(path, {"node_modules/p1/index.js": "2\n", "node_modules/new/x.js": "1\n", "x.log": "1\n"})
    yard.write(path, {"seen.py": "1\n"})
    eventually(lambda: "seen.py" in watched.kinds())
    assert set(watched.kinds()) == {"seen.py"}
    yard.write(path, {".gitignore": "node_modules/\n"})
    eventually(lambda: ".gitignore" in watched.kinds())
    yard.write(path, {"x.log": "2\n"})
    eventually(lambda: "x.log" in watched.kinds())


async def test_tracked_files_count_even_where_a_pattern_ignores_them(watched: Watched) -> None:
    watched.yard.write(watched.path, {".gitignore": "*.py\n"})
    watched.sure()
    watched.yard.write(watched.path, {"code.py": "a = 3\n", "other.py": "1\n", "plain.txt": "1\n"})
    eventually(lambda: "plain.txt" in watched.kinds())
    assert eventually(lambda: "code.py" in watched.kinds())
    assert "other.py" not in watched.kinds()


async def test_files_of_folders_that_are_made_meanwhile_are_noticed(watched: Watched) -> None:
    watcher = watched.sure()
    deep = "/".join(f"d{number}" for number in range(12))
    wanted = {f"{deep}/f{number}.py": "1\n" for number in range(20)}
    watched.yard.write(watched.path, wanted)
    eventually(lambda: wanted.keys() <= watched.kinds().keys())
    settle(watcher)
    watched.yard.write(watched.path, {f"{deep}/later.py": "1\n"})
    eventually(lambda: f"{deep}/later.py" in watched.kinds())


async def test_folders_that_are_moved_removed_and_made_again_stay_watched(watched: Watched) -> None:
    watched.yard.write(watched.path, {"a/x/f.py": "1\n", "b/f.py": "1\n"})
    watcher = watched.sure()
    (watched.path / "a").rename(watched.path / "c")
    shutil.rmtree(watched.path / "b")
    watched.yard.write(watched.path, {"b/new.py": "1\n"})
    eventually(lambda: {"c/x/f.py", "b/new.py", "a/"} <= watched.kinds().keys())
    settle(watcher)
    watched.yard.write(watched.path, {"c/x/f.py": "2\n", "b/new.py": "2\n"})
    eventually(lambda: watched.kinds().get("c/x/f.py") == "modified" and watched.kinds().get("b/new.py") == "modified")


async def test_no_link_is_followed_and_none_can_turn_in_a_circle(watched: Watched, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (watched.path / "sub").mkdir()
    (watched.path / "sub" / "round").symlink_to(watched.path)
    (watched.path / "out").symlink_to(outside)
    watched.sure()
    (watched.path / "again").symlink_to(outside)
    watched.yard.write(outside, {"hidden.py": "1\n", "deep/hidden.py": "1\n"})
    watched.yard.write(watched.path, {"sub/seen.py": "1\n"})
    eventually(lambda: {"again", "sub/seen.py"} <= watched.kinds().keys())
    assert not [path for path in watched.kinds() if "hidden" in path]


async def test_a_folder_that_becomes_a_link_stops_nothing(watched: Watched, tmp_path: Path) -> None:
    watched.yard.write(watched.path, {"was/one.py": "1\n"})
    watcher = watched.sure()
    shutil.rmtree(watched.path / "was")
    (watched.path / "was").symlink_to(tmp_path)
    eventually(lambda: "was/one.py" in watched.kinds() and "was" in watched.kinds())
    settle(watcher)


async def test_hundreds_of_changes_in_new_folders_are_noticed_without_loss(watched: Watched) -> None:
    watcher = watched.sure()
    names = [f"d{number % 7}/f{number}.py" for number in range(300)]
    for name in names:
        watched.yard.write(watched.path, {name: "1\n"})
    eventually(lambda: set(names) <= watched.kinds().keys())
    assert watcher.look().files >= len(names)


async def test_ten_thousand_files_at_once_are_noticed_and_not_trusted(watched: Watched) -> None:
    """As a checkout of another branch."""
    watcher = watched.sure()
    many = {f"pkg{number % 20}/f{number}.py": "1\n" for number in range(10_000)}
    watched.yard.write(watched.path, many)
    eventually(lambda: watcher.look().files >= 9_000)
    assert not watcher.look().sure
    settle(watcher)
    watched.yard.write(watched.path, {"pkg3/after.py": "1\n"})
    eventually(lambda: "pkg3/after.py" in watched.kinds())


async def test_a_large_folder_that_is_moved_in_is_sure_again_though_nothing_else_changes(watched: Watched) -> None:
    watcher = watched.sure()
    away = watched.yard.root.parent / "away"
    watched.yard.write(away, {f"f{number}.py": "1\n" for number in range(BURST + 500)})
    away.rename(watched.path / "big")
    eventually(lambda: watcher.look().files > BURST)
    settle(watcher)


async def test_it_is_not_sure_before_all_files_were_looked_at_once(watched: Watched) -> None:
    watcher = watched.watcher()
    assert not watcher.look().sure
    settle(watcher)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("OS file watch limit reached. about [...]"), "no watches left"),
        (RuntimeError("Error creating recommended watcher: Too many open files (os error 24)"), "no watchers left"),
        (ValueError("of ours"), "an error of ours"),
    ],
)
async def test_where_none_can_be_had_it_says_why(watched: Watched, error: Exception, said: str) -> None:
    def refused(_: list[str]) -> Notify:
        raise error

    watcher = watched.watcher(refused)
    assert said in trouble(watcher)
    assert not watcher.look().sure
    assert eventually(lambda: [line for line in watched.log() if line["kind"] == "ended"])


_NO_MORE = """
import resource, sys, watchfiles
from wvo_mcp.execution.workspaces.watching import notify_of
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
try:
    notify_of([sys.argv[1]])
except RuntimeError as error:
    print(error)
"""


def test_where_no_more_descriptors_are_left_the_real_one_says_so(tmp_path: Path) -> None:
    """inotify itself refuses, in a process that may open no more files; the words are those that are looked for."""
    ended = subprocess.run([sys.executable, "-c", _NO_MORE, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "Too many open files" in ended.stdout


async def test_a_folder_that_vanishes_ends_it(watched: Watched) -> None:
    watcher = watched.sure()
    shutil.rmtree(watched.path)
    assert "gone" in trouble(watcher) or "not a folder" in trouble(watcher)


async def test_a_name_that_is_no_text_ends_it(watched: Watched) -> None:
    watcher = watched.sure()
    watched.yard.write(watched.path, {os.fsdecode(b"odd\xff"): "1"})
    assert "not UTF-8" in trouble(watcher)
    watched.yard.write(watched.path, {os.fsdecode(b"dir\xff/file"): "1"})
    assert "not UTF-8" in trouble(watched.watcher())


async def test_a_thread_that_dies_is_not_trusted(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does in which the library panics: that is no Exception."""

    class Panic(BaseException):
        pass

    class Dying:
        def watch(self, debounce_ms: int, step_ms: int, timeout_ms: int, stop_event: Any) -> Any:
            raise Panic

        def close(self) -> None: ...

    def silent(_: threading.ExceptHookArgs) -> None: ...

    monkeypatch.setattr(threading, "excepthook", silent)
    watcher = watched.watcher(lambda _: Dying())
    assert "thread ended" in trouble(watcher)


async def test_too_many_folders_are_left_to_other_programs(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_FOLDERS", 3)
    watched.yard.write(watched.path, {f"d{number}/f": "1" for number in range(5)})
    assert "more than 3 folders" in trouble(watched.watcher())


async def test_a_log_that_cannot_be_written_stops_nothing(watched: Watched) -> None:
    watched.logs.parent.mkdir(parents=True, exist_ok=True)
    watched.logs.write_text("in the way")
    watcher = watched.sure()
    watched.yard.write(watched.path, {"new.py": "1\n"})
    eventually(lambda: watcher.look().files == 1)


async def test_those_who_work_are_watched_and_no_others(yard: Yard) -> None:
    await yard.opened("T1")
    await yard.opened("T2")
    store: Any = yard.bench.store
    logs = yard.root / "state" / "workers" / "changes"
    logs.mkdir(parents=True)
    (logs / "ws-gone.jsonl").write_text("{}\n")
    watchers = FileWatchers(yard.root, Rows(store, JOURNAL), logs)
    try:
        await watchers.follow({"T1", "T9"})
        assert not (logs / "ws-gone.jsonl").exists()
        assert (watchers.look("T2").sure, watchers.look("T9").trouble) == (False, None)

        def sure(task_id: str) -> bool:
            watchers.mark(task_id)
            return watchers.look(task_id).sure

        eventually(lambda: sure("T1"))
        yard.write(yard.folder / "T1", {"new.py": "1\n"})
        eventually(lambda: watchers.look("T1").files == 1)
        assert watchers.delays()
        await watchers.follow({"T2"})
        eventually(lambda: sure("T2"))
        assert watchers.look("T1") == watchers.look("T9")
        watchers.distrust("T2", "it lied")
        assert watchers.look("T2").trouble == "it lied"
    finally:
        await watchers.end()
    assert not [one for one in threading.enumerate() if one.name.startswith("watch T")]
