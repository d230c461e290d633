"""Results on a terminal."""

import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from wvo_mcp.faces.cli.commands import event_line
from wvo_mcp.faces.cli.views import SCREENS, view
from wvo_mcp.faces.cli.views.cells import span
from wvo_mcp.operations import ALL

pytestmark = pytest.mark.anyio


def shown(name: str, result: dict[str, Any], width: int = 110) -> str:
    out = StringIO()
    Console(file=out, width=width, highlight=False).print(view(name, result))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines), default=0) <= width
    return "\n".join(line.rstrip() for line in lines)


def test_every_view_belongs_to_an_operation() -> None:
    assert set(SCREENS) - {"_task", "simulate", "backup_restore", "store_copy"} <= set(ALL)


async def test_a_plan_tells_why_and_why_not(bench: Bench) -> None:
    await bench.create(a_task("T1", priority="high", complexity=2), a_task("T2", depends_on=["T1"]))

    text = shown("plan_next", await bench.call("plan_next"))

    assert "1 ready, 0/3 in progress" in text
    assert "10 for 2, path +10.00" in text
    assert "T2  dependencies  T1" in text


async def test_a_claim_shows_the_task_where_it_stands_and_what_is_known(bench: Bench) -> None:
    await bench.create(a_task("T1", description="All of it", acceptance=["tests pass"], files=["src/**"]))
    await bench.claim(ANN)
    await bench.call(
        "checkpoint", ANN, task_id="T1", summary="half", next_steps="the rest", progress=50, files=["a.py"]
    )
    await bench.call("context_write", ANN, topic="Trap", content="Mind the gap", task_id="T1", tags=["trap"])
    await bench.call("release_task", ANN, task_id="T1")

    text = shown("claim_task", await bench.claim(BOB))

    for part in (
        "Claimed T1",
        "token       2",
        "All of it",
        "- tests pass",
        "src/**",
        "1  50 %",
        "half",
        "the rest",
        "Mind the gap",
        "trap",
    ):
        assert part in text


