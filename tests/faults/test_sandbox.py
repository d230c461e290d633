"""Killed at any step, a process leaves a container that the next one removes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.sandboxing import STEPS
from tests.support.sandboxes import Sandboxed, docker, need_docker
from tests.support.waiting import eventually
from wvo_mcp.execution.sandbox.reaping import STORE, Journal

pytestmark = pytest.mark.requirement("SBX-1")

MOMENTS = [(step, when) for step in STEPS for when in ("before", "after")]
SAMPLE = {("create_container", "after"), ("start", "after")}


@pytest.mark.parametrize(
    ("step", "when"), [pytest.param(*one, marks=[] if one in SAMPLE else [pytest.mark.full]) for one in MOMENTS]
)
def test_killed_at_a_step_nothing_is_left_after_the_next_look(tmp_path: Path, step: str, when: str) -> None:
    need_docker()
    argv = (sys.executable, "-m", "tests.faults.sandboxing", str(tmp_path), step, when)
    done = subprocess.run(argv, capture_output=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done
    state = tmp_path.resolve() / "project" / "state"
    label = f"label={STORE}={state}"
    there = docker("ps", "-aq", "--filter", label).split()
    expected = 0 if (step, when) in {("create_container", "before"), ("remove_container", "after")} else 1
    assert len(there) == expected and len(list((state / "sandbox").iterdir())) == 1
    (tmp_path / "again").mkdir()
    again = Sandboxed(tmp_path / "again")
    assert Journal(state / "sandbox", str(state)).reap(again.engine) == expected
    assert docker("ps", "-aq", "--filter", label) == ""


def test_a_server_removes_what_a_killed_command_left(tmp_path: Path) -> None:
    """Within seconds of its start; the command had no chance."""
    need_docker()
    env = {**os.environ, "HOME": str(tmp_path), "ROOT": str(tmp_path)}
    program = (sys.executable, "-m", "wvo_mcp")
    label = f"label={STORE}={tmp_path.resolve() / 'state'}"
    command = (*program, "sandbox-run", "--command", "sleep 600")
    with subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL) as left:
        eventually(lambda: docker("ps", "-q", "--filter", label) != "", 120)
        left.kill()
    assert docker("ps", "-q", "--filter", label) != ""
    with subprocess.Popen((*program, "serve", "--http", "--port", "0", "--no-run"), env=env, cwd=tmp_path) as server:
        try:
            eventually(lambda: docker("ps", "-aq", "--filter", label) == "", 60)
        finally:
            server.terminate()
