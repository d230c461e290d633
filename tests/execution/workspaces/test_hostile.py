"""What an agent may plant in its worktree and in .git: nothing of ours runs it, and what matters is seen."""

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from tests.support.bench import Bench
from tests.support.yard import Yard, git
from wvo_mcp.errors import Conflict, Forbidden
from wvo_mcp.execution.workspaces import worktree
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.ports.places import Place, PlaceFailed

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SAFE-1")]


class Ran:
    """A program of the agent, and whether somebody ran it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "ran"
        self.program = str(folder / "evil")
        (folder / "evil").write_text(f"#!/bin/sh\necho ran >> {self._file}\ncat\n")
        (folder / "evil").chmod(0o755)

    def __bool__(self) -> bool:
        return self._file.exists()

    def forget(self) -> None:
        self._file.unlink(missing_ok=True)


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    return Ran(tmp_path)


async def everything(yard: Yard, task_id: str) -> None:
    """All that we ever do with a worktree; what is refused is refused."""
    await yard.places.tampered(task_id)
    await yard.places.close(task_id)
    await yard.places.recover()


def as_folder(place: Place, ran: Ran) -> None:
    (place.path / ".git").unlink()
    git(place.path, "init", "-q")
    for key, value in {
        "filter.x.clean": ran.program,
        "core.fsmonitor": ran.program,
        "diff.x.textconv": ran.program,
        "core.hooksPath": str(place.path),
    }.items():
        git(place.path, "config", key, value)
    (place.path / ".gitattributes").write_text("* filter=x diff=x\n")


def as_link(place: Place, ran: Ran) -> None:
    as_folder(place, ran)
    elsewhere = ran.folder / "elsewhere"
    (place.path / ".git").rename(elsewhere)
    (place.path / ".git").symlink_to(elsewhere)


def as_nested(place: Place, ran: Ran) -> None:
    """A folder of the worktree is a repository with a config of its own, and in the index as a submodule."""
    inside = place.path / "sub"
    inside.mkdir()
    git(inside, "init", "-q")
    (inside / "a").write_text("1")
    git(inside, "add", "a")
    git(inside, "-c", "user.name=E", "-c", "user.email=e@example.org", "commit", "-q", "-m", "in")
    git(inside, "config", "filter.x.clean", ran.program)
    git(inside, "config", "core.fsmonitor", ran.program)
    (inside / ".gitattributes").write_text("* filter=x\n")
    (inside / "a").write_text("2")
    git(place.path, "update-index", "--add", "--cacheinfo", f"160000,{git(inside, 'rev-parse', 'HEAD')},sub")


@pytest.mark.parametrize("plant", [as_folder, as_link, as_nested])
async def test_a_planted_git_folder_runs_nothing(yard: Yard, ran: Ran, plant: Callable[[Place, Ran], None]) -> None:
    worker, place = await yard.opened("T1")
    plant(place, ran)
    (place.path / "new.py").write_text("b = 2\n")
    (place.path / "code.py").write_text("a = 2\n")
    ran.forget()

    if plant is as_nested:
        with pytest.raises(Conflict, match="sub/: a git repository within"):
            await yard.complete(worker)
    else:
        commit = (await yard.complete(worker))["submission"]["commit"]
        assert yard.show(commit, "code.py") == "a = 2"
    await everything(yard, "T1")

    assert not ran
    git(place.path, "status")
    assert ran, "what was planted works"


async def test_a_submodule_that_an_agent_prepared_runs_nothing(yard: Yard, ran: Ran, tmp_path: Path) -> None:
    module = Yard(tmp_path / "module", yard.bench).begin()
    yard.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(module.root), "lib")
    yard.save("with a module")
    worker, place = await yard.opened("T1")
    inside = place.path / "lib"
    yard.git("-c", "protocol.file.allow=always", "clone", "-q", str(module.root), str(inside))
    git(inside, "config", "core.fsmonitor", ran.program)
    git(inside, "config", "filter.x.clean", ran.program)
    (inside / ".gitattributes").write_text("* filter=x\n")
    (inside / "code.py").write_text("a = 9\n")
    (place.path / "new.py").write_text("b = 2\n")
    ran.forget()

    commit = (await yard.complete(worker))["submission"]["commit"]
    await everything(yard, "T1")

    assert not ran
    git(place.path, "status")
    assert ran, "what was planted works"
    assert (await yard.places.close("T1") or "").startswith("it holds the submodule lib")
    assert yard.git("ls-tree", commit, "lib") == yard.git("ls-tree", "HEAD", "lib")


TAMPERING: dict[str, Callable[[Yard, str], object]] = {
    "core.fsmonitor": lambda yard, evil: yard.git("config", "core.fsmonitor", evil),
    "core.hooksPath": lambda yard, evil: yard.git("config", "core.hooksPath", str(Path(evil).parent)),
    "filter.x.clean": lambda yard, evil: yard.git("config", "filter.x.clean", evil),
    "includeif": lambda yard, evil: yard.git("config", "includeIf.gitdir:**.path", "/nowhere"),
    "remote.origin.url": lambda yard, evil: yard.git("config", "remote.origin.url", f"ext::{evil}"),
    "core.worktree": lambda yard, evil: yard.git("config", "core.worktree", "/"),
    "hooks/pre-commit": lambda yard, evil: (yard.root / ".git/hooks/pre-commit").symlink_to(evil),
    "info/attributes": lambda yard, evil: (yard.root / ".git/info/attributes").write_text("* filter=x\n"),
    "info/exclude": lambda yard, evil: (yard.root / ".git/info/exclude").write_text("*\n"),
    "objects/info/alternates": lambda yard, evil: (yard.root / ".git/objects/info/alternates").write_text(
        "/elsewhere\n"
    ),
}


_SAMPLE = ("core.fsmonitor", "hooks/pre-commit", "info/attributes")


@pytest.mark.parametrize(
    "what", [pytest.param(one, marks=[] if one in _SAMPLE else [pytest.mark.full]) for one in TAMPERING]
)
async def test_a_change_of_the_repositorys_own_files_stops_everything(yard: Yard, ran: Ran, what: str) -> None:
    (yard.root / ".git/hooks").mkdir(exist_ok=True)
    yard.write(yard.root, {".gitattributes": "* filter=x\n"})
    yard.save("attributes")
    worker, place = await yard.opened("T1")
    (place.path / "new.py").write_text("b = 2\n")
    assert await yard.places.tampered("T1") is None

    TAMPERING[what](yard, ran.program)

    shown = await yard.places.tampered("T1")
    assert shown is not None
    assert what.lower() in shown.lower()
    with pytest.raises(Forbidden) as refused:
        await yard.complete(worker)
    assert refused.value.details["difference"] == shown
    with pytest.raises(PlaceFailed) as failed:
        await yard.opened("T2")
    assert failed.value.tampered
    await everything(yard, "T1")
    assert not ran
    assert place.path.exists()
    assert yard.refs("refs/wvo") == []
    (violation,) = await yard.bench.sql("SELECT kind, rule, subject FROM violations")
    assert violation == {"kind": "repository", "rule": "repository_changed", "subject": shown}


async def test_a_person_says_that_a_change_was_theirs(yard: Yard) -> None:
    worker, place = await yard.opened("T1")
    (place.path / "new.py").write_text("b = 2\n")
    yard.git("remote", "add", "origin", "https://pat:pAssw0rdXk22@example.org/shop.git")

    shown = await yard.places.accept()

    assert shown == [
        "config: remote.origin.fetch is now '+refs/heads/*:refs/remotes/origin/*'",
        "config: remote.origin.url is now 'https://pat:[redacted]@example.org/shop.git'",
    ]
    assert await yard.places.tampered("T1") is None
    assert await yard.places.accept() == []
    assert (await yard.complete(worker))["submission"] is not None


async def test_no_password_of_the_config_is_stored(yard: Yard) -> None:
    yard.git("remote", "add", "origin", "https://pat:pAssw0rdXk22@example.org/shop.git")

    await yard.submitted("T1", **{"new.py": ""})

    (row,) = await yard.bench.sql("SELECT facts FROM workspaces")
    (entry,) = await yard.bench.sql("SELECT repository FROM merge_entries")
    assert "pAssw0rdXk22" not in row["facts"]
    assert entry["repository"] == "https://example.org/shop.git"


async def test_what_a_persons_tools_note_in_the_config_stops_nobody(yard: Yard) -> None:
    worker, place = await yard.opened("T1")
    (place.path / "new.py").write_text("b = 2\n")

    yard.git("config", "branch.main.remote", "origin")
    yard.git("config", "branch.main.merge", "refs/heads/main")
    yard.git("config", "branch.topic.vscode-merge-base", "origin/main")
    yard.git("update-server-info")
    (yard.root / ".git/hooks").mkdir(exist_ok=True)
    (yard.root / ".git/hooks/new.sample").write_text("")

    assert await yard.places.tampered("T1") is None
    assert (await yard.complete(worker))["submission"] is not None


async def test_what_an_included_file_says_is_watched_too(yard: Yard, home: Path) -> None:
    (yard.root / "shared.config").write_text("[core]\n\tbigFileThreshold = 1m\n")
    yard.git("config", "include.path", "../shared.config")
    await yard.opened("T1")
    assert await yard.places.tampered("T1") is None

    (yard.root / "shared.config").write_text("[core]\n\tfsmonitor = evil\n")

    shown = await yard.places.tampered("T1")
    assert shown is not None
    assert "core.fsmonitor is now 'evil'" in shown


async def test_filters_and_merge_programs_of_the_person_are_not_run(yard: Yard, ran: Ran, home: Path) -> None:
    """An agent writes .gitattributes, and the script that a person's filter names may be in its worktree."""
    yard.git("config", "filter.x.clean", ran.program)
    yard.git("config", "filter.x.smudge", ran.program)
    yard.git("config", "filter.x.required", "true")
    yard.git("config", "merge.x.driver", f"{ran.program} %A")
    yard.write(
        home, {".gitconfig": f'[filter "y"]\n\tclean = {ran.program}\n\tprocess = {ran.program}\n\trequired = true\n'}
    )
    text = "one\ntwo\nthree\n"
    yard.write(yard.root, {"shared.txt": text})
    yard.save("text")
    first = await yard.submitted("A", **{"shared.txt": "ONE\ntwo\nthree\n", ".gitattributes": "* filter=x merge=x\n"})
    second = await yard.submitted("B", **{"shared.txt": "uno\ntwo\nthree\n"})
    third = await yard.submitted("C", **{".gitattributes": "* filter=y\n", "c.txt": "c\n"})
    ran.forget()

    place = await yard.open(await yard.claimed("T1"), bases=[first, second, third])

    assert not ran
    assert set(place.conflicts) == {"shared.txt", ".gitattributes"}
    assert "<<<<<<<" in (place.path / "shared.txt").read_text()
    assert yard.show(third, "c.txt") == "c"


