"""The target moves to the candidate, with the person's checkouts of it, or nothing does."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.execution.merging.conftest import PAT, Field
from tests.support.yard import digests, git
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.merging import landing as module
from wvo_mcp.execution.merging.building import built
from wvo_mcp.execution.merging.landing import landed_here
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.ports.merging import Candidate, Landed, Moved, NotNow

pytestmark = pytest.mark.requirement("MERGE-2", "MERGE-6")

ADDED = {"new.py": "n\n", "deep/er/x.py": "x\n", "code.py": "a = 2\nb = 1\nc = 1\nd = 1\n"}


@pytest.fixture
def candidate(field: Field) -> Candidate:
    """Adds two files, changes one and removes one."""
    base = field.saved({"old.py": "o\n", "mine.py": "m\n", ".gitignore": "*.log\n", "run.sh": "#!/bin/sh\n"})
    field.first = base
    commit = field.work({**ADDED, "old.py": None})
    return built(field.common, field.landing(commit), base)


def landed(field: Field, candidate: Candidate) -> Landed:
    return landed_here(field.common, "main", candidate, "wvo-mcp: T1")


def refused(field: Field, candidate: Candidate, *words: str) -> NotNow:
    """It raises NotNow with these words, and nothing whatever has changed but for git's stat cache and objects."""
    spared = [".git/objects", ".git/index"]
    before, staged = digests(field.root, spared), field.git("ls-files", "--stage")
    with pytest.raises(NotNow) as error:
        landed(field, candidate)
    assert digests(field.root, spared) == before
    assert field.git("ls-files", "--stage") == staged
    for word in words:
        assert word in error.value.reason
    return error.value


def test_a_checkout_of_the_target_moves_along(field: Field, candidate: Candidate) -> None:
    found = landed(field, candidate)

    assert (found.commit, found.note) == (candidate.commit, f"checkout updated: {field.root}")
    assert field.git("rev-parse", "main") == candidate.commit
    assert field.git("status", "--porcelain") == ""
    assert (field.root / "deep/er/x.py").read_text() == "x\n"
    assert not (field.root / "old.py").exists()
    assert "wvo-mcp: T1" in field.git("reflog", "-1", "main")


def test_what_a_person_edits_stages_and_keeps_elsewhere_stays(field: Field, candidate: Candidate) -> None:
    field.write({"mine.py": "edited\n", "run.sh": "staged\n", "note.txt": "untracked\n", "a.log": "ignored\n"})
    field.git("add", "run.sh")
    (field.root / "run.sh").write_text("and edited\n")
    mine = field.git("status", "--porcelain")

    landed(field, candidate)

    assert field.git("status", "--porcelain") == mine
    assert field.git("show", ":run.sh") == "staged"
    assert [(field.root / name).read_text() for name in ("mine.py", "run.sh", "note.txt", "a.log")] == [
        "edited\n", "and edited\n", "untracked\n", "ignored\n",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "staged"),
    [("code.py", False), ("code.py", True), ("old.py", False), ("old.py", True), ("new.py", True)],
)
def test_changes_where_the_work_lands_keep_it_waiting(
    field: Field, candidate: Candidate, name: str, *, staged: bool
) -> None:
    field.write({name: "mine\n"})
    if staged:
        field.git("add", name)
    assert refused(field, candidate, str(field.root), name).passing


@pytest.mark.parametrize("name", ["new.py", "deep", "deep/er", "deep/er/x.py/y"])
@pytest.mark.parametrize("ignored", [False, True])
def test_a_file_of_the_person_in_the_way_is_not_written_over(
    field: Field, candidate: Candidate, name: str, *, ignored: bool
) -> None:
    field.write({name: "mine\n"})
    if ignored:
        (field.root / ".git/info/exclude").write_text(f"/{name}\n")
    refused(field, candidate, "files of its own")


def test_a_link_out_of_the_checkout_is_not_followed(field: Field, candidate: Candidate, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    (field.root / "deep").symlink_to(tmp_path / "away")
    refused(field, candidate, "files of its own", "deep")
    assert list((tmp_path / "away").iterdir()) == []


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("MERGE_HEAD", "a merge"),
        ("rebase-merge/x", "a rebase"),
        ("CHERRY_PICK_HEAD", "cherry"),
        ("BISECT_LOG", "bisect"),
    ],
)
def test_an_unfinished_operation_keeps_it_waiting(field: Field, candidate: Candidate, mark: str, words: str) -> None:
    field.write({f".git/{mark}": f"{candidate.tip}\n"})
    refused(field, candidate, words)


def test_a_locked_index_keeps_it_waiting(field: Field, candidate: Candidate) -> None:
    field.write({".git/index.lock": ""})
    assert refused(field, candidate, "index.lock").passing


