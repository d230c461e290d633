"""The place of a task: made, taken over, prepared; real git."""

from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.support.bench import Bench
from tests.support.waiting import eventually
from tests.support.yard import Yard, digests
from wvo_mcp.domain.rules import Rules
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.ports.places import PlaceFailed

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-8")]


async def test_a_task_gets_a_worktree_on_a_branch_of_its_own(yard: Yard) -> None:
    head = yard.git("rev-parse", "HEAD")

    _, place = await yard.opened("T1")

    assert place.path == yard.folder / "T1"
    assert (place.branch, place.base) == ("wvo/T1", head)
    assert yard.git("symbolic-ref", "--short", "HEAD", at=place.path) == "wvo/T1"
    assert (place.path / "code.py").read_text() == "a = 1\n"
    assert await yard.states("T1") == ["open"]


async def test_the_checkout_does_not_show_the_worktrees(yard: Yard) -> None:
    (yard.root / ".gitignore").write_text("")
    yard.save("nothing is ignored")

    await yard.opened("T1")

    assert yard.git("status", "--porcelain", "--untracked-files=all", "--", "state/worktrees") == ""
    assert "/state/worktrees/" in (yard.root / ".git/info/exclude").read_text().splitlines()
    assert "/state/workers/" in (yard.root / ".git/info/exclude").read_text().splitlines()


async def test_another_folder_for_worktrees_is_no_change_of_the_repository(yard: Yard, tmp_path: Path) -> None:
    yard.folder = tmp_path / "elsewhere"
    yard.again()
    await yard.opened("T1")
    yard.folder = yard.root / "state" / "worktrees"
    yard.again()

    await yard.opened("T2")

    assert await yard.places.suspected() == []


async def test_the_next_worker_of_a_task_takes_its_place_over(yard: Yard) -> None:
    worker, first = await yard.opened("T1")
    (first.path / "half.py").write_text("b = 2\n")
    await yard.bench.call("release_task", worker, task_id="T1")

    again = await yard.open(await yard.claim("T1"))

    assert (again.path, again.workspace_id, again.reused) == (first.path, first.workspace_id, True)
    assert (again.path / "half.py").exists()


async def test_work_starts_from_the_target_of_the_roadmap(yard: Yard) -> None:
    yard.git("branch", "release")
    old = yard.git("rev-parse", "release")
    yard.write(yard.root, {"new.py": ""})
    yard.save("later")
    yard.rules.rules = Rules(target="release")

    _, place = await yard.opened("T1")

    assert place.base == old
    assert not (place.path / "new.py").exists()


async def test_a_target_that_does_not_exist_is_said(yard: Yard) -> None:
    yard.rules.rules = Rules(target="nowhere")

    with pytest.raises(PlaceFailed, match="nowhere has no commit"):
        await yard.opened("T1")


async def test_a_repository_without_a_commit_is_said(bench: Bench, home: Path, tmp_path: Path) -> None:
    yard = Yard(tmp_path / "empty", bench)
    yard.root.mkdir()
    yard.git("init", "-q", "-b", "main")

    with pytest.raises(PlaceFailed, match="no commit"):
        await yard.opened("T1")


async def test_a_project_below_the_top_of_its_repository_starts_there(yard: Yard, bench: Bench) -> None:
    yard.write(yard.root, {"part/code.py": ""})
    yard.save("a part")
    part = Yard(yard.root / "part", bench)

    worker, place = await part.opened("T1")
    (place.path / "more.py").write_text("b = 2\n")
    commit = (await part.complete(worker))["submission"]["commit"]

    assert place.path == part.folder / "T1" / "part"
    assert "part/more.py" in yard.names(commit)
    assert "/part/state/worktrees/" in (yard.root / ".git/info/exclude").read_text()


