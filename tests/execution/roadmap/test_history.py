"""Exports become commits beside a person's own work in the same repository; real git, every state of it."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.repository import PATH, ROADMAP, Place, nobody, place
from tests.support.scale import sized
from wvo_mcp.domain.roadmap import RoadmapChanges
from wvo_mcp.execution.git import Entry, Repository
from wvo_mcp.execution.roadmap import history
from wvo_mcp.ports import Recorded

__all__ = ["nobody", "place"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DR-3")]


async def test_an_export_becomes_a_commit_of_that_one_path(place: Place) -> None:
    before = place.head()

    recorded = await place.export(T1="Uno")

    assert recorded == Recorded(commit=place.head())
    assert place.git("rev-parse", "HEAD^").strip() == before
    assert place.git("diff", "--name-only", "HEAD^", "HEAD").split() == [PATH]
    assert place.committed() == ROADMAP.replace("One", "Uno")
    assert place.status() == []
    assert place.git("log", "-1", "--format=%an %s|%b").strip() == "wvo-mcp Export the roadmap|more"
    assert place.git("fsck", "--strict") == ""
    assert not (place.root / ".git" / "index.lock").exists()


async def test_staged_and_unstaged_work_of_the_person_stays_byte_for_byte(place: Place) -> None:
    (place.root / "code.py").write_text("a = 2\n")
    (place.root / "new.py").write_text("b = 1\n")
    (place.root / "gone.py").write_text("c = 1\n")
    place.git("add", "new.py", "code.py", "gone.py")
    (place.root / "code.py").write_text("a = 3\n")
    (place.root / "new.py").chmod(0o755)
    (place.root / "gone.py").unlink()
    (place.root / "loose.py").write_text("d = 1\n")
    status, entries, staged = place.status(), place.entries(), place.git("diff", "--cached")
    unstaged = place.git("diff")

    recorded = await place.export(T1="Uno")

    assert recorded.commit is not None
    assert (place.status(), place.entries()) == (status, entries)
    assert (place.git("diff", "--cached"), place.git("diff")) == (staged, unstaged)
    place.person("commit", "-q", "-m", "mine")
    assert place.committed() == ROADMAP.replace("One", "Uno")
    assert place.git("show", "HEAD:code.py") == "a = 2\n"


async def test_uncommitted_edits_of_the_roadmap_itself_stay_uncommitted(place: Place) -> None:
    place.path.write_text(ROADMAP.replace("a comment", "their comment").replace("Two", "Dos"))

    recorded = await place.export(T1="Uno")

    assert recorded.commit is not None
    assert place.committed() == ROADMAP.replace("One", "Uno")
    assert place.status() == [f" M {PATH}"]
    diff = place.git("diff", "-U0")
    assert "Uno" not in diff
    assert "+        title: Dos" in diff


async def test_an_export_that_builds_on_an_uncommitted_edit_is_left_to_the_person(place: Place) -> None:
    place.path.write_text(ROADMAP + "      - {id: T3, title: Three}\n")
    before = place.head()

    recorded = await place.export(T3="Tres")

    assert recorded.commit is None
    assert "not committed" in (recorded.note or "")
    assert place.head() == before
    assert place.status() == [f" M {PATH}"]


async def test_an_export_leaves_a_staged_roadmap_alone_until_it_is_committed(
    place: Place,
) -> None:
    place.path.write_text(ROADMAP.replace("Two", "Dos"))
    place.git("add", PATH)
    before, entries = place.head(), place.git("ls-files", "--stage")

    recorded = await place.export(T1="Uno")

    assert recorded.commit is None
    assert "staged" in (recorded.note or "")
    assert (place.head(), place.git("ls-files", "--stage")) == (before, entries)
    assert place.status() == [f"MM {PATH}"]
    place.person("commit", "-q", "-a", "-m", "both")
    assert (await place.export(T2="Deux")).commit == place.head()
    assert place.status() == []


async def test_a_roadmap_that_git_does_not_know_yet_is_committed_whole(tmp_path: Path) -> None:
    place = Place(tmp_path / "work")
    place.git("init", "-q", "-b", "main")
    place.git("add", "code.py")
    place.person("commit", "-q", "-m", "begin")

    recorded = await place.export(T1="Uno")

    assert recorded.commit == place.head()
    assert place.committed() == place.path.read_text()
    assert place.status() == []


async def test_an_ignored_roadmap_is_not_committed_and_that_is_said_once(tmp_path: Path) -> None:
    place = Place(tmp_path / "work")
    (place.root / ".gitignore").write_text("state/\n")
    place.begin()
    before = place.head()

    first, second = await place.export(T1="Uno"), await place.export(T1="Eins")

    assert first == Recorded(note=f"The export is not committed: git ignores {PATH}.")
    assert second == Recorded()
    assert place.head() == before


async def test_without_a_repository_git_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path / "work")
    monkeypatch.setenv("PATH", "")

    assert await place.export(T1="Uno") == Recorded()


async def test_without_git_the_export_is_written_and_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert await place.export(T1="Uno") == Recorded(note="The export could not be committed: git is not installed.")
    assert "Uno" in place.path.read_text()


def merge(place: Place) -> None:
    diverge(place)
    place.person("merge", "side", check=False)


def rebase(place: Place) -> None:
    diverge(place)
    place.person("rebase", "side", check=False)


def cherry_pick(place: Place) -> None:
    diverge(place)
    place.person("cherry-pick", "side", check=False)


def revert(place: Place) -> None:
    diverge(place)
    place.person("revert", "HEAD^", check=False)


def bisect(place: Place) -> None:
    place.git("bisect", "start")


def detached(place: Place) -> None:
    place.git("checkout", "-q", "--detach")


def diverge(place: Place) -> None:
    """Two branches that change the same line."""
    for number, branch in enumerate(("side", "main")):
        place.git("checkout", "-q", *(["-b", branch] if branch == "side" else [branch]))
        for step in "xy":
            (place.root / "code.py").write_text(f"a = {number}{step}\n")
            place.person("commit", "-q", "-a", "-m", f"{branch} {step}")


@pytest.mark.parametrize(
    "middle", [merge, rebase, cherry_pick, revert, bisect, detached], ids=lambda each: each.__name__
)
async def test_a_repository_in_the_middle_of_something_is_left_alone(
    place: Place, middle: Callable[[Place], None]
) -> None:
    middle(place)
    refs, status, entries = place.git("for-each-ref"), place.status(), place.git("ls-files", "--stage")
    head = place.head()

    recorded = await place.export(T1="Uno")

    assert recorded.commit is None
    assert "not committed" in (recorded.note or "")
    assert (place.git("for-each-ref"), place.git("ls-files", "--stage")) == (refs, entries)
    assert place.head() == head
    assert place.status() == sorted([*status, f" M {PATH}"], key=lambda line: line[3:])


async def test_a_repository_without_a_commit_is_left_alone(tmp_path: Path) -> None:
    place = Place(tmp_path / "work")
    place.git("init", "-q", "-b", "main")

    recorded = await place.export(T1="Uno")

    assert "no commit yet" in (recorded.note or "")
    assert place.git("for-each-ref") == ""


async def test_a_held_lock_is_waited_for_and_a_lasting_one_is_named_and_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = place.root / ".git" / "index.lock"
    lock.write_text("")
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 6:
            lock.unlink()

    monkeypatch.setattr(history, "time", SimpleNamespace(monotonic=lambda: sum(naps), sleep=nap))
    assert (await place.export(T1="Uno")).commit == place.head()
    assert len(naps) == 6
    lock.write_text("another's")

    recorded = await place.export(T1="Eins")

    assert "index.lock" in (recorded.note or "")
    assert history._RETRY_SECONDS < sum(naps[6:]) < history._RETRY_SECONDS + 1
    assert lock.read_text() == "another's"


async def test_no_hook_runs_and_nothing_is_signed(place: Place) -> None:
    for hook in ("pre-commit", "commit-msg", "post-commit", "reference-transaction", "post-index-change"):
        script = place.root / ".git" / "hooks" / hook
        script.write_text(f"#!/bin/sh\necho {hook} >> '{place.root}/ran'\nexit 1\n")
        script.chmod(0o755)
    place.git("config", "commit.gpgSign", "true")
    place.git("config", "gpg.program", "/bin/false")
    place.git("config", "core.fsmonitor", str(place.root / ".git" / "hooks" / "post-commit"))

    assert (await place.export(T1="Uno")).commit is not None

    assert not (place.root / "ran").exists()
    assert "gpgsig" not in place.git("cat-file", "commit", "HEAD")


async def test_the_person_is_the_committer_if_git_knows_them_and_the_program_author(place: Place) -> None:
    await place.export(T1="Uno")
    assert place.git("log", "-1", "--format=%an/%cn").strip() == "wvo-mcp/wvo-mcp"
    place.git("config", "user.name", "Pat")
    place.git("config", "user.email", "pat@example.org")

    await place.export(T1="Eins")

    assert place.git("log", "-1", "--format=%an/%cn").strip() == "wvo-mcp/Pat"


async def test_a_person_whose_name_is_not_utf8_gets_commits_too(place: Place) -> None:
    await place.export(T1="Uno")
    with (place.root / ".git/config").open("ab") as config:
        config.write(b"[user]\n\tname = J\xfcrgen\n\temail = pat@example.org\n")

    await place.export(T1="Eins")

    assert "Eins" in place.git("show", "HEAD:state/roadmap.yaml")


async def test_what_is_committed_already_is_not_committed_again(place: Place) -> None:
    await place.export(T1="Uno")
    before = place.head()

    assert await place.history.record(RoadmapChanges(tasks={"T1": {"title": "Uno"}}), "again") == Recorded()

    assert place.head() == before


async def test_a_file_that_git_is_told_to_look_past_is_left_alone(place: Place) -> None:
    place.git("update-index", "--assume-unchanged", PATH)
    before, index = place.head(), (place.root / ".git" / "index").read_bytes()

    recorded = await place.export(T1="Uno")

    assert recorded.commit is None
    assert recorded.note
    assert (place.head(), (place.root / ".git" / "index").read_bytes()) == (before, index)


async def test_what_was_put_back_and_git_staged_again_keeps_no_later_export(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`git commit FILE` reads the index, then locks it: between the two it misses that an export was put back."""
    put_back = history._put_back
    advance = Repository.advance

    def moved(repository: Repository, old: str, new: str, why: str) -> bool:
        monkeypatch.setattr(Repository, "advance", advance)
        (place.root / "code.py").write_text("a = 2\n")
        place.person("commit", "-q", "-m", "theirs", "--", "code.py")
        return advance(repository, old, new, why)

    def then_again(repository: Repository, name: str, before: Entry | None, until: float) -> None:
        monkeypatch.setattr(history, "_put_back", put_back)
        index = place.root / ".git" / "index"
        read = index.read_bytes()
        put_back(repository, name, before, until)
        index.write_bytes(read)

    monkeypatch.setattr(Repository, "advance", moved)
    monkeypatch.setattr(history, "_put_back", then_again)

    recorded = await place.export(T1="Uno")

    assert recorded.commit is not None, recorded
    assert "Uno" in place.committed()
    assert place.status() == []


async def test_commits_of_the_person_and_exports_at_the_same_time_lose_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_RETRY_SECONDS", 60.0)
    done = threading.Event()
    made: list[str] = []

    def work() -> None:
        while not done.wait(0.15):
            file = place.root / f"f{len(made)}.py"
            file.write_text("x\n")
            place.git("add", file.name, check=False)
            place.person("commit", "-q", "-m", file.name, "--", file.name, check=False)
            made.append(file.name)

    person = threading.Thread(target=work)
    person.start()
    try:
        notes = [await place.export(T1=f"Uno {n}") for n in range(sized(12, 5))]
    finally:
        done.set()
        person.join()

    place.git("add", ".")
    place.person("commit", "-q", "-m", "what a lock kept back", check=False)
    exported = [note.commit for note in notes if note.commit]
    log = place.git("log", "--format=%H").split()
    assert len(exported) >= sized(6, 2), notes
    assert set(exported) <= set(log)
    assert set(made) <= set(place.git("ls-tree", "--name-only", "HEAD").split())
    assert place.status() == []
    assert f"Uno {len(notes) - 1}" in place.committed()
    assert place.git("fsck", "--strict").count("error") == 0
