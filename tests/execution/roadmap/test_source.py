"""The roadmap on disk: whole files only, nobody's change overwritten, every failure typed."""

import fcntl
import hashlib
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from wvo_mcp.domain.roadmap import RoadmapChanges
from wvo_mcp.errors import Conflict, InvalidInput, NotFound, StoreBusy, StoreUnavailable
from wvo_mcp.execution.replacement import fingerprint
from wvo_mcp.execution.roadmap import edit, parse
from wvo_mcp.execution.roadmap.source import load_roadmap, read_roadmap, write_roadmap

pytestmark = pytest.mark.requirement("TASK-5")

TEXT = """\
# ours
epics:
  - id: E
    title: e
    tasks:
      - id: T
        title: t   # first
        depends_on: [elsewhere]
"""
RETITLED = RoadmapChanges(tasks={"T": {"title": "new"}})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    file = folder / "roadmap.yaml"
    file.write_text(TEXT)
    return file


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def everything(ids: Iterable[str]) -> set[str]:
    return set(ids)


def test_the_digest_of_a_roadmap_is_that_of_the_files_bytes(path: Path) -> None:
    assert read_roadmap(path, everything).digest == digest(path)


def test_only_ids_that_the_file_lacks_are_asked_for(path: Path) -> None:
    asked: list[str] = []

    def known(ids: Iterable[str]) -> set[str]:
        asked.extend(ids)
        return set()

    with pytest.raises(
        InvalidInput, match=r"^state/roadmap.yaml:8: epics\[0\].tasks\[0\].depends_on\[0\]: expected the id"
    ):
        read_roadmap(path, known)
    assert asked == ["elsewhere"]


def test_an_export_changes_the_file_and_gives_its_digest(path: Path) -> None:
    new = write_roadmap(path, RETITLED, digest(path))

    assert path.read_text() == TEXT.replace("title: t ", "title: new ")
    assert new == digest(path) == read_roadmap(path, everything).digest


def test_a_second_export_of_the_same_does_not_touch_the_file(path: Path) -> None:
    first = write_roadmap(path, RETITLED, digest(path))
    before = fingerprint(path)

    assert write_roadmap(path, RETITLED, first) == first
    assert fingerprint(path) == before


def test_a_file_that_people_changed_meanwhile_is_left_alone(path: Path) -> None:
    old = digest(path)
    path.write_text(TEXT + "# more\n")

    with pytest.raises(Conflict, match=r"state/roadmap.yaml was changed meanwhile"):
        write_roadmap(path, RETITLED, old)
    assert path.read_text() == TEXT + "# more\n"


def test_a_change_at_the_last_moment_is_seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = digest(path)

    def somebody_saves(*_: object) -> str:
        path.write_text("epics: []\n")
        return "epics:\n"

    monkeypatch.setattr(edit, "edited", somebody_saves)

    with pytest.raises(Conflict):
        write_roadmap(path, RETITLED, old)
    assert path.read_text() == "epics: []\n"
    assert list(path.parent.iterdir()) == [path]


def test_the_files_mode_stays(path: Path) -> None:
    path.chmod(0o640)

    write_roadmap(path, RETITLED, digest(path))

    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_stays_a_link(path: Path) -> None:
    link = path.parent / "link.yaml"
    link.symlink_to(path)

    write_roadmap(link, RETITLED, digest(path))

    assert link.is_symlink()
    assert "title: new" in path.read_text()


def test_a_byte_order_mark_and_windows_line_ends_stay(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())

    write_roadmap(path, RoadmapChanges(tasks={"T": {"title": "new"}}), digest(path))

    expected = TEXT.replace("title: t ", "title: new ")
    assert path.read_bytes() == b"\xef\xbb\xbf" + expected.replace("\n", "\r\n").encode()


def test_where_there_is_no_file_an_export_makes_one(path: Path) -> None:
    path.unlink()
    added = ({"id": "T", "title": "t", "epic_id": "E"},)

    write_roadmap(path, RoadmapChanges(epics={"E": "e"}, added=added), hashlib.sha256().hexdigest())

    assert path.read_text() == "epics:\n  - id: E\n    title: e\n    tasks:\n      - id: T\n        title: t\n"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(
        StoreUnavailable, match=r"state/roadmap.yaml cannot be read or written: No space left on device"
    ):
        write_roadmap(path, RETITLED, digest(path))
    assert path.read_text() == TEXT
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_process_killed_while_it_writes_leaves_the_old_file_or_the_new_one(path: Path, step: str) -> None:
    program = f"""
import os, pathlib, sys
from wvo_mcp.domain.roadmap import RoadmapChanges
from wvo_mcp.execution.roadmap import source as roadmap_file
def die(*_): os.kill(os.getpid(), 9)
step = {step!r}
if step == "write": os.fchmod = die
if step == "fsync": os.fsync = die
if step == "replace": pathlib.Path.replace = die
path = pathlib.Path(sys.argv[1])
roadmap_file.write_roadmap(path, RoadmapChanges(tasks={{"T": {{"title": "new"}}}}), sys.argv[2])
"""
    died = subprocess.run(
        [sys.executable, "-c", program, path, digest(path)], check=False, capture_output=True, timeout=60
    )

    assert died.returncode == -9
    assert path.read_text() == TEXT
    write_roadmap(path, RETITLED, digest(path))
    assert "title: new" in path.read_text()


def test_a_change_that_makes_no_sound_roadmap_is_refused(path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"title: expected at most 500 characters"):
        write_roadmap(path, RoadmapChanges(tasks={"T": {"title": "x" * 501}}), digest(path))
    with pytest.raises(InvalidInput, match=r"there is no M"):
        write_roadmap(path, RoadmapChanges(tasks={"T": {"milestone_id": "M"}}), digest(path))
    assert path.read_text() == TEXT


def test_an_export_that_would_make_the_file_too_large_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "MAX_BYTES", len(TEXT))

    with pytest.raises(InvalidInput, match=r"as it would be written.*expected at most"):
        write_roadmap(path, RETITLED, digest(path))
    assert path.read_text() == TEXT


def test_one_writer_waits_for_the_other_and_gives_up_in_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)

    with pytest.raises(StoreBusy):
        write_roadmap(path, RETITLED, digest(path))
    os.close(folder)
    assert 1 <= sum(waits) <= 3
    write_roadmap(path, RETITLED, digest(path))


def test_a_missing_file_is_told_apart_from_an_empty_one(path: Path) -> None:
    path.write_bytes(b"")
    assert read_roadmap(path, everything).tasks == ()
    path.unlink()
    with pytest.raises(NotFound, match=r"No file 'state/roadmap.yaml'"):
        load_roadmap(path)
    assert fingerprint(path) is None


def test_what_is_no_file_is_refused_at_once(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InvalidInput, match=r"is not a regular file"):
        load_roadmap(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InvalidInput, match=r"is not a regular file"):
        load_roadmap(path)


def test_a_fingerprint_changes_with_the_file(path: Path) -> None:
    before = fingerprint(path)
    write_roadmap(path, RETITLED, digest(path))

    assert before != fingerprint(path) == fingerprint(path)
