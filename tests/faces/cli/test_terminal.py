"""The command line as a process: on a terminal, in a pipe, interrupted."""

import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faces.cli.shell import DEADLINE, PROGRAM, Shell
from tests.support.hosts import need

ANSI = "\x1b["


@pytest.fixture
def shop(shell: Shell) -> Shell:
    """Four tasks, one of them held, one cancelled."""
    tasks = [
        {"id": "SHOP-1", "title": "Price rules", "priority": "high", "complexity": 2, "epic_id": "checkout"},
        {"id": "SHOP-2", "title": "Payment adapter", "depends_on": ["SHOP-1"], "epic_id": "checkout"},
        {"id": "SHOP-3", "title": "Order e-mail", "epic_id": "checkout"},
        {"id": "SHOP-4", "title": "Refunds", "depends_on": ["SHOP-3"]},
    ]
    shell("create-tasks", "--tasks", json.dumps(tasks))
    shell("claim-task", "SHOP-1")
    shell("cancel", "SHOP-3")
    return shell


@pytest.mark.requirement("CORE-12")
def test_status_on_a_terminal_shows_the_work_and_who_holds_it(shop: Shell) -> None:
    shown = shop.on_terminal("status")

    assert shown.code == 0
    lines = [line.split() for line in shown.text.splitlines()]
    assert "0 of 4 tasks done (0 %)   1/3 in progress   0 ready" in shown.text
    assert lines[1][1:] == ["2", "waiting,", "1", "cancelled"]
    assert any(line[:3] == ["SHOP-1", "working", "ann"] and line[-2:] == ["9", "min"] for line in lines)
    assert any(line[:3] == ["ann", "busy", "SHOP-1"] for line in lines)
    assert any(line[:5] == ["SHOP-4", "stranded", "waits", "for", "SHOP-3,"] for line in lines)
    assert lines[-1] == ["Next:", "wvo-mcp", "get-task", "SHOP-3"]


@pytest.mark.requirement("CORE-12")
def test_status_is_readable_in_a_real_terminal_program(shop: Shell, tmp_path: Path) -> None:
    need(None if shutil.which("tmux") else "tmux is not installed")
    tmux = shutil.which("tmux")
    assert tmux is not None
    server = [tmux, "-S", str(tmp_path / "tmux"), "-f", "/dev/null"]
    command = " ".join([*PROGRAM, "status", "--watch", "--interval", "0.2"])
    subprocess.run(
        [*server, "new-session", "-d", "-x", "70", "-y", "30", command],
        cwd=shop.root,
        env=shop.environment(),
        check=True,
        timeout=DEADLINE,
    )
    try:
        deadline = time.monotonic() + DEADLINE
        screen = ""
        while "Ctrl-C ends" not in screen:
            assert time.monotonic() < deadline, screen
            screen = subprocess.run(
                [*server, "capture-pane", "-p"], capture_output=True, text=True, check=True, timeout=DEADLINE
            ).stdout
    finally:
        subprocess.run([*server, "kill-server"], check=False, timeout=DEADLINE)

    lines = screen.splitlines()
    assert lines[0] == "0 of 4 tasks done (0 %)   1/3 in progress   0 ready"
    assert lines[1].startswith("█" * 5 + "░" * 15 + "  2 waiting")
    assert max(map(len, lines)) <= 70
    assert [after.split()[0] for line, after in itertools.pairwise(lines) if not line and after] == [
        "Needs",
        "Running",
        "Agents",
        "Waiting:",
        "Flow",
        next(line for line in lines if "Ctrl-C ends" in line).split()[0],
    ]


@pytest.mark.requirement("CORE-12")
def test_a_watched_status_follows_the_work_and_ends_by_ctrl_c(shop: Shell) -> None:
    with shop.terminal("status", "--watch", "--interval", "0.1") as terminal:
        terminal.until(lambda seen: "0 of 4" in seen)
        shop("complete-task", "SHOP-1", "done")
        terminal.until(lambda seen: "1 of 4" in seen)
        terminal.interrupt()
        ended = terminal.finish()

    assert ended.code == 0
    assert ended.out.endswith("\x1b[?25h\x1b[?1049l"), "the cursor and the old screen are back"
    assert "Traceback" not in ended.out


def test_json_on_a_terminal_is_indented_and_plain(shop: Shell) -> None:
    shown = shop.on_terminal("plan-next", "--json")

    assert json.loads(shown.out)["in_progress"] == 1
    assert shown.out.startswith('{\n  "tasks"')
    assert ANSI not in shown.out


def test_an_error_on_a_terminal_is_a_sentence_and_a_hint(shop: Shell) -> None:
    shown = shop.on_terminal("get-task", "SHOP-", NO_COLOR="1")

    assert shown.code == 1
    assert "No task 'SHOP-'. Did you mean" in shown.out
    assert not {"{", "\x1b"} & set(shown.out)
    assert "Traceback" not in shown.out


def test_what_agents_wrote_cannot_steer_the_terminal(shop: Shell) -> None:
    shop("add", "\x1b]0;owned\x07\x1b[2J\u202eevil [bold]x[/bold]", "--id", "EVIL")

    for argv in (["list-tasks"], ["get-task", "EVIL"], ["get-task", "\x1b[31mNO"]):
        shown = shop.on_terminal(*argv).text
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert "[bold]x[/bold]" in shop.on_terminal("get-task", "EVIL").text


def test_events_are_followed_on_a_terminal_line_by_line(shop: Shell) -> None:
    with shop.terminal("events", "--follow", "--interval", "0.1") as terminal:
        terminal.until(lambda seen: "task.cancelled" in seen)
        shop("pause", "lunch")
        terminal.until(lambda seen: "work.paused" in seen)
        terminal.interrupt()
        assert terminal.finish().code == 0


def test_events_on_a_terminal_end_with_what_has_just_happened(shop: Shell) -> None:
    shown = shop.on_terminal("events", "--limit", "2").text.splitlines()
    piped = shop("events", "--limit", "2").json["events"]

    assert {"task.cancelled", "SHOP-3"} <= set(shown[2].split())
    assert shown[-1].startswith("Earlier ones: ")
    assert [event["seq"] for event in piped] == [1, 2]


def test_a_reader_that_leaves_early_is_no_error(shop: Shell) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "events", "--follow", "--interval", "0.05"],
        cwd=shop.root,
        env=shop.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        # Its next lines have no reader.
        for _ in range(3):
            shop("pause", "again")
        assert process.wait(DEADLINE) == 141
        assert process.stderr.read() == ""


def test_ctrl_c_ends_a_command_without_a_trace(shop: Shell) -> None:
    with shop.terminal("create-tasks", "--tasks", "-") as terminal:
        terminal.type("[")
        terminal.until(lambda seen: "[" in seen)
        # The command reads from the terminal once its imports are done; until then the interrupt kills it plainly.
        terminal.until_it_reads()
        terminal.interrupt()
        ended = terminal.finish()

    assert ended.code == 130
    assert "Interrupted." in ended.out
    assert "Traceback" not in ended.out


@pytest.mark.requirement("CORE-12")
def test_the_installed_program_answers_json_in_a_pipe(shop: Shell) -> None:
    installed = Path(sys.executable).parent / "wvo-mcp"
    done = subprocess.run(
        [str(installed), "plan-next", "--limit", "1"],
        cwd=shop.root,
        env=shop.environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE,
    )

    assert json.loads(done.stdout)["wip_limit"] == 3
    assert done.stderr == ""
