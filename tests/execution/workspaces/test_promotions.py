"""What one copy has suffered keeps no other from being promoted, and people hear of what was found on the way (WS-6)."""

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import OWNER
from tests.support.cut_off import Died, cut_off
from tests.support.plain import Plain, plain
from tests.support.yard import new_mode
from wvo_mcp.domain.known_secrets import forget_secret, register_secret
from wvo_mcp.errors import Conflict, StoreUnavailable
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import going_on, promoting, worktree
from wvo_mcp.ports.places import PlaceFailed

__all__ = ["plain"]
pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-6")]
CODE = "a = 1\nb = 2\nc = 3\n"


async def repository(plain: Plain, task_id: str = "T1") -> Path:
    return worktree.shadow_repository(await plain.row(task_id))


async def alert(plain: Plain, kind: str, task_id: str = "T1") -> Mapping[str, Any] | None:
    return await plain.yard.bench.read(lambda tx: tx.alerts.find(kind, task_id))


def broken(git_dir: Path, copy: Path, way: str) -> None:
    match way:
        case "copy":
            shutil.rmtree(copy)
        case "refs":
            shutil.rmtree(git_dir / "refs")
            (git_dir / "refs").write_text("no folder\n")
        case "config":
            (git_dir / "config").write_text("[core\n")
        case "head":
            (git_dir / "HEAD").write_text("nothing\n")
        case _:
            shutil.rmtree(git_dir)


@pytest.mark.parametrize("way", ["copy", "refs", "config", "head", "repository"])
async def test_a_copy_that_is_broken_keeps_no_other_from_being_promoted(plain: Plain, way: str) -> None:
    _, first = await plain.begin("T1")
    worker, second = await plain.begin("T2")
    for place in (first, second):
        plain.yard.write(place.path, {"code.py": f"{CODE}d = '{place.path.name}'\n"})
    broken(await repository(plain), first.path, way)
    assert (await plain.yard.complete(worker))["task"]["status"] == "done"
    assert (plain.root / "code.py").read_text() == f"{CODE}d = 'T2'\n"
    told = await alert(plain, "promotion_broken")
    if way in ("refs", "config", "head"):
        assert told is not None and told["severity"] == "warning"
        assert "T1" in told["message"] and str(first.path) in told["message"]
    else:
        assert told is None, "nothing of it was begun, and nothing of it is unknown"