async def test_a_worktree_that_became_a_link_is_not_followed(yard: Yard, tmp_path: Path) -> None:
    worker, place = await yard.opened("T1")
    moved = tmp_path / "moved"
    place.path.rename(moved)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("1")
    place.path.symlink_to(tmp_path / "secret")

    with pytest.raises(Conflict, match="is not a folder"):
        await yard.complete(worker)
    await everything(yard, "T1")

    assert (tmp_path / "secret/key").exists()
    assert moved.exists()


async def test_odd_names_are_submitted_as_they_are(yard: Yard) -> None:
    worker, place = await yard.opened("T1", files=["src/**"])
    names = ["a\nb.py", "ä ö.py", "-n", ":(top)x", "tab\there", 'quo"te', "back\\slash", "src/[x]*.py"]
    yard.write(place.path, dict.fromkeys(names, "1"))
    (place.path / os.fsdecode(b"latin-\xe9.txt")).write_text("1")
    (place.path / "link").symlink_to("/etc/passwd")
    os.mkfifo(place.path / "pipe")

    done = await yard.complete(worker)

    found = yard.git(
        "ls-tree", "-r", "--name-only", "-z", "--full-tree", done["submission"]["commit"], "--", "src", "link"
    )
    assert found.split("\0")[:-1] == ["link", "src/[x]*.py"]
    raw = yard.git(
        "-c", "core.quotePath=true", "ls-tree", "-r", "--name-only", done["submission"]["commit"]
    ).splitlines()
    assert {'"a\\nb.py"', '"\\303\\244 \\303\\266.py"', '"latin-\\351.txt"', "-n", ":(top)x"} <= set(raw)
    task = await yard.bench.call("get_task", task_id="T1")
    assert len(task["submission"]["drift"]) == len(names)
    assert "a\nb.py" in task["submission"]["drift"]