async def test_folders_of_another_store_are_no_change_of_the_repository(yard: Yard) -> None:
    exclude = yard.root / ".git/info/exclude"
    worker, _ = await yard.opened("T1")
    exclude.write_text(exclude.read_text().removesuffix("\n"))  # a person's editor

    def another_store() -> bool:
        other = Common.of(yard.root)
        return other is not None and other.exclude(["/part \\[1]/state/worktrees/", "/part \\[1]/state/workers/"])

    assert await anyio.to_thread.run_sync(another_store)
    assert await yard.places.tampered("T1") is None
    await yard.open(worker)
    await yard.opened("T2")


async def test_whatever_else_is_kept_out_is_a_change(yard: Yard) -> None:
    await yard.opened("T1")
    exclude = yard.root / ".git/info/exclude"
    before = exclude.read_text()
    for line in (
        "*",
        "/src/",
        "/*/workers/",
        "workers/",
        "/[x]/workers/",
        "/a/workers/*",
        "!/state/workers/",
        "/xworkers/",
    ):
        exclude.write_text(f"{before}{line}\n")
        assert "info/exclude" in (await yard.places.tampered("T1") or ""), line


async def test_slots_and_projects_have_ports_of_their_own(yard: Yard) -> None:
    bases = [(await yard.open(await yard.claimed(f"T{slot}"), slot=slot)).env["WVO_PORT_BASE"] for slot in range(3)]

    first = int(bases[0])
    assert bases == [str(first), str(first + 10), str(first + 20)]
    assert 1024 < first < 32_000


async def test_names_that_git_refuses_make_places_all_the_same(yard: Yard) -> None:
    for task_id in ("a..b", "x.lock", "end."):
        worker, place = await yard.opened(task_id)
        (place.path / "new.py").write_text("b = 2\n")
        commit = (await yard.complete(worker))["submission"]["commit"]
        ref = f"refs/wvo/submit/{task_id.replace('.', '%2E')}/1"
        assert yard.git("rev-parse", ref) == commit


async def test_commits_of_an_earlier_branch_are_kept(yard: Yard) -> None:
    yard.git("checkout", "-q", "-b", "wvo/T1")
    yard.write(yard.root, {"earlier.py": ""})
    earlier = yard.save("earlier")
    yard.git("checkout", "-q", "main")

    _, place = await yard.opened("T1")

    (archive,) = yard.refs("refs/wvo/archive")
    assert yard.git("rev-parse", archive) == earlier
    assert place.note is not None
    assert archive in place.note
    assert not (place.path / "earlier.py").exists()


async def test_a_branch_that_the_person_has_checked_out_is_left(yard: Yard) -> None:
    yard.git("checkout", "-q", "-b", "wvo/T1")

    _, place = await yard.opened("T1")

    assert place.branch == "wvo/T1.2"
    assert yard.git("symbolic-ref", "--short", "HEAD") == "wvo/T1"


async def test_a_ref_that_leads_to_the_persons_branch_moves_nothing(yard: Yard) -> None:
    head = yard.git("rev-parse", "main")
    yard.git("symbolic-ref", "refs/heads/wvo/T1", "refs/heads/main")
    yard.git("symbolic-ref", "refs/wvo/submit/T1/1", "refs/heads/main")

    commit = await yard.submitted("T1", **{"new.py": "b = 2\n"})

    assert yard.git("rev-parse", "main") == head
    assert yard.git("rev-parse", "refs/wvo/submit/T1/2") == commit


async def test_a_failing_hook_and_a_hook_that_writes_are_not_run(yard: Yard) -> None:
    for name in ("post-checkout", "pre-commit", "reference-transaction", "post-index-change"):
        hook = yard.root / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {yard.root}/ran\nexit 1\n")
        hook.chmod(0o755)

    await yard.submitted("T1", **{"new.py": "b = 2\n"})

    assert not (yard.root / "ran").exists()