async def test_no_claim_says_why_and_what_is_held(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"))
    await bench.claim(ANN, "T1")

    text = shown("claim_task", await bench.claim(ANN))

    assert "WIP limit of this agent reached" in text
    assert "id  token  expires in\n  T1  1 " in text


async def test_a_task_is_shown_with_all_that_concerns_it(bench: Bench) -> None:
    await bench.create(
        a_task("T1"),
        a_task("T2", depends_on=["T1"], requires_approval=True, labels=["web"]),
        a_task("T3", depends_on=["T2"]),
    )
    await bench.done("T1")

    text = shown("get_task", await bench.call("get_task", task_id="T2"))

    for part in (
        "T2  Do T2  pending",
        "Dependencies",
        "T1  done",
        "Dependents",
        "T3  pending",
        "wvo-mcp approve T2",
        "task.created",
    ):
        assert part in text


async def test_lists_are_tables_that_fit_a_narrow_terminal(bench: Bench) -> None:
    await bench.create(a_task("A-RATHER-LONG-ID-1", title="A title that is much too long for a narrow terminal " * 3))

    text = shown("list_tasks", await bench.call("list_tasks"), width=60)

    assert "A-RATHER-LONG-ID-1" in text
    assert "…" in text
    assert "1 of 1 tasks" in text


async def test_events_are_shown(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN, "T1")
    await bench.call("cancel", OWNER, task_id="T1")
    await bench.call("pause", OWNER, reason="lunch")

    events = shown("events", await bench.call("events", OWNER))
    assert "task.cancelled" in events
    assert "work.paused" in events
    narrow = shown("events", await bench.call("events", OWNER), 80)
    assert [line for line in narrow.splitlines() if "Do T1" in line] != [], narrow


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.requirement("CORE-12")
@pytest.mark.usefixtures("in_tokyo")
async def test_times_are_those_of_the_wall_on_a_terminal_and_utc_elsewhere(bench: Bench) -> None:
    await bench.create(a_task("T1", not_before="2199-01-01T20:00:00Z"))
    result = await bench.call("get_task", task_id="T1")
    event = {"seq": 1, "at": "2027-01-01T20:00:05.000Z", "kind": "task.created", "task_id": "T1"}
    trail = {"events": [event], "next_after": 1, "more": False}
    backup = {"name": "state-1.db", "at": "2027-01-01T20:00:05.000Z", "bytes": 1, "kind": "hourly"}

    assert result["task"]["not_before"] == "2199-01-01T20:00:00.000Z"
    assert "2199-01-02 05:00" in shown("get_task", result)
    assert "2027-01-02 05:00:05" in shown("events", trail)
    assert "2027-01-02 05:00:05" in shown("backup_list", {"backups": [backup]})
    assert "2027-01-02 05:00:05" in event_line(event)


def test_no_backup_is_said_with_how_to_make_one() -> None:
    assert "wvo-mcp backup-create makes one now" in shown("backup_list", {"backups": []})


async def test_an_approval_says_what_the_task_may_do_now(bench: Bench) -> None:
    await bench.create(a_task("A"), *(a_task(name, requires_approval=True) for name in "BD"))
    await bench.create(a_task("C", requires_approval=True, depends_on=["A"]))
    await bench.call("approve", OWNER, task_id="D")
    await bench.claim(ANN, "D")

    said = [shown("approve", await bench.call("approve", OWNER, task_id=name)) for name in "BCD"]

    assert said == [
        "B is approved and ready.",
        "C is approved; it still waits for A (dependencies).",
        "D is approved; it is in progress.",
    ]


@pytest.mark.requirement("HEALTH-3")
async def test_the_message_of_an_alert_is_shown_whole(bench: Bench) -> None:
    message = " ".join(f"word{number}" for number in range(60))
    await bench.write(lambda tx: tx.alerts.raise_alert("odd", "warning", None, message))

    text = shown("alerts", await bench.call("alerts"), 60)

    assert " ".join(text.split()).count(message) == 1


@pytest.mark.requirement("HEALTH-4")
async def test_health_is_told_with_what_is_wrong_and_what_was_done(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)
    bench.servers.kill(ANN.session_id)
    bench.clock.advance(minutes=20)

    text = shown("health_run", await bench.call("health_run", OWNER))
    for part in (
        "inProgressCount     1",
        "critical  stale_tasks    1 task in progress without a live agent; the last sign of life is 20 min old.",
        "return_to_queue  T1   remedied  T1 is pending after 20 min without a sign of life",
    ):
        assert part in text

    text = shown("health_check", await bench.call("health_check", OWNER))
    assert text.startswith("unhealthy\n")
    assert "mcp server  no server is running" in text
    assert "critical  stale_tasks" in text
    await bench.call("health_run", BOB)
    text = shown("health_run", await bench.call("health_run", ANN))
    assert text.startswith("Only shown: session bob/1 leads, and it alone acts.")
    assert "Nothing is wrong." in text


async def test_an_empty_store_says_how_to_begin(bench: Bench) -> None:
    assert shown("list_tasks", await bench.call("list_tasks")) == "No task matches."
    assert shown("context_read", await bench.call("context_read")) == "No notes found."
    assert shown("events", await bench.call("events", OWNER)) == "No events."


async def test_every_write_is_confirmed_in_a_line_or_two(bench: Bench) -> None:
    created = await bench.call("create_tasks", ANN, tasks=[a_task("T1"), a_task("T2", depends_on=["T1"])])
    assert shown("create_tasks", created) == "2 created\ncreated  T1, T2"
    await bench.claim(ANN, "T1")
    assert "Lease renewed" in shown("heartbeat", await bench.call("heartbeat", ANN, task_id="T1"))
    written = await bench.call("checkpoint", ANN, task_id="T1", summary="half")
    assert shown("checkpoint", written).startswith("Checkpoint 1 saved.")
    again = shown("fail_task", await bench.call("fail_task", ANN, task_id="T1", error="it broke"))
    assert "attempts  1\nretry at" in again
    bench.clock.advance(minutes=5)
    await bench.claim(ANN, "T1")
    assert "unlocked  T2" in shown("complete_task", await bench.complete("T1"))
    assert "T1 is pending" in shown("reopen", await bench.call("reopen", OWNER, task_id="T1", reason="not yet"))
    remembered = await bench.call("context_write", ANN, topic="Trap", content="x")
    assert shown("context_write", remembered) == "Saved Trap, version 1."
    paused = shown("pause", await bench.call("pause", OWNER, reason="lunch"))
    assert paused.startswith("Paused: lunch.") and "workers are interrupted" in paused
    assert "workers finish" in shown("pause", await bench.call("pause", OWNER, gently=True), 80)
    assert "Autopilots end" in shown("stop", await bench.call("stop", OWNER), 80)
    for gently in (False, True):
        both = shown("pause", await bench.call("pause", OWNER, gently=gently), 80)
        assert "stopped as well" in both and "finish their" not in both
        assert both.count("wvo-mcp resume") == 1
    assert shown("stop", await bench.call("stop", OWNER)).startswith("Stopped")
    assert shown("resume", await bench.call("resume", OWNER)) == "Work is resumed."
    cancelled = shown("cancel", await bench.call("cancel", OWNER, task_id="T1"))
    assert cancelled == "T1 is cancelled.\nstranded  T2"


async def test_a_person_reads_the_whole_command_before_deciding(bench: Bench) -> None:
    command = "git push origin main --force-with-lease && npm publish --access public && curl https://example.com/hook"
    await bench.create(a_task("T1"))
    await bench.claim(ANN, "T1")
    await bench.call("approval_request", ANN, task_id="T1", command=command)

    text = shown("approvals", await bench.call("approvals", OWNER), 80)

    assert command in " ".join(text.split())
    assert "wvo-mcp approve A-1" in text


def test_a_result_without_a_view_of_its_own_is_readable() -> None:
    result = {
        "written": True,
        "left_out": ["T1"],
        "rows": [{"id": "A", "n": 1}, {"id": "B"}],
        "more": {"x": None, "y": {}},
    }

    text = shown("backup_create", result)

    assert "written   yes" in text
    assert "left out  T1" in text
    assert "A   1" in text


def test_an_export_says_why_a_task_is_left_out() -> None:
    result = {"changed": [], "added": ["T2"], "left_out": ["T1", "T3"], "written": True, "commit": None, "note": None}

    text = shown("roadmap_export", result, 80)

    assert "added    T2" in text
    assert text.startswith("Left out, because they have no epic: T1, T3\n")
    assert "Left out" not in shown("roadmap_export", {**result, "left_out": []})


def test_a_sync_names_what_it_did() -> None:
    counts = {"created": ["T1"], "updated": [], "cancelled": ["T2"], "restored": []}
    result = {"tasks": 5, "created_count": 1, "unchanged": False, "guard": None, "warnings": ["T3 stays"], **counts}
    text = shown("roadmap_sync", result)
    assert text == "The roadmap has 5 tasks.\ncreated    T1\ncancelled  T2\nwarnings   - T3 stays"
    assert "unchanged" in shown("roadmap_sync", {**result, "unchanged": True})
    for unchanged in (True, False):
        guarded = shown("roadmap_sync", {**result, "unchanged": unchanged, "guard": "It waits."})
        assert guarded.endswith("It waits.")


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (65, "1 min"), (3600, "1 h"), (3665, "1 h 1 min"), (200_000, "2 d"), (-5, "5 s")]
)
def test_spans_are_told_in_whole_units(seconds: float, text: str) -> None:
    assert span(seconds) == text
