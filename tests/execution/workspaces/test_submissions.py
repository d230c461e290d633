"""What a worker leaves: a pinned commit of its worktree, and an entry for it."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.bench import an_agent
from tests.support.yard import Yard
from wvo_mcp.domain.known_secrets import register_secret
from wvo_mcp.domain.rules import Rules
from wvo_mcp.errors import Conflict, Forbidden, StoreUnavailable
from wvo_mcp.execution.workspaces.submitting import PinnedSubmissions
from wvo_mcp.ports.places import Prepared

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("MERGE-1")]


async def test_a_finished_task_is_a_pinned_commit_and_an_entry(yard: Yard) -> None:
    head = yard.git("rev-parse", "HEAD")
    worker, place = await yard.opened("T1", files=["src/**"])
    yard.write(place.path, {"src/new.py": "b = 2\n", "code.py": "a = 2\n", "run.sh": "", "x.log": "ignored"})
    (place.path / "run.sh").chmod(0o755)
    (place.path / ".gitignore").unlink()
    (place.path / ".gitignore").write_text("*.log\n.env\nstate/\n# more\n")

    done = await yard.complete(worker)

    commit = yard.git("rev-parse", "refs/wvo/submit/T1/1")
    assert done["submission"] == {"entry_id": "m-1", "state": "queued", "commit": commit}
    assert done["task"]["status"] == "in_review"
    assert "no_changes" not in done
    assert yard.git("rev-parse", f"{commit}^") == head
    assert yard.names(commit) == {"src/new.py", "code.py", "run.sh", ".gitignore"}
    assert yard.git("ls-tree", commit, "run.sh").startswith("100755")
    (entry,) = await yard.bench.sql("SELECT * FROM merge_entries")
    assert (entry["target"], entry["base_sha"], entry["path"]) == ("main", head, str(yard.root))
    assert entry["repository"] == yard.git("rev-list", "--max-parents=0", "HEAD")
    shown = (await yard.bench.call("get_task", task_id="T1"))["submission"]
    assert shown["drift"] == [".gitignore", "code.py", "run.sh"]
    assert (shown["commit"], shown["state"], shown["target"]) == (commit, "queued", "main")
    assert (yard.git("symbolic-ref", "--short", "HEAD"), yard.git("rev-parse", "HEAD")) == ("main", head)


async def test_commits_of_the_agent_are_part_of_its_submission(yard: Yard) -> None:
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"new.py": "b = 2\n"})
    yard.git("add", "-A", at=place.path)
    yard.git("-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-q", "-m", "mine", at=place.path)
    (place.path / "code.py").unlink()

    commit = (await yard.complete(worker))["submission"]["commit"]

    assert yard.names(commit) == {"new.py", ".gitignore"}


async def test_staged_committed_and_loose_work_is_submitted_and_each_path_of_it_told(yard: Yard) -> None:
    worker, place = await yard.opened("T1", files=["code.py", "moved.py", "staged.py", "committed.py"])
    yard.write(place.path, {"committed.py": "1\n"})
    yard.git("add", "-A", at=place.path)
    yard.git("-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-q", "-m", "mine", at=place.path)
    (place.path / "code.py").rename(place.path / "moved.py")
    yard.write(place.path, {"staged.py": "1\n"})
    yard.git("add", "-A", at=place.path)
    yard.write(place.path, {"new/one.py": "1\n", "new/deep/two.py": "2\n"})

    commit = (await yard.complete(worker))["submission"]["commit"]

    assert yard.names(commit) == {
        *("committed.py", "moved.py", "staged.py"), *("new/one.py", "new/deep/two.py", ".gitignore"),
    }  # fmt: skip
    shown = (await yard.bench.call("get_task", task_id="T1"))["submission"]
    assert shown["drift"] == ["new/deep/two.py", "new/one.py"], "a new folder is not folded into one name"


async def test_work_that_an_index_hides_is_submitted(yard: Yard) -> None:
    worker, place = await yard.opened("T1")
    yard.git("update-index", "--assume-unchanged", "code.py", at=place.path)
    yard.write(place.path, {"code.py": "a = 3\n"})

    assert yard.show((await yard.complete(worker))["submission"]["commit"], "code.py") == "a = 3"


async def test_an_agent_that_changed_nothing_is_asked_once(yard: Yard) -> None:
    worker, _ = await yard.opened("T1", type="generation")

    with pytest.raises(Conflict, match="Nothing in the workspace of T1 differs"):
        await yard.complete(worker)
    done = await yard.complete(worker)

    assert done["no_changes"]
    assert done["submission"] is None
    assert yard.refs("refs/wvo") == []
    assert (await yard.bench.kinds("T1"))[-2:] == ["task.no_changes", "task.completed"]


async def test_a_review_that_changed_nothing_is_done(yard: Yard) -> None:
    worker, _ = await yard.opened("T1", type="review")

    assert (await yard.complete(worker))["no_changes"]


async def test_the_next_attempt_is_asked_again(yard: Yard) -> None:
    worker, _ = await yard.opened("T1", type="generation")
    with pytest.raises(Conflict):
        await yard.complete(worker)
    await yard.bench.call("release_task", worker, task_id="T1")
    second = await yard.claim("T1")
    await yard.open(second)

    with pytest.raises(Conflict, match="differs"):
        await yard.complete(second)


async def test_without_a_workspace_an_attached_agent_completes_as_before(yard: Yard) -> None:
    agent = replace(await yard.claimed("T1"), admitted=None)
    yard.write(yard.root, {"new.py": "b = 2\n"})

    done = await yard.bench.complete("T1", agent)

    assert done["submission"] is None
    assert yard.refs("refs/wvo") == []


async def test_submissions_can_be_turned_off(yard: Yard) -> None:
    yard.rules.rules = Rules(merge=None)
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"new.py": "b = 2\n"})

    assert (await yard.complete(worker))["submission"] is None
    assert await yard.places.close("T1") == "it holds work that was not submitted"


async def test_a_place_of_an_earlier_lease_is_not_submitted(yard: Yard) -> None:
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"new.py": "b = 2\n"})
    await yard.bench.call("release_task", worker, task_id="T1")
    later = await yard.claim("T1")

    assert (await yard.complete(later))["submission"] is None


async def test_a_worker_that_was_overtaken_pins_nothing(yard: Yard) -> None:
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"new.py": "b = 2\n"})
    await yard.bench.call("release_task", worker, task_id="T1")
    await yard.bench.claim(an_agent("other"), "T1")

    with pytest.raises(Forbidden, match="is void"):
        await yard.complete(worker)
    assert yard.refs("refs/wvo") == []


async def test_a_lease_that_moves_on_during_the_snapshot_writes_no_entry(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"new.py": "b = 2\n"})
    prepare = PinnedSubmissions.prepare

    async def overtaken(self: PinnedSubmissions, task_id: str, token: int) -> Prepared | None:
        prepared = await prepare(self, task_id, token)
        await yard.bench.call("release_task", worker, task_id="T1")
        return prepared

    monkeypatch.setattr(PinnedSubmissions, "prepare", overtaken)

    with pytest.raises(Forbidden, match="is void"):
        await yard.complete(worker)
    assert await yard.bench.sql("SELECT * FROM merge_entries") == []
    assert yard.refs("refs/wvo/submit") == ["refs/wvo/submit/T1/1"]
    assert await yard.bench.status("T1") == ["pending"]


async def test_completing_twice_submits_once(yard: Yard) -> None:
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"new.py": "b = 2\n"})
    first = await yard.complete(worker)

    again = await yard.complete(worker, lease_token=1)

    assert again["submission"] == first["submission"]
    assert yard.refs("refs/wvo/submit") == ["refs/wvo/submit/T1/1"]


async def test_a_file_with_a_known_secret_is_refused_by_name(yard: Yard) -> None:
    register_secret("kX81-very-secret-value-22")
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"conf.py": "KEY = 'kX81-very-secret-value-22'\n", "new.py": ""})
    before = yard.git("count-objects")

    with pytest.raises(Conflict, match=r"conf\.py: it holds a known secret"):
        await yard.complete(worker)

    assert yard.git("count-objects") == before
    yard.write(place.path, {"conf.py": "KEY = environ['KEY']\n"})
    assert (await yard.complete(worker))["submission"] is not None


async def test_files_of_git_lfs_become_pointers_without_its_program(yard: Yard, home: Path) -> None:
    yard.write(home, {".gitconfig": '[filter "lfs"]\n\tclean = /nowhere/git-lfs clean -- %f\n\trequired = true\n'})
    yard.write(yard.root, {".gitattributes": "*.bin filter=lfs -text\n"})
    yard.git("-c", "filter.lfs.clean=cat", "add", "-A")
    yard.git("-c", "user.name=P", "-c", "user.email=p@example.org", "commit", "-q", "-m", "lfs")
    worker, place = await yard.opened("T1")
    with (place.path / "big.bin").open("wb") as file:
        file.truncate(11 << 20)

    commit = (await yard.complete(worker))["submission"]["commit"]

    pointer = yard.show(commit, "big.bin")
    assert pointer.startswith("version https://git-lfs.github.com/spec/v1\noid sha256:")
    assert pointer.endswith(f"size {11 << 20}")
    oid = pointer.split("sha256:")[1][:64]
    assert (yard.root / ".git/lfs/objects" / oid[:2] / oid[2:4] / oid).stat().st_size == 11 << 20


async def test_a_full_disk_loses_nothing(yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git is the real one, under a limit of the size of files."""
    worker, place = await yard.opened("T1")
    (place.path / "new.bin").write_bytes(os.urandom(1 << 20))
    small = tmp_path / "small"
    small.mkdir()
    (small / "git").write_text(f'#!/bin/sh\ntrap "" XFSZ\nulimit -f 64\nexec {shutil.which("git")} "$@"\n')
    (small / "git").chmod(0o755)

    with monkeypatch.context() as inside:
        inside.setenv("PATH", f"{small}:{os.environ['PATH']}")
        with pytest.raises(StoreUnavailable, match="could not be kept"):
            await yard.complete(worker)

    assert await yard.bench.status("T1") == ["in_progress"]
    assert yard.refs("refs/wvo") == []
    assert (await yard.complete(worker))["submission"] is not None


