"""The real programs below the whole autopilot, when their model or what they start goes wrong: each ends with the right reason,
leaves no process, and its task is back or done."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.clients.autopilots import Project, doing, shell
from tests.clients.models.script import Break, Call, Hang, Step
from tests.support.scale import FULL

pytestmark = [pytest.mark.clients, pytest.mark.requirement("WORK-3", "WORK-5")]
MILLION = 1_000_000
STUBBORN = """
trap '' TERM HUP INT
sleep 600 >/dev/null 2>&1 &
setsid sleep 600 >/dev/null 2>&1 &
echo begun > begun.txt
"""
EATER = """
import time
held = bytearray(3_000_000_000)
held[::4096] = b"1" * len(held[::4096])
time.sleep(600)
"""
PRINTER = """
yes 0123456789012345678901234567890123456789 | head -c 50000000
echo begun > begun.txt
"""
PROGRAMS = {"stubborn.sh": STUBBORN, "eater.py": EATER, "printer.sh": PRINTER}
"""Files of the repository: what is in the worktree may be run."""


def run_one(place: Path, vendor: str, steps: Sequence[Step], **settings: str) -> tuple[tuple[str, int], str, str]:
    """One launch at a task whose model does that. (the task's status and attempts, the launch's outcome and its reason)."""
    with Project(place, {"A": (vendor, [])}) as project:
        for name, text in PROGRAMS.items():
            (project.root / name).write_text(text)
        project.git("add", *PROGRAMS)
        project.git("commit", "-qm", "Add programs")
        project.besides = settings
        project.script("A", steps)
        _, done = project.autopilot("--no-wait", "--once")

        assert project.processes() == [], done.report()
        ((state, outcome, reason),) = project.rows("SELECT state, outcome, reason FROM workers")
        assert state in ("ended", "limited"), done.report()
        (task,) = project.rows("SELECT status, attempts FROM tasks")
        assert project.rows("SELECT expiries, lease_expires_at FROM tasks") == [(0, None)]
        if shell(vendor, "sh stubborn.sh") in steps or shell(vendor, "sh printer.sh") in steps:
            assert "begun.txt" in project.git("ls-tree", "--name-only", "refs/wvo/submit/A/1"), "it was not run"
        logs = sum(log.stat().st_size for log in (project.root / "state/workers/logs").iterdir())
        assert logs < 40 * MILLION
    return task, outcome, reason


@pytest.mark.parametrize("vendor", ["claude", "codex"] if FULL else ["claude"])
def test_an_agent_that_makes_one_call_over_and_over_is_ended(
    tmp_path: Path, vendor: str, need: Callable[[str], None]
) -> None:
    need(vendor)
    begun, *_ = doing(vendor, "A", "")

    task, outcome, reason = run_one(tmp_path, vendor, [begun, *[shell(vendor, "echo again")] * 40])

    assert (task, outcome) == (("pending", 1), "killed")
    assert reason.startswith("the same call over and over")


@pytest.mark.full
def test_an_agent_whose_model_hangs_is_ended_for_its_silence(tmp_path: Path, need: Callable[[str], None]) -> None:
    need("claude")
    begun, *rest = doing("claude", "A", "echo A > A.txt")

    task, outcome, reason = run_one(tmp_path, "claude", [begun, Hang(), *rest], WVO_WORKER_IDLE_SECONDS="20")

    assert (task, outcome, reason) == (("pending", 1), "killed", "nothing was heard of it for 20 s")


@pytest.mark.full
@pytest.mark.parametrize("vendor", ["claude", "codex"])
def test_an_agent_whose_stream_breaks_once_goes_on(tmp_path: Path, vendor: str, need: Callable[[str], None]) -> None:
    need(vendor)
    begun, *rest = doing(vendor, "A", "echo A > A.txt")

    task, outcome, _ = run_one(tmp_path, vendor, [begun, Break("I begin to say a long thing. " * 50), *rest])

    assert (task, outcome) == (("done", 0), "completed")


@pytest.mark.full
def test_an_agent_whose_stream_always_breaks_counts_no_attempt(tmp_path: Path, need: Callable[[str], None]) -> None:
    need("claude")
    begun, *rest = doing("claude", "A", "echo A > A.txt")

    task, outcome, reason = run_one(tmp_path, "claude", [begun, Break("I begin to say. " * 50, 999), *rest])

    assert (task, outcome) == (("pending", 0), None), reason


@pytest.mark.full
@pytest.mark.parametrize("vendor", ["claude", "codex"])
def test_fifty_megabytes_of_a_call_break_nothing(tmp_path: Path, vendor: str, need: Callable[[str], None]) -> None:
    need(vendor)
    steps = doing(vendor, "A", "echo A > A.txt", shell(vendor, "sh printer.sh"))

    task, outcome, reason = run_one(tmp_path, vendor, steps)

    assert (task, outcome) == (("done", 0), "completed"), reason


@pytest.mark.full
def test_an_agent_whose_turn_never_ends_is_ended_at_its_time(tmp_path: Path, need: Callable[[str], None]) -> None:
    need("claude")
    endless = [Call("context_read", {"query": f"what of {number}"}) for number in range(5_000)]

    task, outcome, reason = run_one(tmp_path, "claude", endless, WVO_WORKER_TIMEOUT_SECONDS="30")

    assert (task, outcome, reason) == (("pending", 1), "killed", "it ran longer than 30 s")


@pytest.mark.full
@pytest.mark.parametrize("vendor", ["claude", "codex"])
def test_children_that_ignore_sigterm_do_not_outlive_their_agent(
    tmp_path: Path, vendor: str, need: Callable[[str], None]
) -> None:
    need(vendor)
    steps = doing(vendor, "A", "echo A > A.txt", shell(vendor, "sh stubborn.sh"))

    task, outcome, reason = run_one(tmp_path, vendor, steps)

    assert (task, outcome) == (("done", 0), "completed"), reason


@pytest.mark.full
def test_an_agent_whose_call_eats_memory_is_ended(tmp_path: Path, need: Callable[[str], None]) -> None:
    need("claude")
    steps = doing("claude", "A", "python3 eater.py")

    task, outcome, reason = run_one(tmp_path, "claude", steps)

    assert (task, outcome) == (("pending", 1), "killed")
    assert "more than a worker may (2,048 MB, WVO_WORKER_MEMORY_MB)" in reason
