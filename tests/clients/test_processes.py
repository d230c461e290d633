"""No program that a test starts outlives it."""

import os
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.clients.processes import DeadlinePassed, run

# A parent that starts a child in its own group, tells the child's pid, and waits for ever.
LINGERING = """
import subprocess, sys
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
print('{"type": "result"}', flush=True)
child.wait()
"""


def gone(pid: int) -> bool:
    """Whether a killed process is gone within a minute; one that nobody has collected yet is gone, too."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


def test_a_program_running_at_its_deadline_is_stopped_with_its_children(tmp_path: Path) -> None:
    told = threading.Event()  # to stop it then is the same as a deadline that passes just now

    def is_last(line: str) -> bool:
        if "result" in line:
            told.set()
        return False

    with pytest.raises(DeadlinePassed, match="still running after 80 s") as passed:
        run(
            [sys.executable, "-c", LINGERING],
            cwd=tmp_path,
            env={"PATH": os.defpath},
            deadline=80,
            ends=is_last,
            stop=told,
        )

    child = int(str(passed.value).splitlines()[-3])
    assert gone(child)


def test_a_deadline_is_kept_whether_the_program_has_begun_or_not(tmp_path: Path) -> None:
    with pytest.raises(DeadlinePassed, match=r"still running after 0\.2 s"):
        run([sys.executable, "-c", LINGERING], cwd=tmp_path, env={"PATH": os.defpath}, deadline=0.2)


def test_a_program_that_lingers_after_its_last_line_is_stopped_and_counts_as_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.clients.processes.LAST_WORDS_SECONDS", 0.1)

    command = [sys.executable, "-c", LINGERING]
    ended = run(command, cwd=tmp_path, env={"PATH": os.defpath}, ends=lambda line: "result" in line)

    assert ended.exit_code == 0
    assert ended.events == [{"type": "result"}]
    assert gone(int(ended.stdout.splitlines()[0]))