async def test_large_new_files_are_refused_by_name(yard: Yard) -> None:
    worker, place = await yard.opened("T1")
    with (place.path / "big.bin").open("wb") as file:
        file.truncate(50 << 20)
    yard.write(place.path, {"new.py": "b = 2\n"})
    before = yard.git("count-objects")

    with pytest.raises(Conflict, match=r"big\.bin: new files of more than 10 MiB"):
        await yard.complete(worker)

    assert yard.git("count-objects") == before
    yard.write(place.path, {".gitignore": "*.bin\n*.log\n.env\nstate/\n"})
    assert (await yard.complete(worker))["submission"] is not None


async def test_variables_of_a_surrounding_git_lead_nowhere_else(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"new.py": "b = 2\n"})
    with monkeypatch.context() as inside:
        for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_WORK_TREE", "GIT_CONFIG_PARAMETERS"):
            inside.setenv(name, str(yard.root / "elsewhere"))
        done = await yard.complete(worker)

    assert "new.py" in yard.names(done["submission"]["commit"])


async def test_a_git_of_the_worktree_is_not_run(yard: Yard, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"git": f"#!/bin/sh\nexec {ran.program}\n"})
    (place.path / "git").chmod(0o755)
    with monkeypatch.context() as inside:
        inside.setenv("PATH", f".:{place.path}::{os.environ['PATH']}")
        await yard.complete(worker)

    assert not ran