async def test_a_commit_of_a_submodule_is_taken_over(yard: Yard, tmp_path: Path) -> None:
    module = Yard(tmp_path / "module", yard.bench).begin()
    yard.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(module.root), "lib")
    yard.save("with a module")
    worker, place = await yard.opened("T1")
    yard.git("clone", "-q", str(module.root), str(place.path / "lib"))
    (place.path / "lib/code.py").write_text("a = 5\n")
    yard.git("-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-qam", "in", at=place.path / "lib")
    inner = yard.git("rev-parse", "HEAD", at=place.path / "lib")

    commit = (await yard.complete(worker))["submission"]["commit"]

    assert yard.git("ls-tree", commit, "lib").startswith(f"160000 commit {inner}")


async def test_dependents_start_from_what_they_wait_for(yard: Yard) -> None:
    first = await yard.submitted("A", **{"a.py": "a\n"})
    second = await yard.submitted("B", **{"b.py": "b\n"})
    worker = await yard.claimed("T1")

    place = await yard.open(worker, bases=[first, second])

    assert place.conflicts == ()
    assert yard.git("rev-list", "--count", f"main..{place.base}") == "3"
    assert {"a.py", "b.py", "code.py"} <= {path.name for path in place.path.iterdir()}
    yard.write(place.path, {"c.py": "c\n"})
    commit = (await yard.complete(worker))["submission"]["commit"]
    for older in (first, second, place.base):
        assert yard.git("merge-base", "--is-ancestor", str(older), commit) == ""
    assert yard.git("rev-parse", "main") == yard.git("rev-parse", "HEAD")


async def test_what_dependencies_disagree_about_is_the_workers_first_step(yard: Yard) -> None:
    first = await yard.submitted("A", **{"code.py": "a = 2\n"})
    second = await yard.submitted("B", **{"code.py": "a = 3\n"})
    third = await yard.submitted("C", **{"c.py": "c\n"})
    worker = await yard.claimed("T1")

    place = await yard.open(worker, bases=[first, second, third])

    assert place.conflicts == ("code.py",)
    assert "<<<<<<< " in (place.path / "code.py").read_text()
    assert (place.path / "c.py").exists()
    yard.write(place.path, {"d.py": "d\n"})
    with pytest.raises(Conflict, match=r"code\.py: conflict markers are left"):
        await yard.complete(worker)
    yard.write(place.path, {"code.py": "a = 5\n"})
    commit = (await yard.complete(worker))["submission"]["commit"]
    assert yard.show(commit, "code.py") == "a = 5"