@pytest.mark.parametrize("way", ["refs", "repository"])
@pytest.mark.parametrize("name", ["code.py", "docs/a.md"])
async def test_only_the_files_that_a_broken_copy_left_half_written_wait_for_a_person(
    plain: Plain, name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = await plain.begin("T1")
    worker, second = await plain.begin("T2")
    plain.yard.write(first.path, {"code.py": "a = 2\n"})
    plain.yard.write(second.path, {name: "other\n"})
    await cut_off(plain, monkeypatch)
    broken(await repository(plain), first.path, way)
    if name == "code.py":
        with pytest.raises(Conflict, match=r"code\.py may be half written") as refused:
            await plain.yard.complete(worker)
        assert "T1" in str(refused.value)
        assert "wvo-mcp workspace-promote T2" in str(refused.value.hint)
        assert (second.path / "code.py").read_text() == "other\n", "nothing half written came into the copy"
        (plain.root / "code.py").write_text(CODE)  # a person has looked
        await plain.call("workspace_promote", OWNER, task_id="T2")
    await plain.yard.complete(worker)
    assert (plain.root / name).read_text() == "other\n"
    told = await alert(plain, "promotion_broken")
    assert told is not None and told["severity"] == "critical"
    assert "code.py" in told["message"]
    assert told["evidence"]["files"] == ["code.py"]


async def test_too_many_files_to_be_named_are_taken_for_all(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    _, first = await plain.begin("T1")
    worker, second = await plain.begin("T2")
    plain.yard.write(first.path, {"code.py": "a = 2\n", "b.py": "b\n"})
    plain.yard.write(second.path, {"docs/a.md": "other\n"})
    monkeypatch.setattr(going_on, "_MOST_PATHS", 1)
    await cut_off(plain, monkeypatch)
    broken(await repository(plain), first.path, "refs")
    with pytest.raises(Conflict, match=r"docs/a\.md may be half written"):
        await plain.yard.complete(worker)
    told = await alert(plain, "promotion_broken")
    assert told is not None and "any of more than 1 files" in told["message"]


async def test_the_alert_of_a_broken_copy_is_over_when_it_can_be_read_again(plain: Plain) -> None:
    _, first = await plain.begin("T1")
    worker, second = await plain.begin("T2")
    git_dir = await repository(plain)
    head = (git_dir / "HEAD").read_text()
    (git_dir / "HEAD").write_text("nothing\n")
    plain.yard.write(second.path, {"code.py": "a = 2\n"})
    await plain.call("workspace_promote", worker, task_id="T2")
    assert await alert(plain, "promotion_broken") is not None
    (git_dir / "HEAD").write_text(head)
    await plain.yard.complete(worker)
    assert await alert(plain, "promotion_broken") is None
    assert first.path.exists()


async def test_a_broken_copy_can_be_given_up(plain: Plain) -> None:
    await plain.begin("T1")
    worker, second = await plain.begin("T2")
    git_dir, path = await repository(plain), plain.yard.folder / "T1"
    (git_dir / "HEAD").write_text("nothing\n")
    plain.yard.write(second.path, {"code.py": "a = 2\n"})
    await plain.yard.complete(worker)
    shutil.rmtree(path)
    shutil.rmtree(git_dir)
    assert await plain.yard.places.close("T1") is None
    assert await alert(plain, "promotion_broken") is None


async def test_a_promotion_goes_on_also_when_its_copy_was_removed_by_hand(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, place = await plain.begin()
    plain.yard.write(place.path, {"code.py": "a = 2\n", "new.py": "n\n"})
    await cut_off(plain, monkeypatch)
    shutil.rmtree(place.path)
    again = await plain.yard.open(worker)
    assert (plain.root / "code.py").read_text() == "a = 2\n"
    assert (plain.root / "new.py").read_text() == "n\n"
    assert (again.path / "code.py").read_text() == "a = 2\n", "the new copy begins with all of it"
    assert await plain.yard.states("T1") == ["failed", "open"]
    assert (await plain.yard.complete(worker))["task"]["status"] == "done"


async def test_no_new_copy_is_made_of_files_that_nobody_can_finish(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, place = await plain.begin()
    plain.yard.write(place.path, {"code.py": "a = 2\n"})
    await cut_off(plain, monkeypatch)
    git_dir = await repository(plain)
    shutil.rmtree(place.path)
    shutil.rmtree(git_dir)
    with pytest.raises(PlaceFailed, match=r"repository .* is gone"):
        await plain.yard.open(worker)
    told = await alert(plain, "promotion_broken")
    assert told is not None and "code.py" in told["message"]
    assert await plain.yard.places.close("T1") is None, "a person gives it up"
    assert await alert(plain, "promotion_broken") is not None, "and looks at the files"
    assert (await plain.yard.open(worker)).path.exists()


async def test_a_copy_that_was_removed_with_its_repository_makes_room(plain: Plain) -> None:
    worker, place = await plain.begin()
    shutil.rmtree(await repository(plain))
    shutil.rmtree(place.path)
    assert (await plain.yard.open(worker)).path.exists()
    assert await alert(plain, "promotion_broken") is None


@pytest.mark.parametrize("killed", [False, True])
async def test_people_hear_where_that_is_which_they_wrote_while_a_promotion_was_cut_off(
    plain: Plain, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, place = await plain.begin()
    plain.yard.write(place.path, {"code.py": "a = 2\n", "docs/a.md": "two\n", "new.py": "n\n"})
    await cut_off(plain, monkeypatch)
    (plain.root / "docs/a.md").write_text("a person's\n")
    if killed:  # after it was kept, before anybody was told
        with monkeypatch.context() as patch:
            patch.setattr(promoting, "_settled", _dies)
            with pytest.raises(Died):
                await plain.yard.places.recover()
        plain.yard.again()
    assert await plain.yard.places.recover() == []
    assert (plain.root / "docs/a.md").read_text() == "two\n"
    told = await alert(plain, "promotion_overwrote")
    assert told is not None and told["severity"] == "warning"
    assert told["evidence"]["files"] == ["docs/a.md"], "what git had half written is nobody's work"
    command = told["message"].partition("`")[2].partition("`")[0]
    assert plain.yard.git(*shlex.split(command)[1:]) == "a person's"
    await plain.yard.complete(worker)
    assert await alert(plain, "promotion_overwrote") is not None, "it is for people to end"


def _dies(*_: Any) -> None:
    raise Died


async def test_nobody_is_told_where_nothing_was_lost(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, place = await plain.begin()
    plain.yard.write(place.path, {"code.py": "a = 2\n", "docs/a.md": "two\n"})
    await cut_off(plain, monkeypatch)
    (plain.root / "docs/a.md").unlink()
    assert await plain.yard.places.recover() == []
    assert await alert(plain, "promotion_overwrote") is None
    await plain.yard.complete(worker)


async def test_a_secret_in_the_project_s_file_is_said_and_there_is_a_way_out(
    plain: Plain, request: pytest.FixtureRequest
) -> None:
    secret = "kX81-very-secret-value-23"
    register_secret(secret)
    request.addfinalizer(lambda: forget_secret(secret))
    worker, place = await plain.begin()
    plain.yard.write(place.path, {"code.py": "a = 2\n", "docs/a.md": "two\n", "new.py": "n\n"})
    (plain.root / "code.py").write_text(f"key = '{secret}'\n")
    (plain.root / "docs/a.md").write_text("one\nmore\n")
    before = plain.project()
    for _ in range(2):
        with pytest.raises(Conflict, match=r"code\.py: .* known secret") as refused:
            await plain.yard.complete(worker)
        assert "workspace_rollback" in str(refused.value)
        plain.yard.write(place.path, {"docs/a.md": "two\nmore\n"})
    assert plain.project() == before
    await plain.call("workspace_rollback", worker, to=0, mode="partial", files=["code.py"])
    await plain.yard.complete(worker)
    assert secret in (plain.root / "code.py").read_text()
    assert (plain.root / "docs/a.md").read_text() == "two\nmore\n"
    assert (plain.root / "new.py").read_text() == "n\n"


async def test_a_secret_that_is_in_the_way_of_a_new_file_is_said(plain: Plain, request: pytest.FixtureRequest) -> None:
    secret = "kX81-very-secret-value-23"
    register_secret(secret)
    request.addfinalizer(lambda: forget_secret(secret))
    worker, place = await plain.begin()
    plain.yard.write(place.path, {"key.py": "n\n"})
    (plain.root / "key.py").write_text(f"key = '{secret}'\n")
    with pytest.raises(Conflict, match=r"key\.py: .* known secret"):
        await plain.yard.complete(worker)
    (place.path / "key.py").unlink()
    await plain.yard.complete(worker)
    assert secret in (plain.root / "key.py").read_text()


@pytest.mark.parametrize("ends", ["whole", "cut off", "undone"])
async def test_the_person_s_files_keep_their_modes_but_for_the_executable_bit(
    plain: Plain, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"private": 0o600, "shared": 0o664, "tool": 0o640, "script": 0o750, "seen": 0o444}
    for name, mode in names.items():
        (plain.root / name).write_text("1\n")
        (plain.root / name).chmod(mode)
    worker, place = await plain.begin()
    for name in names:
        (place.path / name).unlink()
        (place.path / name).write_text("2\n")
        (place.path / name).chmod(0o644)
    (place.path / "tool").chmod(0o755)
    plain.yard.write(place.path, {"new": "n\n", "new.sh": "n\n"})
    (place.path / "new").chmod(0o666)
    (place.path / "new.sh").chmod(0o700)
    if ends == "cut off":
        with monkeypatch.context() as patch:
            patch.setattr(promoting, "_settled", _dies)
            with pytest.raises(Died):
                await plain.yard.promotions.promote("T1")
        plain.yard.again()
        shutil.rmtree(place.path)
        assert await plain.yard.places.recover() == []
    elif ends == "undone":
        _fails_once(monkeypatch)
        with pytest.raises(StoreUnavailable, match="No space left"):
            await plain.yard.complete(worker)
        assert {name: _mode(plain.root / name) for name in names} == names
        return
    else:
        await plain.yard.complete(worker)
    assert {(plain.root / name).read_text() for name in names} == {"2\n"}
    expected = names | {"tool": 0o750, "script": 0o640, "new": new_mode(), "new.sh": new_mode(executable=True)}
    assert {name: _mode(plain.root / name) for name in expected} == expected


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def _fails_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """git has written all of it, and then fails."""
    run, failed = promoting.Common.run, list[str]()

    def fails(common: Any, *words: str, **more: Any) -> bytes:
        done = run(common, *words, **more)
        if "-u" in words and not failed:
            failed.append(words[0])
            raise GitFailed("No space left on device")
        return done

    monkeypatch.setattr(promoting.Common, "run", fails)


async def test_empty_folders_are_not_promoted(plain: Plain) -> None:
    worker, place = await plain.begin()
    (place.path / "empty").mkdir()
    plain.yard.write(place.path, {"code.py": "a = 2\n"})
    await plain.yard.complete(worker)
    assert not (plain.root / "empty").exists()
    assert await plain.yard.places.close("T1") is None
