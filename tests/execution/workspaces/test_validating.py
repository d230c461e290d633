"""Changed files judged from git's objects, in real repositories (WS-3, WS-4, WS-7)."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from tests.support.yard import git
from wvo_mcp.domain.policy import DEFAULT_SEVERITIES, SafetyPolicy
from wvo_mcp.domain.validation import Severity, Validation
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.execution.workspaces.validating import Priority, Validator, Work

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-4")]


class FixedJudge:
    """`ports.safety.Judge` whose policy a test sets."""

    def __init__(self, policy: SafetyPolicy | None = None) -> None:
        self.now = policy or SafetyPolicy()
        self.reads = 0

    async def refresh(self) -> None:
        self.reads += 1

    def policy(self) -> SafetyPolicy:
        return self.now


class Place:
    """A repository, and the judge of what is committed in it."""

    def __init__(self, root: Path, *how: str) -> None:
        root.mkdir(parents=True)
        self.root = root
        git(root, "init", "-q", "-b", "main", *how)
        for name, value in (("user.name", "P"), ("user.email", "p@example.org"), ("core.protectNTFS", "true")):
            git(root, "config", name, value)
        (root / "code.py").write_text("a = 1\n")
        self.base = self.save()
        self.judge = FixedJudge()
        self.clock = 0.0
        self.tick = 0.0
        judge: Any = self.judge
        self.validator = Validator(judge, self._steady)

    def _steady(self) -> float:
        self.clock += self.tick
        return self.clock

    def save(self) -> str:
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "--allow-empty", "-m", "more")
        return git(self.root, "rev-parse", "HEAD")

    def imported(self, files: dict[str, bytes]) -> str:
        """A commit of these files, made without a worktree."""
        lines = [b"commit refs/heads/made\ncommitter P <p@example.org> 0 +0000\ndata 0\nfrom " + self.base.encode()]
        for name, content in files.items():
            lines += [b"M 100644 inline " + name.encode(), b"data %d\n%s" % (len(content), content)]
        done = b"\n".join(lines) + b"\n"
        subprocess.run(["git", "fast-import", "--quiet", "--force"], cwd=self.root, input=done, check=True)
        return git(self.root, "rev-parse", "refs/heads/made")

    async def judged(self, commit: str, **more: Any) -> Validation:
        return await self.validator.validate(await self.work(commit, **more))

    async def work(self, commit: str, **more: Any) -> Work:
        common = await to_thread.run_sync(Common.of, self.root)
        assert common is not None
        return Work(common=common, base=self.base, commit=commit, **more)


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """For tests that change nothing of it but by commits without a branch."""
    yield Place(tmp_path_factory.mktemp("validating") / "shop")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "shop")


def rules(found: Validation) -> set[tuple[str, str]]:
    return {(one.path, one.rule) for one in found.findings}


@pytest.mark.requirement("WS-7")
@pytest.mark.parametrize("form", ["sha1", "sha256"])
async def test_links_programs_and_renames_are_judged_from_the_commit_alone(tmp_path: Path, form: str) -> None:
    place = Place(tmp_path / "shop", f"--object-format={form}")
    root = place.root
    (root / "out").symlink_to("/etc/passwd")
    (root / "in").symlink_to("code.py")
    (root / "sub").mkdir()
    (root / "sub/up").symlink_to("../../elsewhere")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "tool").write_bytes(b"\x7fELF" + os.urandom(100))
    git(root, "mv", "code.py", ".mcp.json")
    commit = place.save()
    for path in (root / "out", root / "tool", root / ".mcp.json"):
        path.unlink()  # what the worktree holds now says nothing of the commit

    found = await place.judged(commit)

    assert rules(found) == {
        ("out", "outside"),
        ("sub/up", "outside"),
        ("run.sh", "executable"),
        ("tool", "executable"),
        (".mcp.json", "protected"),
    }
    assert [one.severity for one in found.findings][:3] == [Severity.ERROR] * 3
    assert (found.judged, found.total, found.sampled) == (7, 7, None)


@pytest.mark.requirement("WS-7")
async def test_names_of_every_kind_and_removed_files_are_judged(place: Place) -> None:
    (place.root / "state").mkdir()
    for name in ("a\nb", "\udcff", "üñ", " x", "[id].tsx", "-rf", "a\tb", "state/x"):
        (place.root / os.fsdecode(name.encode(errors="surrogateescape"))).write_text("x")
    place.base = place.save()
    for path in (*place.root.glob("*x*"), place.root / "a\nb", place.root / "state/x"):
        path.unlink()

    found = await place.judged(place.save(), files=["src/**"])

    assert {one.path for one in found.findings if one.rule == "drift"} == {" x", "[id].tsx", "a\nb", "state/x"}
    assert ("state/x", "protected") in rules(found)
    assert all("\n" not in one.message for one in found.findings)


@pytest.mark.requirement("WS-7")
async def test_a_submodule_is_a_warning_and_gitmodules_a_persons_matter(place: Place) -> None:
    git(place.root, "update-index", "--add", "--cacheinfo", f"160000,{place.base},lib")
    (place.root / ".gitmodules").write_text("[submodule]\n")
    git(place.root, "add", ".gitmodules")
    git(place.root, "commit", "-q", "-m", "module")

    found = await place.judged(git(place.root, "rev-parse", "HEAD"))

    assert rules(found) == {("lib", "submodule"), (".gitmodules", "protected")}


@pytest.mark.requirement("WS-7")
async def test_trees_that_git_itself_would_not_check_out_are_critical(place: Place) -> None:
    """Objects can be written by hand."""
    blob = git(place.root, "rev-parse", "HEAD:code.py")
    names = [b"..", b".git", b".GIT ", b"git~1x"]
    raw = b"".join(b"100644 " + name + b"\0" + bytes.fromhex(blob) for name in sorted(names))
    (place.root.parent / "tree").write_bytes(raw)
    tree = git(place.root, "hash-object", "-t", "tree", "-w", "--literally", str(place.root.parent / "tree"))
    commit = git(place.root, "commit-tree", "-m", "x", "-p", place.base, tree)

    found = await place.judged(commit)

    critical = {one.path for one in found.findings if one.severity is Severity.CRITICAL}
    assert critical == {"..", ".git", ".GIT "}


async def test_a_policy_that_changes_between_two_checkpoints_holds_at_once(place: Place) -> None:
    (place.root / "keys").mkdir()
    (place.root / "keys/a.pem").write_text("x")
    commit = place.save()
    assert (await place.judged(commit)).findings == ()

    place.judge.now = SafetyPolicy(forbidden=("*.pem",))
    (stricter,) = (await place.judged(commit)).findings
    place.judge.now = SafetyPolicy(forbidden=("*.pem",), severities={**DEFAULT_SEVERITIES, "forbidden": "info"})
    (milder,) = (await place.judged(commit)).findings

    assert (stricter.severity, milder.severity) == (Severity.CRITICAL, Severity.INFO)
    assert place.judge.reads == 3


async def test_what_is_known_of_a_file_is_not_asked_again(fixed: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"src/f{number}": b"%d" % number for number in range(50)}
    first = await fixed.judged(fixed.imported(files))
    ran: list[str] = []
    run = Common.run

    def counted(self: Common, *arguments: str, **more: Any) -> bytes:
        ran.append(arguments[0])
        return run(self, *arguments, **more)

    monkeypatch.setattr(Common, "run", counted)
    commit = fixed.imported(files)
    again = await fixed.judged(commit)
    assert (ran, again.bytes, again.judged) == (["diff-tree"], first.bytes, 50)
    more = await fixed.judged(fixed.imported({**files, "src/f1": b"\x7fELF"}))
    assert ran[1:] == ["diff-tree", "cat-file", "cat-file"]
    assert rules(more) == {("src/f1", "executable")}
    assert (await fixed.judged(commit, files=["docs"])).violations == 50, "what a task claims is judged each time"


async def test_quotas_count_what_differs(fixed: Place) -> None:
    fixed.judge.now = SafetyPolicy(file_mb=1, workspace_mb=2, workspaces_mb=4)
    size = (1 << 20) + 1
    commit = fixed.imported({"a": os.urandom(size), "b": os.urandom(size)})

    own = await fixed.judged(commit)
    full = await fixed.judged(commit, others=3 << 20)

    assert own.bytes == 2 * size
    assert rules(own) == {("a", "size"), ("b", "size"), ("", "quota")}
    assert full.violations == own.violations + 1


async def test_what_came_by_worktreeinclude_and_an_object_that_is_gone(place: Place) -> None:
    (place.root / "secrets.json").write_text("x")
    commit = place.save()

    found = await place.judged(commit, included=["secrets.json"])
    blob = git(place.root, "rev-parse", "HEAD:secrets.json")
    (place.root / ".git/objects" / blob[:2] / blob[2:]).unlink()
    place.judge.now = SafetyPolicy(forbidden=("x",))

    assert rules(found) == {("secrets.json", "included")}
    with pytest.raises(GitFailed, match="is missing"):
        await place.judged(commit)


@pytest.mark.requirement("WS-10")
async def test_ten_thousand_files_are_sampled_when_time_is_up_and_no_path_is_hidden(place: Place) -> None:
    files = {f"src/m{number % 50}/f{number}.py": b"%d" % number for number in range(10_000)}
    commit = place.imported({**files, "src/.mcp.json": b"{}", "x/CLAUDE.md": b"x"})
    whole = await place.judged(commit)
    assert (whole.judged, whole.total, whole.sampled) == (10_002, 10_002, None)

    place.judge.now = SafetyPolicy(forbidden=("y",))
    place.tick = 2.0  # each look at the clock
    part = await place.judged(commit)

    assert 500 <= part.judged < part.total == 10_002
    assert part.sampled == f"the contents of {part.judged:,} of 10,002 changed files were looked at; all paths were"
    assert rules(part) == rules(whole) == {("src/.mcp.json", "protected"), ("x/CLAUDE.md", "protected")}
    assert part.bytes == whole.bytes


async def test_a_hundred_files_are_never_sampled(fixed: Place) -> None:
    fixed.judge.now, fixed.tick = SafetyPolicy(forbidden=("z",)), 100.0
    found = await fixed.judged(fixed.imported({f"n{number}": b"n%d" % number for number in range(100)}))
    fixed.tick = 0.0
    assert (found.judged, found.total) == (100, 100)


@pytest.mark.requirement("WS-10")
async def test_three_are_judged_at_once_and_who_completes_comes_first(
    fixed: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[str] = []
    running, most, go = 0, 0, anyio.Event()

    async def held() -> None:
        nonlocal running, most
        began.append(str(anyio.get_current_task().name))
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1

    monkeypatch.setattr(fixed.judge, "refresh", held)
    judged, work = fixed.validator.validate, await fixed.work(fixed.base)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(judged, work, Priority.INTERVAL, name="first")
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0):
            await judged(work, Priority.COMPLETE)  # its caller goes away
        for one in reversed(Priority):
            tasks.start_soon(judged, work, one, name=one.name)
        await anyio.wait_all_tasks_blocked()
        assert running == 3
        go.set()

    assert (most, running) == (3, 0)
    assert began == ["first", "first", "first", "COMPLETE", "PAUSE", "INTERVAL"]
