"""The command of the user's, as a real process."""

import json
import os
import sys
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.support.waiting import eventually
from wvo_mcp.domain.news import Message
from wvo_mcp.execution.alerting import AlertCommand
from wvo_mcp.ports.world import Undelivered

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("HEALTH-3")]
NEWS = Message("news_1", {"id": "news_1", "text": "caf\u00e9 " * 40_000})


def command(folder: Path, code: str, deadline: float = 120.0) -> AlertCommand:
    return AlertCommand([sys.executable, "-c", code], folder, deadline)


async def test_it_reads_the_news_as_json_in_the_workspace_and_succeeds_with_0(tmp_path: Path) -> None:
    await command(tmp_path, "import sys; open('got', 'w').write(sys.stdin.read())").deliver(NEWS)

    assert json.loads((tmp_path / "got").read_text()) == NEWS.body


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import sys; sys.stdin.read(); sys.exit('no such channel')", r"ended with 1: no such channel"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", r"ended with -9"),
        ("import sys; sys.stderr.write('x' * 5_000_000 + 'the end'); sys.exit(3)", r"ended with 3: x+the end$"),
    ],
)
async def test_another_exit_code_is_a_failure_with_the_end_of_what_it_said(tmp_path: Path, code: str, why: str) -> None:
    with pytest.raises(Undelivered, match=why) as raised:
        await command(tmp_path, code).deliver(NEWS)

    assert len(str(raised.value)) < 300


async def test_neither_a_flood_of_output_nor_news_that_is_not_read_is_a_failure(tmp_path: Path) -> None:
    flood = "import sys; [s.write('x' * 3_000_000) for s in (sys.stdout, sys.stderr)]"

    await command(tmp_path, flood).deliver(NEWS)


async def test_a_child_that_keeps_stderr_open_is_not_waited_for(tmp_path: Path) -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '250']).pid, file=open('pid', 'w'))"
    began = time.monotonic()

    await command(tmp_path, code, 200.0).deliver(NEWS)

    assert time.monotonic() - began < 150
    os.kill(int((tmp_path / "pid").read_text()), 9)


@pytest.mark.parametrize("ending", ["deadline", "cancelled"])
async def test_one_that_hangs_is_killed_with_all_its_children(tmp_path: Path, ending: str) -> None:
    code = (
        "import os, signal, subprocess, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '250'])\n"
        "open('pids.new', 'w').write(f'{os.getpid()} {child.pid}'); os.rename('pids.new', 'pids'); time.sleep(250)"
    )
    pids = tmp_path / "pids"
    if ending == "deadline":
        for deadline in (1.0, 4.0, 16.0, 64.0):  # whatever time it takes here until its child has begun
            with pytest.raises(Undelivered, match="killed"):
                await command(tmp_path, code, deadline).deliver(NEWS)
            if pids.exists():
                break
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(command(tmp_path, code, 200.0).deliver, NEWS)
            await anyio.to_thread.run_sync(eventually, pids.exists)
            tasks.cancel_scope.cancel()

    for pid in pids.read_text().split():
        eventually(lambda pid=pid: not _runs(int(pid)))


async def test_a_program_that_does_not_exist_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Undelivered, match="cannot be started"):
        await AlertCommand(["no-such-program"], tmp_path).deliver(NEWS)


def _runs(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text() if Path("/proc").exists() else os.kill(pid, 0) is None
    except (OSError, ProcessLookupError):
        return False
