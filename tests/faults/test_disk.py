"""A disk that is full or must not be written: a typed error, nothing half-written, and work goes on when it is mended."""

import os
import resource
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.disks import mounted
from tests.support.hosts import need
from tests.support.invariants import verify
from tests.support.stdio_client import Refused, StdioClient
from tests.support.workspace import Workspace, some_tasks

pytestmark = pytest.mark.sqlite


def write_until_refused(client: StdioClient) -> tuple[list[str], Refused]:
    """Topics that were acknowledged, and the error of the one that was not."""
    written: list[str] = []
    for number in range(2_000):
        try:
            client.call("context_write", {"topic": f"topic {number}", "content": "word " * 3_000})
        except Refused as refused:
            return written, refused
        written.append(f"topic {number}")
    raise AssertionError("the disk was never full")


def check_refusal(refused: Refused) -> None:
    assert refused.code == "store_unavailable"
    assert refused.retryable
    assert "Nothing of this call was stored" in refused.hint


def check_recovery(workspace: Workspace, client: StdioClient, written: list[str]) -> None:
    """Exactly what was acknowledged is there, and the next write succeeds."""
    assert client.call("context_write", {"topic": "after", "content": "It works again."})["version"] == 1
    client.call("complete_task", {"task_id": "A", "summary": "done"})
    verify(workspace.database)
    for topic in (written[0], written[-1]):
        assert client.call("context_read", {"topic": topic})["entries"][0]["version"] == 1
    with pytest.raises(Refused, match="not_found"):
        client.call("context_read", {"topic": f"topic {len(written)}"})


@pytest.mark.requirement("CORE-7", "CORE-11")
def test_a_full_disk_refuses_writes_keeps_reads_and_is_forgotten_when_there_is_room(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=6m"):
        workspace = Workspace(tmp_path / "disk" / "project", tmp_path / "logs")
        ballast = tmp_path / "disk" / "ballast"
        ballast.write_bytes(b"x" * (2 << 20))
        try:
            client = workspace.server("ann", WVO_TOOLSETS="all")
            client.call("create_tasks", some_tasks("A"))
            client.call("claim_task")
            client.call("backup_create")  # or the server makes one by itself at any moment, and its room is free again

            written, refused = write_until_refused(client)

            check_refusal(refused)
            assert client.call("get_task", {"task_id": "A"})["task"]["status"] == "in_progress"
            with pytest.raises(Refused, match="store_unavailable"):
                client.call("context_write", {"topic": "large", "content": "word " * 3_000})
            ballast.unlink()
            check_recovery(workspace, client, written)
        finally:
            workspace.close()


@pytest.mark.requirement("CORE-7", "CORE-11")
def test_a_server_that_may_not_write_longer_files_refuses_writes_until_it_may(workspace: Workspace) -> None:
    client = workspace.server("ann")
    client.call("create_tasks", some_tasks("A"))
    client.call("claim_task")
    free = resource.prlimit(client.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(client.pid, resource.RLIMIT_FSIZE, (1 << 20, free[1]))

    written, refused = write_until_refused(client)

    check_refusal(refused)
    assert client.call("plan_next")["in_progress"] == 1
    resource.prlimit(client.pid, resource.RLIMIT_FSIZE, free)
    check_recovery(workspace, client, written)


@contextmanager
def not_writable(folder: Path) -> Generator[None]:
    """Rights do not bind root, a read-only mount does."""
    if os.geteuid() != 0:
        mode = folder.stat().st_mode
        folder.chmod(0o500)
        yield
        folder.chmod(mode)
        return
    made = subprocess.run(("mount", "--bind", str(folder), str(folder)), capture_output=True, check=False, timeout=30)
    if made.returncode != 0:
        need("neither rights nor mounts can make a folder read-only here")
    try:
        subprocess.run(("mount", "-o", "remount,bind,ro", str(folder)), check=True, timeout=30)
        yield
    finally:
        subprocess.run(("umount", "--lazy", str(folder)), check=True, timeout=30)


@pytest.mark.requirement("CORE-7")
@pytest.mark.parametrize("store_there", [True, False], ids=["with a store", "with a roadmap"])
def test_a_start_in_a_folder_that_cannot_be_written_ends_with_one_line_that_says_so(
    workspace: Workspace, store_there: bool
) -> None:
    (workspace.root / "state").mkdir()
    if store_there:
        first = workspace.server("first")
        first.call("create_tasks", some_tasks("A"))
        assert first.end() == 0
    else:
        (workspace.root / "state" / "roadmap.yaml").write_text("epics: []\n")
    with not_writable(workspace.root / "state"):
        refused = workspace.spawn("second")
        assert refused.wait(120) != 0

    lines = refused.log.read_text().splitlines()
    assert len(lines) == 1, lines
    assert str(workspace.root / "state") in lines[0]
    assert "wvo-mcp doctor" in lines[0]
    again = workspace.server("third")
    assert again.call("list_tasks")["total"] == int(store_there)


@pytest.mark.requirement("CORE-7")
def test_an_unwritable_project_without_a_store_is_reported_at_the_first_write(
    workspace: Workspace,
) -> None:
    (workspace.root / "state").mkdir()
    with not_writable(workspace.root / "state"):
        server = workspace.server("first")
        assert server.call("list_tasks")["total"] == 0

        with pytest.raises(Refused, match="store_unavailable") as refused:
            server.call("create_tasks", some_tasks("A"))

        assert str(workspace.root / "state") in str(refused.value)
    assert server.call("create_tasks", some_tasks("A"))["created"] == ["A"]