async def test_setup_runs_in_the_worktree_with_a_bounded_log(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDECODE", "1")
    monkeypatch.setenv("DEPLOY_TOKEN", "Zx81kkQpW0aaLm42TTy")
    monkeypatch.setenv("NPM_TOKEN", "Zx81kkQpW0aaLm42TTz")
    monkeypatch.setenv("WVO_WORKER_KEY", "1")
    yard.rules.rules = Rules(setup="env > env.log; echo prepared; echo aside >&2", env=("NPM_TOKEN",))

    _, place = await yard.opened("T1")

    seen = dict(line.split("=", 1) for line in (place.path / "env.log").read_text().splitlines() if "=" in line)
    assert seen["CI"] == "1"
    assert seen["WVO_PORT_BASE"] == place.env["WVO_PORT_BASE"]
    assert "NPM_TOKEN" in seen
    assert not {"CLAUDECODE", "DEPLOY_TOKEN", "WVO_WORKER_KEY"} & set(seen)
    (log,) = (yard.root / "state/workers/setup").glob("*.log")
    assert {"prepared", "aside"} <= set(log.read_text().splitlines())


async def test_a_setup_that_fails_leaves_nothing_and_shows_its_end(yard: Yard) -> None:
    yard.rules.rules = Rules(setup="echo no compiler here; exit 3")
    before = yard.refs()
    worker = await yard.claimed("T1")

    with pytest.raises(PlaceFailed, match="ended with 3") as failed:
        await yard.open(worker)

    assert "no compiler here" in failed.value.tail
    assert not (yard.folder / "T1").exists()
    assert yard.refs() == before
    assert await yard.states("T1") == ["failed"]
    yard.rules.rules = Rules()
    assert not (await yard.open(worker)).reused


async def test_a_folder_whose_name_is_a_pattern_stays_out_of_the_persons_status(yard: Yard) -> None:
    yard.folder = yard.root / "p[a]rt !" / "worktrees"
    yard.again()

    await yard.open(await yard.claimed("T1"))

    assert yard.git("status", "--porcelain") == ""


async def test_a_setup_that_changes_the_repositorys_config_is_named_as_its_cause(yard: Yard) -> None:
    yard.rules.rules = Rules(setup="git config core.hooksPath .husky")

    said = r"core.hookspath is now '.husky'\nIt changed while project.setup ran"
    with pytest.raises(PlaceFailed, match=said) as failed:
        await yard.open(await yard.claimed("T1"))

    assert failed.value.tampered


async def test_a_setup_that_does_not_end_is_ended(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wvo_mcp.execution.workspaces.places.SETUP_SECONDS", 0.2)
    yard.rules.rules = Rules(setup="sleep 600")

    with pytest.raises(PlaceFailed, match="took longer"):
        await yard.opened("T1")


async def test_a_setup_that_is_cancelled_leaves_nothing(yard: Yard) -> None:
    yard.rules.rules = Rules(setup="touch started.log; sleep 600")
    worker = await yard.claimed("T1")

    async with anyio.create_task_group() as group:
        group.start_soon(yard.open, worker)
        await anyio.to_thread.run_sync(eventually, lambda: (yard.folder / "T1/started.log").exists())
        group.cancel_scope.cancel()

    assert not (yard.folder / "T1").exists()
    assert await yard.states("T1") == ["failed"]


async def test_a_long_setup_holds_up_no_other_worker(yard: Yard) -> None:
    yard.rules.rules = Rules(setup="case $PWD in */T1) while [ ! -e go.log ]; do sleep 0.01; done;; esac")
    first, second = await yard.claimed("T1"), await yard.claimed("T2")

    async with anyio.create_task_group() as group:
        group.start_soon(yard.open, first)
        await anyio.to_thread.run_sync(eventually, lambda: (yard.folder / "T1/code.py").exists())
        await yard.open(second)
        assert await yard.states("T1") == ["making"]
        (yard.folder / "T1/go.log").touch()

    assert await yard.states("T1") == ["open"]


async def test_files_that_git_ignores_and_a_worker_needs_are_copied(yard: Yard) -> None:
    yard.write(
        yard.root,
        {
            ".worktreeinclude": ".env\nconf/*.log\ncode.py\nlinks*.log\nstate/\n",
            ".env": "A=1\n",
            "conf/a.log": "1",
            "other.log": "2",
            "state/state.txt": "3",
        },
    )
    (yard.root / "links-out.log").symlink_to("../outside")
    (yard.root / "links-abs.log").symlink_to(yard.root / ".env")
    (yard.root / "links-in.log").symlink_to("conf/a.log")
    yard.save("include")

    worker, place = await yard.opened("T1")

    assert (place.path / ".env").read_text() == "A=1\n"
    assert (place.path / ".env").stat().st_ino != (yard.root / ".env").stat().st_ino
    assert (place.path / "conf/a.log").exists()
    assert (place.path / "links-in.log").is_symlink()
    assert not any((place.path / name).exists() for name in ("other.log", "state/state.txt"))
    assert not any((place.path / name).is_symlink() for name in ("links-out.log", "links-abs.log"))
    assert place.note is not None
    assert "links-out.log" in place.note
    (place.path / ".gitignore").write_text("")
    (place.path / "new.py").write_text("")
    commit = (await yard.complete(worker))["submission"]["commit"]
    assert yard.names(commit) & {".env", "conf/a.log", "links-in.log"} == set()


async def test_a_link_into_a_folder_whose_name_begins_alike_is_not_copied(yard: Yard) -> None:
    evil = yard.root.with_name(f"{yard.root.name}-evil")
    yard.write(evil, {"secret": "x\n"})
    (yard.root / "out.log").symlink_to(f"../{evil.name}/secret")
    yard.write(yard.root, {".worktreeinclude": "*.log\n"})

    _, place = await yard.opened("T1")

    assert not (place.path / "out.log").is_symlink()
    assert place.note is not None
    assert "out.log: it is a link that leaves the project" in place.note


async def test_included_files_are_not_written_through_a_link_of_a_commit(yard: Yard, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    worker, place = await yard.opened("D")
    (place.path / "conf").symlink_to(outside)
    pinned = (await yard.complete(worker))["submission"]["commit"]
    yard.write(yard.root, {".worktreeinclude": "conf/*.log\n", "conf/a.log": "1"})

    place = await yard.open(await yard.claimed("T1"), bases=[pinned])

    assert list(outside.iterdir()) == []
    assert place.note is not None
    assert "conf/a.log" in place.note


async def test_a_worker_leaves_the_checkout_and_home_as_they_were(yard: Yard, home: Path) -> None:
    yard.write(home, {".gitconfig": "[user]\n\tname = Pat\n", ".config/git/ignore": "*.swp\n"})
    yard.write(yard.root, {"untracked.txt": "mine", ".worktreeinclude": ".env\n", ".env": "A=1"})
    yard.write(yard.root, {"staged.txt": "mine"})
    yard.git("add", "staged.txt")
    git_own = [".git/objects", ".git/refs/wvo", ".git/refs/heads/wvo", ".git/worktrees", ".git/logs/refs/heads/wvo"]
    spared = [*git_own, ".git/info/exclude", "state"]
    before, at_home = digests(yard.root, spared), digests(home)
    exclude = (yard.root / ".git/info/exclude").read_text()
    yard.rules.rules = Rules(setup="echo hello > made.log")

    first = await yard.submitted("T1", **{"new.py": "b = 2\n", "a.swp": ""})
    worker = await yard.claimed("T2")
    second = await yard.open(worker, bases=[first])
    (second.path / "more.py").write_text("c = 3\n")
    await yard.complete(worker)
    assert await yard.places.close("T1") is None
    assert await yard.places.recover() == []

    assert digests(yard.root, spared) == before
    assert digests(home) == at_home
    assert (yard.root / ".git/info/exclude").read_text().startswith(exclude)
    assert "a.swp" not in yard.names(first)
    assert yard.git("fsck", "--no-dangling") == ""
