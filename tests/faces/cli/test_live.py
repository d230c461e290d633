"""Commands that go on."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faces.cli.shell import Shell


@pytest.fixture
def work(shell: Shell) -> Shell:
    for number in range(3):
        shell("add", f"Task {number}", "--id", f"T{number}")
    return shell


@pytest.mark.requirement("CORE-12")
def test_a_watched_status_is_a_line_of_json_each_time_when_piped(work: Shell) -> None:
    ran = work("status", "--watch", "--interval", "0.05", "--count", "3")

    states = [json.loads(line) for line in ran.out.splitlines()]
    assert [state["counts"]["ready"] for state in states] == [3, 3, 3]


def test_followed_events_begin_with_the_newest_and_print_each_once(work: Shell) -> None:
    ran = work("events", "--follow", "--limit", "2", "--interval", "0.05", "--count", "3")

    events = [json.loads(line) for line in ran.out.splitlines()]
    assert [event["task_id"] for event in events] == ["T1", "T2"]


@pytest.mark.requirement("OBS-2")
def test_all_events_are_exported_page_by_page(work: Shell) -> None:
    for number in range(3):
        work("context-write", f"topic {number}", "x" * 100)

    exported = [json.loads(line) for line in work("events", "--jsonl", "--limit", "1").out.splitlines()]

    assert [event["seq"] for event in exported] == list(range(1, len(exported) + 1))
    assert len(exported) == 6


def test_an_error_in_a_live_command_is_typed(work: Shell) -> None:
    assert work("events", "--follow", "--kind", "").error["details"]["field"] == "kind"


def test_a_claim_that_waits_gets_the_task_that_comes(shell: Shell) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(shell.process, "claim-task", "--wait", "200")
        shell("add", "Late", "--id", "LATE")

        claimed = json.loads(waiting.result(240).out)

    assert claimed["task"]["id"] == "LATE"


def test_a_claim_that_has_waited_long_enough_says_why_there_is_nothing(shell: Shell) -> None:
    claimed = json.loads(shell("claim-task", "--wait", "0.2").out)

    assert claimed["task"] is None
    assert claimed["reason"] == "no_ready_tasks"


def test_a_claim_that_waited_and_got_nothing_may_be_repeated_with_its_request_id(shell: Shell) -> None:
    waiting = ("claim-task", "--wait", "0.2", "--request-id", "r1")
    assert json.loads(shell(*waiting).out)["task"] is None
    shell("add", "Late", "--id", "LATE")

    assert json.loads(shell(*waiting).out)["task"]["id"] == "LATE"
