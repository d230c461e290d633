"""Lock files stand for live servers, and dead ones' go away."""

import os
import threading
import time
from pathlib import Path

import pytest

from wvo_mcp.execution.session_lock import SessionLocks

pytestmark = pytest.mark.requirement("CLAIM-3", "CORE-11")


def aged(path: Path) -> Path:
    """As if it had been made two minutes ago."""
    path.touch()
    os.utime(path, (time.time() - 120, time.time() - 120))
    return path


def test_a_server_that_starts_removes_the_old_locks_of_the_dead_and_no_others(tmp_path: Path) -> None:
    dead, young = aged(tmp_path / "dead.lock"), tmp_path / "young.lock"
    young.touch()
    with SessionLocks(tmp_path).lock("living"):
        aged(tmp_path / "living.lock")

        with SessionLocks(tmp_path).lock("new"):
            assert sorted(path.name for path in tmp_path.iterdir()) == ["living.lock", "new.lock", "young.lock"]
            assert SessionLocks(tmp_path).alive("living")
            assert SessionLocks(tmp_path).alive("new")
    assert not dead.exists()


def test_a_lock_that_is_taken_for_a_dead_one_while_it_is_made_is_made_again(tmp_path: Path) -> None:
    locks, over = SessionLocks(tmp_path), threading.Event()

    def probe() -> None:
        while not over.is_set():
            locks.alive("mine")

    prober = threading.Thread(target=probe)
    prober.start()
    try:
        for _ in range(500):
            with SessionLocks(tmp_path).lock("mine"):
                assert locks.alive("mine")
    finally:
        over.set()
        prober.join()
