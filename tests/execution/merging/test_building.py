"""The candidate: the work of a task on the tip of the target, by each policy, as objects only."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.execution.merging.conftest import PAT, Field
from tests.support.yard import digests
from wvo_mcp.domain.rules import MergePolicy
from wvo_mcp.execution.merging.building import built
from wvo_mcp.ports.merging import Conflicting

pytestmark = pytest.mark.requirement("MERGE-2")

REBASE, SQUASH, MERGE = MergePolicy.REBASE, MergePolicy.SQUASH, MergePolicy.MERGE


@pytest.mark.parametrize(
    ("policy", "subjects", "parents"),
    [
        (REBASE, ["work 1", "work 0", "tip", "change"], 1),
        (SQUASH, ["Do T1", "tip", "change"], 1),
        (MERGE, ["Merge T1: Do T1", "work 1", "work 0", "tip", "change"], 2),
    ],
)
def test_each_policy_puts_the_work_on_the_tip(
    field: Field, policy: MergePolicy, subjects: list[str], parents: int
) -> None:
    commit = field.work({"new.py": "1\n"}, {"new.py": "2\n"})
    tip = field.saved({"other.py": "o\n"}, "tip")
    before = digests(field.root, [".git/objects"])

    candidate = built(field.common, field.landing(commit, policy=policy), tip)

    assert field.git("log", "--topo-order", "--format=%s", candidate.commit).splitlines() == subjects
    assert len(field.git("rev-parse", f"{candidate.commit}^@").split()) == parents
    assert field.git("rev-parse", f"{candidate.commit}^1" if policy is not REBASE else f"{candidate.commit}~2") == tip
    assert (field.show(candidate.commit, "new.py"), field.show(candidate.commit, "other.py")) == ("2", "o")
    assert candidate.files == ("new.py",)
    assert candidate.tree == field.git("rev-parse", f"{candidate.commit}^{{tree}}")
    assert digests(field.root, [".git/objects"]) == before  # nothing of the person's was touched


@pytest.mark.parametrize("policy", list(MergePolicy))
def test_the_same_work_on_the_same_tip_gives_the_same_commit(field: Field, policy: MergePolicy) -> None:
    landing = field.landing(field.work({"new.py": "1\n"}), policy=policy)
    tip = field.saved({"other.py": "o\n"})
    assert built(field.common, landing, tip) == built(field.common, landing, tip)


def test_a_replayed_commit_keeps_its_author_date_and_message(field: Field) -> None:
    commit = field.work({"new.py": "1\n"})
    field.git("checkout", "-q", commit)
    field.git(
        *PAT,
        "commit",
        "-q",
        "--amend",
        "--author=Zoë <z@example.org>",
        "--date=2020-01-02T03:04:05+0200",
        "-m",
        "Größe\n\nbody",
    )
    amended = field.git("rev-parse", "HEAD")
    field.git("checkout", "-q", "main")
    candidate = built(field.common, field.landing(amended), field.saved({"o.py": "o\n"}))

    shown = field.git("show", "-s", "--format=%an|%ae|%aI|%cn|%B", candidate.commit)
    assert shown == "Zoë|z@example.org|2020-01-02T03:04:05+02:00|wvo-mcp|Größe\n\nbody"


@pytest.mark.requirement("MERGE-4")
@pytest.mark.parametrize("policy", list(MergePolicy))
def test_a_conflict_names_the_paths_and_shows_what_disagrees(field: Field, policy: MergePolicy) -> None:
    commit = field.work({"code.py": "a = 2\nb = 1\nc = 1\nd = 1\n", "new.py": "n\n"})
    tip = field.saved({"code.py": "a = 3\nb = 1\nc = 1\nd = 1\n"})

    with pytest.raises(Conflicting) as found:
        built(field.common, field.landing(commit, policy=policy), tip)

    assert (found.value.paths, found.value.tip) == (("code.py",), tip)
    text = found.value.texts["code.py"]
    assert "<<<<<<<" in text
    assert "a = 2" in text
    assert "a = 3" in text
    assert field.git("status", "--porcelain") == ""


@pytest.mark.parametrize("policy", [REBASE, SQUASH])
def test_what_a_task_built_on_is_not_landed_with_it_nor_in_its_way(field: Field, policy: MergePolicy) -> None:
    """Its base holds another task's work, which has landed as another commit; it changed the same line further."""
    other = field.work({"code.py": "a = 2\nb = 1\nc = 1\nd = 1\n"})
    commit = field.work({"code.py": "a = 3\nb = 1\nc = 1\nd = 1\n"}, base=other)
    tip = built(field.common, field.landing(other, policy=policy), field.saved({"x.py": "x\n"})).commit

    candidate = built(field.common, field.landing(commit, "T2", base=other, policy=policy), tip)

    assert field.show(candidate.commit, "code.py").startswith("a = 3\nb = 1")
    assert field.git("rev-list", "--count", f"{tip}..{candidate.commit}") == "1"


