"""`wvo-mcp worker-log`, also spelt `worker log`: what was written, and what comes."""

import json
from pathlib import Path

import pytest

from tests.faces.cli.shell import Shell
from tests.support.databases import written

pytestmark = pytest.mark.requirement("WORK-10")


@pytest.fixture
def log(shell: Shell) -> Path:
    shell("init", "--yes")
    shell("add", "Do it", "--id", "T1")
    log = shell.root / "state" / "workers" / "w-1.jsonl"
    log.parent.mkdir()
    log.write_text("one\nt\x1b[2Jwo\n")
    values = "'w-1', 1, 'T1', 1, 'a', 'r', 'claude', 'high', 'm', 'h', 'working', '{0}', '{0}'"
    with written(shell.root / "state" / "state.db") as execute:
        execute(
            "INSERT INTO workers (worker_id, seq, task_id, lease_token, agent_id, run_id, provider, tier, model, host, state,"
            f" since, started_at, log) VALUES ({values.format('2026-01-01T00:00:00.000Z')}, '{log}')"
        )
    return log


@pytest.mark.parametrize("spelling", [("worker-log",), ("worker", "log")])
def test_both_spellings_show_the_end_of_the_log(shell: Shell, log: Path, spelling: tuple[str, ...]) -> None:
    shown = shell(*spelling, "w-1").json

    assert shown["lines"] == ["one", "t\x1b[2Jwo"]
    assert shell(*spelling, "T1", "--raw").json["lines"] == shown["lines"]


def test_on_a_terminal_nothing_of_it_steers(shell: Shell, log: Path) -> None:
    shown = shell.on_terminal("worker-log", "w-1")

    assert "t·[2Jwo" in shown.text
    assert "\x1b[2J" not in shown.out


def test_followed_it_ends_with_its_worker(shell: Shell, log: Path) -> None:
    with written(shell.root / "state" / "state.db") as execute:
        execute("UPDATE workers SET state = 'ended', ended_at = since, outcome = 'completed'")

    ran = shell("worker", "log", "w-1", "--follow", "--interval", "0.05")

    assert ran.code == 0
    assert [json.loads(line)["line"] for line in ran.out.splitlines()] == ["one", "t\x1b[2Jwo"]
