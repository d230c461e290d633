"""Conflicts that no marker can say: they are named, both sides can be looked at, and nothing is submitted before somebody has
decided (MERGE-4)."""

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import a_task
from tests.support.yard import Yard, git
from wvo_mcp.errors import Conflict
from wvo_mcp.execution.workspaces import joining
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.ports.places import Place

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("MERGE-4")]

Change = Callable[[Path], Any]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 4\n"


def note_of(place: Place) -> Path:
    """The one note of the place."""
    named = [name for name in place.conflicts if name.startswith("CONFLICTS.")]
    assert len(named) == 1
    return place.path / named[0]


def sides(place: Place) -> list[bytes]:
    """What the commands that the note gives print."""
    commands = [line.strip() for line in note_of(place).read_text().splitlines() if line.startswith("    git show")]
    return [
        subprocess.run(shlex.split(one), cwd=place.path, check=True, capture_output=True).stdout for one in commands
    ]


async def came_back(yard: Yard, ours: Change, theirs: Change) -> tuple[Any, Place]:
    """T1 did `ours` and submitted it; the target has `theirs` by now, and its place is open on it."""
    worker, place = await yard.opened("T1")
    ours(place.path)
    await yard.complete(worker)
    theirs(yard.root)
    tip = yard.save("theirs")
    await yard.returned("T1")
    worker = await yard.claim("T1")
    return worker, await yard.open(worker, onto=tip)


