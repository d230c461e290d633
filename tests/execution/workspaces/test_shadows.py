"""Where there is no git each task has a copy of the folder, which shares nothing with it (WS-6)."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.bench import ANN, a_task
from tests.support.plain import Plain, plain
from wvo_mcp.domain.known_secrets import forget_secret, register_secret
from wvo_mcp.domain.rules import Rules
from wvo_mcp.errors import Conflict, NotConfigured, StaleLease
from wvo_mcp.execution.workspaces import shadow
from wvo_mcp.ports.places import PlaceFailed

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-6")]
__all__ = ["plain"]


class Died(BaseException):
    """The process ends here."""


async def test_the_copy_shares_nothing_with_the_folder(plain: Plain, tmp_path: Path) -> None:
    (plain.root / "away").symlink_to(tmp_path)
    (plain.root / "self").symlink_to(plain.root / "code.py")
    os.link(plain.root / "code.py", plain.root / "hard.py")
    os.mkfifo(plain.root / "pipe")
    _, place = await plain.begin()
    for path in place.path.rglob("*"):
        assert path.is_dir() or path.lstat().st_nlink == 1
    assert not {"away", "self", "pipe"} & {one.name for one in place.path.iterdir()}
    (place.path / "hard.py").write_text("other\n")
    assert (plain.root / "code.py").read_text() == "a = 1\nb = 2\nc = 3\n"
    assert "away" in (place.note or "")


async def test_a_link_into_a_folder_whose_name_begins_alike_is_left_out_and_refused(plain: Plain) -> None:
    evil = plain.root.with_name(f"{plain.root.name}-evil")
    plain.yard.write(evil, {"code.py": "not yours\n"})
    (plain.root / "out").symlink_to(f"../{evil.name}")
    worker, place = await plain.begin()
    assert not (place.path / "out").is_symlink()
    assert "out" in (place.note or "")
    (place.path / "new").symlink_to(f"../{evil.name}/code.py")
    with pytest.raises(Conflict, match=r"new is a symbolic link .* outside of the project"):
        await plain.yard.complete(worker)
    assert not (plain.root / "new").is_symlink()


async def test_an_empty_git_folder_above_it_is_no_repository(plain: Plain) -> None:
    above = plain.root.parent / ".git"
    above.mkdir()  # as the sandbox of codex leaves it for a moment in /tmp

    _, place = await plain.begin()

    assert place.mode == "shadow"
    assert [*above.iterdir()] == []


async def test_line_ends_and_odd_names_are_as_they_were(plain: Plain) -> None:
    names = ["-rf", " trailing ", "a\nb", "ünï", b"\xff\xfe".decode(errors="surrogateescape"), ":(glob)*"]
    for name in names:
        (plain.root / name).write_bytes(b"one\r\ntwo\n")
    (plain.root / ".gitattributes").write_text("* text=auto eol=lf filter=lfs working-tree-encoding=UTF-16\n")
    worker, place = await plain.begin()
    for name in names:
        (place.path / name).write_bytes(b"one\r\ntwo\r\n")
    await plain.yard.complete(worker)
    assert [(plain.root / name).read_bytes() for name in names] == [b"one\r\ntwo\r\n"] * len(names)


async def test_checkpoints_and_rollbacks_are_those_of_any_workspace(plain: Plain) -> None:
    worker, place = await plain.begin()
    plain.yard.write(place.path, {"code.py": "a = 2\n"})
    await plain.call("checkpoint", worker, summary="one")
    plain.yard.write(place.path, {"code.py": "a = 3\n", "junk": "x\n"})
    rolled = await plain.call("workspace_rollback", worker, to=1)
    assert sorted(rolled["reverted"]) == ["code.py", "junk"]
    assert (place.path / "code.py").read_text() == "a = 2\n"
    assert "+a = 2" in (await plain.call("workspace_diff", worker, whole=True))["diff"]
    assert (await plain.call("workspace_validate", worker))["lands"] == "yes"


async def test_a_new_lease_begins_with_the_folder_as_it_is_unless_work_was_left(plain: Plain) -> None:
    worker, place = await plain.begin()
    await plain.call("release_task", worker)
    (plain.root / "code.py").write_text("newer\n")
    second = await plain.yard.claim("T1")
    place = await plain.yard.open(second)
    assert (place.path / "code.py").read_text() == "newer\n"
    plain.yard.write(place.path, {"half.py": "x\n"})
    await plain.call("release_task", second)
    (plain.root / "code.py").write_text("newest\n")
    third = await plain.yard.claim("T1")
    again = await plain.yard.open(third)
    assert (again.path, again.reused) == (place.path, True)
    assert (again.path / "half.py").exists()
    assert await plain.yard.places.close("T1") == "it holds work that was not promoted"


async def test_what_cannot_be_copied_is_said_and_workers_share_the_folder(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow, "MOST_FILES", 2)
    _, place = await plain.begin()
    assert (place.unprotected, place.path) == (True, plain.root)
    assert "too much to be copied" in (place.note or "")
    monkeypatch.undo()
    (plain.root / "sub/.git").mkdir(parents=True)
    _, place = await plain.begin("T2")
    assert place.unprotected
    assert "sub/.git is a git repository" in (place.note or "")
    await plain.yard.bench.create(a_task("T3"))
    await plain.yard.bench.claim(ANN, "T3")
    with pytest.raises(NotConfigured, match=r"sub/\.git is a git repository"):
        await plain.call("workspace_open", ANN, task_id="T3")


async def test_an_agent_that_people_start_gets_a_copy_too(plain: Plain) -> None:
    plain.yard.rules.rules = Rules(setup="exit 3")
    await plain.yard.bench.create(a_task("T1"))
    await plain.yard.bench.claim(ANN, "T1")
    opened = await plain.call("workspace_open", ANN)
    assert (opened["branch"], opened["setup"]) == (None, "exit 3")
    (Path(opened["path"]) / "code.py").write_text("a = 9\n")
    assert (await plain.call("workspace_promote", ANN))["files"] == ["code.py"]
    assert (plain.root / "code.py").read_text() == "a = 9\n"
    with pytest.raises(StaleLease):
        await plain.call("workspace_promote", replace(ANN, agent_id="eve", session_id="eve"))
    (await plain.call("complete_task", ANN, summary="done"))
    with pytest.raises(StaleLease):
        await plain.call("workspace_promote", ANN)


async def test_a_copy_that_could_not_be_closed_is_promoted_when_its_task_is_completed(plain: Plain) -> None:
    await plain.yard.bench.create(a_task("T1"))
    await plain.yard.bench.claim(ANN, "T1")
    opened = await plain.call("workspace_open", ANN)
    (Path(opened["path"]) / "code.py").write_text("a = 9\n")
    with pytest.raises(Conflict, match="was not promoted"):
        await plain.call("workspace_close", ANN)
    assert not (await plain.call("complete_task", ANN, summary="done")).get("notices")
    assert (plain.root / "code.py").read_text() == "a = 9\n"


async def test_a_copy_that_was_cut_off_is_taken_away(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = await plain.yard.claimed("T1")
    with monkeypatch.context() as patch:
        patch.setattr(shadow, "_initialised", _die)
        patch.setattr(plain.yard.places._shadows, "settled", _dying)
        with pytest.raises(Died):
            await plain.yard.open(worker)
    assert (plain.yard.folder / "T1" / "code.py").exists()
    plain.yard.again()
    place = await plain.yard.open(worker)
    assert (await plain.yard.states("T1"), place.path.name) == (["failed", "open"], "T1")


def _die(*_: object) -> None:
    raise Died


async def _dying(*_: object) -> None:
    raise Died


async def test_a_full_disk_leaves_no_half_of_a_copy(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    worker = await plain.yard.claimed("T1")
    with monkeypatch.context() as patch:
        patch.setattr(shadow, "_initialised", full)
        with pytest.raises(PlaceFailed, match="No space left"):
            await plain.yard.open(worker)
    assert not (plain.yard.folder / "T1").exists()
    assert (await plain.yard.open(worker)).path.is_dir()


@pytest.mark.requirement("WS-7")
async def test_secrets_and_large_files_are_copied_and_never_kept_or_promoted(
    plain: Plain, request: pytest.FixtureRequest
) -> None:
    secret = "kX81-very-secret-value-23"
    register_secret(secret)
    request.addfinalizer(lambda: forget_secret(secret))
    (plain.root / "token").write_text(f"{secret}\n")
    (plain.root / "big.bin").write_bytes(b"x" * (11 << 20))
    worker, place = await plain.begin()
    assert (place.path / "token").exists()
    assert "big.bin" in (place.note or "")
    assert "token" in (place.note or "")
    plain.yard.write(place.path, {"token": "changed\n", "code.py": "a = 2\n"})
    await plain.yard.complete(worker)
    assert (plain.root / "token").read_text().startswith("kX81")
    git_dir = next((plain.yard.folder / ".shadows").glob("*.git"))
    assert "token" not in plain.yard.git(
        "--git-dir", str(git_dir), "log", "--all", "--name-only", "--format=", at=plain.root
    )


async def test_the_repository_of_a_copy_is_trusted_no_further_than_any_other(plain: Plain) -> None:
    worker, place = await plain.begin()
    git_dir = next((plain.yard.folder / ".shadows").glob("*.git"))
    (git_dir / "hooks").mkdir(exist_ok=True)
    (git_dir / "hooks/post-checkout").write_text("#!/bin/sh\n")
    assert "hooks/post-checkout" in (await plain.yard.places.tampered("T1") or "")
    plain.yard.write(place.path, {"code.py": "a = 2\n"})
    with pytest.raises(Conflict, match="repository of the copy was changed"):
        await plain.yard.complete(worker)
    assert await plain.yard.places.accept()
    await plain.yard.complete(worker)


async def test_people_see_copies_that_are_old_or_have_outgrown(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    _, place = await plain.begin()
    row = await plain.row()
    sights = await plain.yard.places.look()
    assert (sights[row["workspace_id"]].unsubmitted, sights[row["workspace_id"]].problem) == (False, None)
    plain.yard.write(place.path, {"code.py": "a = 2\n"})
    monkeypatch.setattr(shadow, "MOST_BYTES", 10)
    sight = (await plain.yard.places.look())[row["workspace_id"]]
    assert sight.unsubmitted is True
    assert "are meant for a copy" in (sight.problem or "")
    assert "hours ago" in (shadow.outgrown(0, 90_000) or "")


async def test_repositories_of_copies_stay_a_week(plain: Plain) -> None:
    worker, place = await plain.begin()
    plain.yard.write(place.path, {"code.py": "a = 2\n"})
    await plain.yard.complete(worker)
    assert await plain.yard.places.close("T1") is None
    git_dir = next((plain.yard.folder / ".shadows").glob("*.git"))
    await plain.yard.places.recover()
    assert git_dir.exists(), "it has what was there before the promotion"
    os.utime(git_dir, (0, 0))
    await plain.yard.places.recover()
    assert not git_dir.exists()
