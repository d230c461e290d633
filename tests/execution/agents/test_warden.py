"""Nothing of a worker outlives its warden, and the warden does not outlive whoever started it."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import eventually
from wvo_mcp.execution.agents import lines

pytestmark = pytest.mark.requirement("WORK-3")
WARDEN = Path(lines.__file__).with_name("warden.py")
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def begin(name):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(f"{sys.argv[1]}/{name}", "w").write(str(os.getpid()))
    time.sleep(600)
if os.fork() == 0:
    begin("child")
if os.fork() == 0:  # in a session of its own, and its parent ends
    os.setsid()
    if os.fork() == 0:
        begin("orphan")
    os._exit(0)
begin("program")
"""


@contextmanager
def warden(place: Path, program: str = STUBBORN) -> Generator[tuple[subprocess.Popen[bytes], int]]:
    """A running one, and the end of its lifeline."""
    reading, writing = os.pipe()
    script = place / "program.py"
    script.write_text(program)
    command = [sys.executable, "-I", "-S", str(WARDEN), str(reading), sys.executable, str(script), str(place)]
    process = subprocess.Popen(command, pass_fds=(reading,), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(reading)
    try:
        yield process, writing
    finally:
        with suppress(OSError):
            os.close(writing)
        process.kill()
        process.communicate()


def begun(place: Path) -> list[psutil.Process]:
    """The three processes of the stubborn program."""
    files = [place / name for name in ("program", "child", "orphan")]
    eventually(lambda: all(file.exists() and file.read_text() for file in files), seconds=60)
    return [psutil.Process(int(file.read_text())) for file in files]


def gone(processes: list[psutil.Process]) -> bool:
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)


@pytest.mark.parametrize("how", ["the lifeline closes", "it is asked to end", "the program is killed"])
def test_a_whole_tree_that_ignores_sigterm_and_left_its_group_is_ended(tmp_path: Path, how: str) -> None:
    with warden(tmp_path) as (process, lifeline):
        tree = begun(tmp_path)
        match how:
            case "the lifeline closes":
                os.close(lifeline)
            case "it is asked to end":
                process.send_signal(signal.SIGTERM)
            case _:
                tree[0].kill()
        process.wait(timeout=60)

        assert gone(tree)


HALF_GONE = STUBBORN.replace('begin("program")', """
import ctypes, threading
open(f"{sys.argv[1]}/program", "w").write(str(os.getpid()))
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)
""")  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process ends with its first thread")
def test_children_of_a_program_whose_first_thread_has_ended_are_ended_as_well(tmp_path: Path) -> None:
    with warden(tmp_path, HALF_GONE) as (process, lifeline):
        tree = begun(tmp_path)
        eventually(lambda: tree[0].status() == psutil.STATUS_ZOMBIE)
        os.close(lifeline)
        process.wait(timeout=60)

        left = [one for one in tree if not gone([one])]
        for one in left:
            one.kill()  # or they would hold its stdout
        assert left == []


def test_who_started_it_is_killed_and_nothing_of_the_tree_is_left(tmp_path: Path) -> None:
    starter = f"""
import os, subprocess, sys, time
reading, writing = os.pipe()
subprocess.Popen([{sys.executable!r}, "-I", "-S", {str(WARDEN)!r}, str(reading), {sys.executable!r},
                  {str(tmp_path / "program.py")!r}, {str(tmp_path)!r}], pass_fds=(reading,), start_new_session=True)
os.close(reading)
time.sleep(600)
"""
    (tmp_path / "program.py").write_text(STUBBORN)
    with subprocess.Popen([sys.executable, "-c", starter]) as started:
        tree = begun(tmp_path)
        started.kill()

    assert eventually(lambda: gone(tree), seconds=60)


def test_the_exit_code_and_the_streams_of_the_program_are_passed_through(tmp_path: Path) -> None:
    program = "import sys; sys.stdout.write(sys.argv[1]); sys.stderr.write('words'); sys.exit(7)"
    with warden(tmp_path, program) as (process, _):
        out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (7, str(tmp_path).encode(), b"words")


@pytest.mark.parametrize(
    ("program", "code"), [("import os; os.kill(os.getpid(), 9)", 137), ("import os; os.abort()", 134)]
)
def test_a_program_that_is_killed_has_the_exit_code_that_shells_give(tmp_path: Path, program: str, code: int) -> None:
    with warden(tmp_path, program) as (process, _):
        process.communicate(timeout=60)

    assert process.returncode == code