async def test_a_commit_that_an_agent_replaced_is_what_it_was(yard: Yard) -> None:
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"new.py": "b = 2\n"})
    yard.git("add", "-A", at=place.path)
    tree = yard.git("write-tree", at=place.path)
    names = ("-c", "user.name=Agent", "-c", "user.email=agent@example.org")
    yard.git("replace", str(place.base), yard.git(*names, "commit-tree", tree, "-m", "base", at=place.path))

    done = await yard.complete(worker)

    assert yard.git("--no-replace-objects", "ls-tree", done["submission"]["commit"], "new.py")


@pytest.mark.parametrize("project", ["", "app"])
async def test_the_next_worker_does_not_work_where_a_link_leads(yard: Yard, bench: Bench, project: str) -> None:
    yard.write(yard.root, {"app/main.py": "a = 1\n"})
    yard.save("app")
    there = Yard(yard.root / project, bench)
    worker, place = await there.opened("T1")
    place.path.rename(place.path.parent / "moved")
    place.path.symlink_to(there.root)
    await bench.call("release_task", worker, task_id="T1")

    again = await there.open(await there.claim("T1"))

    assert again.path.resolve() == again.path
    assert again.path.is_relative_to(there.folder)


async def test_a_pipe_in_the_repository_keeps_nobody_waiting(yard: Yard) -> None:
    _, place = await yard.opened("T1")
    (yard.root / ".git/worktrees/T0").mkdir()
    os.mkfifo(yard.root / ".git/worktrees/T0/gitdir")
    common = await to_thread.run_sync(Common.of, yard.root)
    assert common is not None

    with anyio.fail_after(10):
        found = await to_thread.run_sync(worktree.admin, common, place.path, abandon_on_cancel=True)

    assert found == yard.root / ".git/worktrees/T1"
