"""What of this machine a container sees: what the policy says, and not what took its place meanwhile."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from tests.support.sandboxes import Sandboxed, run_program
from wvo_mcp.domain.policy import SafetyPolicy
from wvo_mcp.domain.sandbox import WORK, Grant
from wvo_mcp.errors import Conflict, Forbidden, InvalidInput
from wvo_mcp.execution.sandbox import running
from wvo_mcp.ports.sandbox import Mount

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SBX-2")]


@pytest.fixture
def project(box: Sandboxed) -> Path:
    for name in (
        "src/a.txt",
        "out/a.txt",
        ".git/config",
        ".claude/settings.json",
        "state/policy.yaml",
        "state/state.db",
    ):
        path = box.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        path.parent.chmod(0o777)
        path.chmod(0o666)
    box.root.chmod(0o777)
    return box.root


async def test_a_mount_is_for_reading_unless_it_is_allowed_to_be_written(box: Sandboxed, project: Path) -> None:
    box.grant = Grant(read=("src",), write=("out",))
    script = "cat /project/src/a.txt /project/out/a.txt; echo new > /project/src/a.txt; echo new > /project/out/a.txt"
    ran = await box.run(script, mounts=(Mount(path="src"), Mount(path="out", write=True)))
    assert ran.stdout == b"src/a.txtout/a.txt" and b"Read-only" in ran.stderr
    assert ((project / "src/a.txt").read_text(), (project / "out/a.txt").read_text()) == ("src/a.txt", "new\n")


async def test_what_may_be_written_may_be_read_and_not_the_reverse(box: Sandboxed, project: Path) -> None:
    box.grant = Grant(read=("src",), write=("out",))
    assert (await box.run("cat /project/out/a.txt", mounts=(Mount(path="out"),))).exit_code == 0
    with pytest.raises(Forbidden, match=r"mounts\.0.*sandbox\.mounts\.write"):
        await box.run("true", mounts=(Mount(path="src", write=True),))


@pytest.mark.parametrize("path", ["other", "src/..", "../outside", "/etc", "/etc/passwd", "~"])
async def test_what_is_not_listed_is_forbidden(box: Sandboxed, project: Path, path: str) -> None:
    for one in (project / "other", project.parent / "outside", project / "~"):
        one.mkdir()
    box.grant = Grant(read=("src",))
    with pytest.raises(Forbidden, match=r"sandbox\.mounts\.read"):
        await box.run("true", mounts=(Mount(path=path),))


async def test_a_link_is_judged_by_what_it_leads_to(box: Sandboxed, project: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (project / "src" / "door").symlink_to(tmp_path / "secret")
    box.grant = Grant(read=("src",))
    with pytest.raises(Forbidden):
        await box.run("true", mounts=(Mount(path="src/door"),))
    box.grant = Grant(read=("src", str(tmp_path / "secret")))
    assert (await box.run("ls /mnt/secret", mounts=(Mount(path="src/door"),))).exit_code == 0


async def test_our_state_is_never_shown_nor_git_and_agents_files_written(box: Sandboxed, project: Path) -> None:
    box.grant = Grant(read=("**", "."), write=("**", "."))
    for path in ("state", "state/policy.yaml"):
        with pytest.raises(Forbidden, match="never allowed"):
            await box.run("true", mounts=(Mount(path=path),))
    for path in (".git", ".git/config", ".claude"):
        with pytest.raises(Forbidden, match=r"protected|never"):
            await box.run("true", mounts=(Mount(path=path, write=True),))
    names = ".git/config .git/hook .claude/x state/x src/x"
    script = f"cd /project; ls state; for f in {names}; do echo x > $f && echo wrote $f; done"
    ran = await box.run(script, mounts=(Mount(path=".", write=True),))
    assert ran.stdout == b"wrote src/x\n", ran
    assert (project / ".git/config").read_text() == ".git/config" and (project / "src/x").exists()


@pytest.fixture
def config(box: Sandboxed, tmp_path: Path) -> Path:
    made = tmp_path / "home" / ".config"
    made.mkdir(parents=True)
    tmp_path.chmod(0o755)
    return made


async def test_what_people_accepted_and_what_holds_the_project_is_not_written(
    box: Sandboxed, config: Path, tmp_path: Path
) -> None:
    box.grant = Grant(read=("/**",), write=("/**",))
    for path in (tmp_path, config.parent, config):
        with pytest.raises(Forbidden, match="for writing"):
            await box.run("true", mounts=(Mount(path=str(path), at="/mnt/x", write=True),))
    ran = await box.run("ls -A /mnt/x/home /mnt/x/project/state", mounts=(Mount(path=str(tmp_path), at="/mnt/x"),))
    assert ran.stdout == b"/mnt/x/home:\n.config\n\n/mnt/x/project/state:\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts")
async def test_what_is_mounted_within_a_folder_is_left_out(box: Sandboxed, project: Path) -> None:
    """A read-only mount of an older engine would let it be written."""
    inner = project / "src" / "inner"
    inner.mkdir()
    done = await to_thread.run_sync(run_program, ("mount", "-t", "tmpfs", "-o", "mode=777", "none", str(inner)))
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        (inner / "secret").write_text("ESCAPED")
        box.grant = Grant(read=("src",))
        ran = await box.run("cat /project/src/inner/*; echo x > /project/src/inner/x", mounts=(Mount(path="src"),))
        assert b"ESCAPED" not in ran.stdout and not (inner / "x").exists()
    finally:
        await to_thread.run_sync(run_program, ("umount", str(inner)))


async def test_forbidden_paths_of_the_policy_are_not_mounted(box: Sandboxed, project: Path) -> None:
    box.grant = Grant(read=("**",))
    with pytest.raises(Forbidden, match=r"paths\.forbidden"):
        await box.run("true", mounts=(Mount(path="src"),), policy=SafetyPolicy(forbidden=("src",)))


async def test_a_worktree_of_a_task_may_be_mounted_where_it_is_listed(box: Sandboxed, project: Path) -> None:
    tree = project / "state" / "worktrees" / "T1"
    tree.mkdir(parents=True)
    (tree / "a").write_text("of T1")
    box.grant = Grant(read=("state/worktrees/*",))
    ran = await box.run("cat /project/state/worktrees/T1/a", mounts=(Mount(path="state/worktrees/T1"),))
    assert ran.stdout == b"of T1"
    with pytest.raises(Forbidden):
        await box.run("true", mounts=(Mount(path="state/worktrees"),))


@pytest.mark.parametrize("at", ["relative", "/", WORK, f"{WORK}/x", "/proc/x", "/etc/passwd", "/mnt/../etc", "/usr/x"])
async def test_a_place_of_the_containers_own_is_not_covered(box: Sandboxed, project: Path, at: str) -> None:
    box.grant = Grant(read=("src",))
    with pytest.raises(InvalidInput, match=r"mounts\.0\.at"):
        await box.run("true", mounts=(Mount(path="src", at=at),))


async def test_two_mounts_do_not_cover_each_other(box: Sandboxed, project: Path) -> None:
    box.grant = Grant(read=("src", "out"))
    with pytest.raises(InvalidInput, match=r"mounts\.1\.at.*overlaps"):
        await box.run("true", mounts=(Mount(path="src", at="/mnt/a"), Mount(path="out", at="/mnt/a/b")))


async def test_pipes_and_what_is_not_there_are_refused(box: Sandboxed, project: Path) -> None:
    os.mkfifo(project / "src" / "pipe")
    box.grant = Grant(read=("src",))
    for path in ("src/pipe", "src/none", "src/\0"):
        with pytest.raises(InvalidInput, match=r"mounts\.0\.path"):
            await box.run("true", mounts=(Mount(path=path),))


async def test_what_takes_the_place_of_a_mount_after_it_was_judged_is_not_run_with(
    box: Sandboxed, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "a.txt").write_text("ESCAPED")
    box.grant = Grant(read=("src",))
    made: Callable[..., str] = running._made

    def swapped(*given: Any) -> str:
        (project / "src").rename(project / "was")
        (project / "src").symlink_to(secret)
        return made(*given)

    monkeypatch.setattr(running, "_made", swapped)
    with pytest.raises(Conflict, match="was replaced"):
        await box.run("cat /project/src/a.txt", mounts=(Mount(path="src"),))