@pytest.mark.parametrize("policy", list(MergePolicy))
def test_what_the_target_holds_already_needs_no_commit(field: Field, policy: MergePolicy) -> None:
    commit = field.work({"new.py": "1\n"})
    tip = field.saved({"new.py": "1\n"})
    candidate = built(field.common, field.landing(commit, policy=policy), tip)
    assert candidate.files == ()
    assert candidate.commit == tip


@pytest.mark.requirement("MERGE-7")
@pytest.mark.parametrize("policy", list(MergePolicy))
def test_every_kind_of_file_lands_as_it_is(field: Field, policy: MergePolicy) -> None:
    field.git("config", "core.autocrlf", "false")
    odd = ["a b.txt", "new\nline", "tab\t", '"quoted"', "-dash", "ü", "*?[x]", ":(top)x"]
    files: dict[str, str | bytes | None] = {name: name for name in odd}
    commit = field.work(
        {**files, "crlf.txt": b"a\r\nb\r\n", "bin": bytes(range(256)), "run.sh": "#!/bin/sh\n", "code.py": None}
    )
    field.git("checkout", "-q", commit)
    (field.root / "link").symlink_to("../outside")
    (field.root / os.fsdecode(b"raw\xff")).write_text("r")
    field.git("add", "link", ".")
    field.git("update-index", "--chmod=+x", "run.sh")
    field.git("update-index", "--add", "--cacheinfo", f"160000,{field.first},sub")
    field.git(*PAT, "commit", "-q", "--amend", "--no-edit")
    whole = field.git("rev-parse", "HEAD")
    field.git("checkout", "-q", "-f", "main")
    tip = field.saved({"tip.py": "t\n"})

    candidate = built(field.common, field.landing(whole, policy=policy), tip)

    def entries(commit: str) -> set[str]:
        return set(field.git("ls-tree", "-r", commit).splitlines())

    assert entries(candidate.commit) == entries(whole) | entries(tip) - entries(field.first)


def test_a_repository_of_sha256_is_like_any_other(tmp_path: Path) -> None:
    field = Field(tmp_path / "shop", "--object-format=sha256")
    commit = field.work({"new.py": "1\n"})
    tip = field.saved({"o.py": "o\n"})
    assert [len(built(field.common, field.landing(commit, policy=one), tip).commit) for one in MergePolicy] == [64] * 3


@pytest.mark.requirement("MERGE-8")
@pytest.mark.parametrize("policy", list(MergePolicy))
def test_a_landing_is_taken_back_by_a_new_commit(field: Field, policy: MergePolicy) -> None:
    commit = field.work({"new.py": "1\n"}, {"code.py": "a = 2\nb = 1\nc = 1\nd = 1\n"})
    before = field.saved({"o.py": "o\n"})
    landing = field.landing(commit, policy=policy)
    landed = built(field.common, landing, before).commit
    field.git("reset", "-q", "--hard", landed)
    tip = field.saved({"code.py": "a = 2\nb = 1\nc = 1\nd = 5\n"})

    taken = replace(landing, base=before, commit=landed, undo=True)
    candidate = built(field.common, taken, tip)

    assert field.git("rev-parse", f"{candidate.commit}^") == tip
    assert field.show(candidate.commit, "code.py") == "a = 1\nb = 1\nc = 1\nd = 5"
    assert set(candidate.files) == {"new.py", "code.py"}
    field.git("reset", "-q", "--hard", tip)
    later = field.saved({"code.py": "a = 7\nb = 1\nc = 1\nd = 5\n"})
    with pytest.raises(Conflicting) as found:
        built(field.common, taken, later)
    assert found.value.paths == ("code.py",)