def test_a_locked_branch_leaves_the_checkout_as_it_was(field: Field, candidate: Candidate) -> None:
    field.write({".git/refs/heads/main.lock": "", "mine.py": "edited\n"})
    refused(field, candidate, "main", "lock")


def test_a_rebase_of_the_target_in_another_worktree_keeps_it_waiting(field: Field, candidate: Candidate) -> None:
    field.git("checkout", "-q", "-b", "side")
    field.write({".git/rebase-merge/head-name": "refs/heads/main\n"})
    refused(field, candidate, "main is being rebased")


def test_the_target_that_moved_is_left(field: Field, candidate: Candidate) -> None:
    other = field.saved({"mine.py": "committed\n"})
    before = digests(field.root, [".git/objects", ".git/index"])
    with pytest.raises(Moved):
        landed(field, candidate)
    assert digests(field.root, [".git/objects", ".git/index"]) == before
    assert field.git("rev-parse", "main") == other


def before_update(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """`act` happens after the files have moved, before the branch does."""
    run = Common.run

    def wrapped(self: Common, *arguments: str, **more: object) -> bytes:
        if arguments[0] == "update-ref":
            act()
        return run(self, *arguments, **more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Common, "run", wrapped)


def test_a_commit_from_elsewhere_at_the_last_moment_wins(
    field: Field, candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    field.write({"run.sh": "edited\n"})
    tree = field.git("rev-parse", "main^{tree}")
    other = field.git(*PAT, "commit-tree", "-p", "main", "-m", "other", tree)
    before_update(monkeypatch, lambda: field.git("update-ref", "refs/heads/main", other))
    with pytest.raises(Moved):
        landed(field, candidate)
    assert field.git("rev-parse", "main") == other
    assert field.git("status", "--porcelain") == "M run.sh"


def test_a_commit_in_the_checkout_at_the_last_moment_keeps_the_work(
    field: Field, candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person's commit takes the staged landing with it; taking the files back would prepare its removal."""
    field.write({"run.sh": "edited\n"})
    before_update(monkeypatch, lambda: field.git(*PAT, "commit", "-qam", "mine"))
    with pytest.raises(Moved):
        landed(field, candidate)
    assert field.git("status", "--porcelain") == ""
    assert field.show("main", "run.sh") == "edited"
    assert field.show("main", "new.py") == "n"


def test_it_goes_on_where_it_was_killed_before_the_branch_moved(
    field: Field, candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    field.write({"mine.py": "edited\n"})

    def die() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        before_update(patch, die)
        landed(field, candidate)
    assert "A  new.py" in field.git("status", "--porcelain")  # seen, and not lost

    landed(field, candidate)
    assert field.git("status", "--porcelain") == "M mine.py"
    assert field.git("rev-parse", "main") == candidate.commit


def test_it_goes_on_where_power_was_lost_while_files_were_written(field: Field, candidate: Candidate) -> None:
    """git writes files first and the index last."""
    field.write({"deep/er/x.py": "x\n", "code.py": ADDED["code.py"], "mine.py": "edited\n"})
    (field.root / "old.py").unlink()

    landed(field, candidate)

    assert field.git("status", "--porcelain") == "M mine.py"
    assert field.git("rev-parse", "main") == candidate.commit


def test_a_disk_that_fills_up_while_files_are_written_costs_nothing(field: Field) -> None:
    wide: dict[str, str | bytes | None] = {
        "a.py": "a\n",
        "code.py": "changed\n",
        "wide.bin": b"w" * 3_000_000,
        "z.py": "z\n",
    }
    candidate = built(field.common, field.landing(field.work(wide)), field.first)
    field.write({"mine.txt": "mine\n"})
    before = digests(field.root, [".git"])
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, usual[1]))
    try:
        with pytest.raises(NotNow):  # git is killed as it writes more than there is room for
            landed(field, candidate)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert field.git("rev-parse", "main") == candidate.tip
    assert digests(field.root, [".git"]) == before

    landed(field, candidate)  # once there is room again
    assert field.git("status", "--porcelain") == "?? mine.txt"
    assert (field.root / "wide.bin").stat().st_size == 3_000_000


def test_every_checkout_of_the_target_moves(field: Field, candidate: Candidate, tmp_path: Path) -> None:
    other = tmp_path / "other"
    field.git("worktree", "add", "-q", "-f", str(other), "main")
    (other / "mine.py").write_text("edited\n")

    landed(field, candidate)

    assert git(other, "status", "--porcelain") == "M mine.py"
    assert field.git("status", "--porcelain") == ""
    assert (other / "new.py").read_text() == "n\n"


def test_a_target_that_is_checked_out_nowhere_moves_alone(field: Field, candidate: Candidate, tmp_path: Path) -> None:
    field.git("checkout", "-q", "-b", "side")
    before = digests(field.root, [".git"])
    assert landed(field, candidate).note is None
    assert field.git("rev-parse", "main") == candidate.commit
    assert digests(field.root, [".git"]) == before

    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(field.root), str(bare))
    git(bare, "update-ref", "refs/heads/main", candidate.tip)
    common = Common.of(bare)
    assert common is not None
    landed_here(common, "main", candidate, "why")
    assert git(bare, "rev-parse", "main") == candidate.commit


def test_no_hook_and_no_filter_of_the_repository_is_run(field: Field, candidate: Candidate, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    for name in ("post-checkout", "reference-transaction", "post-merge", "post-index-change"):
        hook = field.root / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {trap}\n")
        hook.chmod(0o700)
    field.git("config", "core.fsmonitor", f"touch {trap};")
    landed(field, candidate)
    assert not trap.exists()


def test_files_of_a_filter_are_left_to_the_person(field: Field) -> None:
    field.git("config", "filter.shout.smudge", "tr a-z A-Z")
    base = field.saved({".gitattributes": "*.loud filter=shout\n", "a.loud": "a\n"})
    candidate = built(field.common, field.landing(field.work({"a.loud": "b\n"}, base=base), base=base), base)
    assert not refused(field, candidate, "filter shout", "git merge --ff-only").passing


@pytest.mark.parametrize("name", ["a b", "ü", "-x", "new\nline", ":(top)x", "*", "\udcff"])
def test_odd_names_land(field: Field, name: str) -> None:
    candidate = built(field.common, field.landing(field.work({name: "1\n"})), field.first)
    landed(field, candidate)
    assert (field.root / name).read_text() == "1\n"
    assert field.git("status", "--porcelain") == ""


def test_modes_links_and_lines_end_up_as_git_would_have_them(field: Field, tmp_path: Path) -> None:
    field.git("checkout", "-q", "--detach")
    field.write({"tool": "#!/bin/sh\n", "win.txt": "a\r\nb\r\n"})
    (field.root / "tool").chmod(0o755)
    (field.root / "link").symlink_to("code.py")
    work = field.saved({".gitattributes": "*.txt text eol=crlf\n"})
    field.git("checkout", "-q", "main")

    landed(field, built(field.common, field.landing(work), field.first))

    assert os.access(field.root / "tool", os.X_OK)
    assert (field.root / "link").readlink() == Path("code.py")
    assert (field.root / "win.txt").read_bytes() == b"a\r\nb\r\n"
    assert field.git("status", "--porcelain") == ""


def test_a_worktree_of_a_task_is_never_moved(field: Field, candidate: Candidate, tmp_path: Path) -> None:
    field.git("checkout", "-q", "-b", "side")
    (tmp_path / "places" / module.INDEXES).mkdir(parents=True)
    field.git("worktree", "add", "-q", str(tmp_path / "places" / "T9"), "main")
    refused(field, candidate, "the worktree of a task")


def test_a_tree_that_git_cannot_read_is_no_landing(field: Field, candidate: Candidate) -> None:
    lost = Candidate(commit="0" * 39 + "1", tree=candidate.tree, tip=candidate.tip, files=candidate.files)
    with pytest.raises((NotNow, GitFailed)):
        landed(field, lost)
    assert field.git("rev-parse", "main") == candidate.tip


def test_what_somebody_wrote_for_one_checkout_alone_runs_nothing(field: Field, tmp_path: Path) -> None:
    """Every worktree may have a configuration of its own, in a folder that agents can write."""
    field.git("config", "extensions.worktreeConfig", "true")
    base = field.saved({".gitattributes": "*.py filter=x merge=y\n", "code.py": "b\n"})
    field.git("checkout", "-q", "--detach")
    side = tmp_path / "side"
    field.git("worktree", "add", "-q", str(side), "main")
    trap = tmp_path / "sprung"
    for key in ("filter.x.smudge", "filter.x.clean", "merge.y.driver"):
        git(side, "config", "--worktree", key, f"touch {trap}; cat")
    work = git(field.root, *PAT, "commit-tree", "-p", base, "-m", "w", _with(field, base, "code.py", "c\n"))

    candidate = built(field.common, field.landing(work, base=base), base)
    reason = refused(field, candidate, "filter x").reason

    assert str(side) in reason
    assert not trap.exists()
    assert (side / "code.py").read_text() == "b\n"


def _with(field: Field, commit: str, name: str, text: str) -> str:
    """The tree of the commit with one file changed, made without a checkout."""
    common = field.common
    blob = common.git("hash-object", "-w", "--stdin", "--no-filters", content=text.encode())
    index = {"GIT_INDEX_FILE": str(field.root.parent / "index")}
    common.git("read-tree", commit, env=index)
    common.git("update-index", "--cacheinfo", f"100644,{blob},{name}", env=index)
    return common.git("write-tree", env=index)