def rewritten(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def deleted(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def linked(name: str, to: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(to)

    return change


def renamed(name: str, to: str) -> Change:
    return lambda folder: (folder / name).rename(folder / to)


def as_folder(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()
        (folder / name / "inside").write_text("inside\n")

    return change


SILENT: dict[str, tuple[Change, Change, str]] = {
    "binary": (rewritten("image", b"i\0ours"), rewritten("image", b"i\0theirs"), "image"),
    "they deleted": (rewritten("text", b"ours\n"), deleted("text"), "text"),
    "we deleted": (deleted("text"), rewritten("text", b"theirs\n"), "text"),
    "link": (linked("link", "ours"), linked("link", "theirs"), "link"),
    "renamed twice": (renamed("text", "ours"), renamed("text", "theirs"), "text"),
    "link and file": (linked("new", "code.py"), rewritten("new", b"file\n"), "new"),
    "folder and file": (as_folder("text"), rewritten("text", b"theirs\n"), "text"),
}


_SAMPLE = ("binary", "they deleted", "link and file")


@pytest.mark.parametrize(
    "kind", [pytest.param(one, marks=[] if one in _SAMPLE else [pytest.mark.full]) for one in SILENT]
)
async def test_a_conflict_without_markers_is_named_and_cannot_be_submitted(yard: Yard, kind: str) -> None:
    ours, theirs, name = SILENT[kind]
    (yard.root / "image").write_bytes(b"i\0begin")
    (yard.root / "link").symlink_to("begin")
    yard.write(yard.root, {"text": "begin\n" * 5})
    yard.save("more")
    worker, place = await came_back(yard, ours, theirs)

    assert any(one.partition("~")[0] == name for one in place.conflicts)
    note = note_of(place)
    assert sides(place)
    with pytest.raises(Conflict, match=note.name):
        await yard.complete(worker)

    note.unlink()
    (place.path / "decided").write_text("decided\n")
    done = await yard.complete(worker)
    assert note.name not in yard.names(done["submission"]["commit"])


async def test_both_sides_can_be_looked_at_as_the_note_says(yard: Yard) -> None:
    yard.write(yard.root, {"a b.bin": "x\0y"})
    yard.save("more")
    _, place = await came_back(yard, rewritten("a b.bin", b"x\0ours"), rewritten("a b.bin", b"x\0theirs"))
    assert sides(place) == [b"x\0theirs", b"x\0ours"]
    assert (place.path / "a b.bin").read_bytes() == b"x\0theirs"


async def test_a_note_that_git_ignores_still_counts(yard: Yard) -> None:
    yard.write(yard.root, {"text": "begin\n", ".gitignore": "*.txt\nstate/\n"})
    yard.save("more")
    worker, place = await came_back(yard, rewritten("text", b"ours\n"), deleted("text"))
    with pytest.raises(Conflict, match=note_of(place).name):
        await yard.complete(worker)


async def test_markers_count_under_whatever_name_they_are(yard: Yard) -> None:
    worker, place = await came_back(yard, rewritten("code.py", b"a = 2\n"), rewritten("code.py", b"a = 3\n"))
    (place.path / "code.py").rename(place.path / "other.py")
    with pytest.raises(Conflict, match=r"other\.py"):
        await yard.complete(worker)


async def test_a_file_about_conflicts_is_no_conflict(yard: Yard) -> None:
    about = "<<<<<<< HEAD\nours\n=======\ntheirs\n>>>>>>> main\n"
    worker, place = await came_back(
        yard, rewritten("code.py", f"a = 2\n{about}".encode()), rewritten("code.py", f"a = 3\n{about}".encode())
    )
    assert list(place.conflicts) == ["code.py"]
    (place.path / "code.py").write_text(f"a = 23\n{about}")
    await yard.complete(worker)


async def test_a_pointer_of_lfs_stays_a_pointer(yard: Yard) -> None:
    (yard.root / ".git/lfs").mkdir()
    yard.write(yard.root, {".gitattributes": "*.big filter=lfs diff=lfs merge=lfs -text\n"})
    yard.write(yard.root, {"a.big": POINTER.format("0" * 64)})
    yard.save("more")
    theirs = POINTER.format("1" * 64)
    worker, place = await came_back(yard, rewritten("a.big", b"ours"), rewritten("a.big", theirs.encode()))
    assert (place.path / "a.big").read_text() == theirs
    assert "git lfs smudge" in note_of(place).read_text()
    assert "a.big" in place.conflicts
    with pytest.raises(Conflict, match=note_of(place).name):
        await yard.complete(worker)


async def test_dependencies_that_disagree_without_markers_are_decided_first(yard: Yard) -> None:
    yard.write(yard.root, {"text": "begin\n"})
    yard.save("more")
    commits: list[str] = []
    for task_id, change in (("A", rewritten("text", b"of A\n")), ("B", deleted("text"))):
        worker, place = await yard.opened(task_id)
        change(place.path)
        commits.append((await yard.complete(worker))["submission"]["commit"])
    await yard.bench.create(a_task("T"))
    worker = await yard.claim("T")
    place = await yard.open(worker, bases=commits)
    note = note_of(place)
    with pytest.raises(Conflict, match=note.name):
        await yard.complete(worker)
    note.unlink()
    commit = (await yard.complete(worker))["submission"]["commit"]
    assert note.name not in yard.names(commit)


def test_paths_of_every_kind_are_named(tmp_path: Path) -> None:
    names = ["a\nb", "\udcff", "-x", ":(top)y", "ü", "tab\t", '"q"']
    root = tmp_path / "r"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    commits: list[str] = []
    for side in ("begin", "ours", "theirs"):
        if commits:
            git(root, "checkout", "-q", commits[0])
        for name in names:
            (root / name).write_bytes(f"{side}\0".encode())
        git(root, "add", "-A")
        git(root, "-c", "user.name=P", "-c", "user.email=p@example.org", "commit", "-q", "-m", side)
        commits.append(git(root, "rev-parse", "HEAD"))
    common = Common.of(root)
    assert common is not None
    merged = joining.merged(common, commits[1], [commits[2]])
    assert set(names) < set(merged.conflicts)
    note = common.run("cat-file", "blob", f"{merged.commit}:CONFLICTS.{commits[2][:12]}.txt")
    assert note.count(b"    git show") == 2 * len(names)
