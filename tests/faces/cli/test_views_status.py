"""The status screen: what matters first, and on the screen that there is."""

import itertools
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from tests.support.bench import BOB, OWNER, Bench, a_task
from wvo_mcp.faces.cli.views import view
from wvo_mcp.faces.cli.views.cells import local, sparkline
from wvo_mcp.ports import Transaction

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CORE-12")]


def screen(result: dict[str, Any], width: int = 80, height: int = 24, *, watched: bool = False) -> list[str]:
    """The lines on a terminal of this size; a prompt needs one more."""
    out = StringIO()
    console = Console(file=out, width=width, height=height, highlight=False, force_terminal=True, color_system=None)
    console.print(view("status", result, watched=watched))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    assert len(lines) <= (height if watched else height - 1)
    return lines


def heads(lines: list[str]) -> list[str]:
    """The first word of the headings."""
    return [line.split()[0] for before, line in itertools.pairwise(lines) if not before]


async def a_busy_project(bench: Bench) -> dict[str, Any]:
    """65 tasks: three in progress, one of them failed, one blocked, one to approve, one stranded, and a critical alert."""
    bench.limits(wip_limit=5, agent_wip_limit=5)
    await bench.create(
        *(a_task(f"T{number}", epic_id="SHOP", complexity=3) for number in range(61)),
        a_task("DEPLOY", requires_approval=True),
        a_task("FAILS", business_value=20),
        a_task("BEHIND", depends_on=["FAILS"]),
        a_task("STOPPED"),
    )
    await bench.claim(BOB, "FAILS")
    await bench.call("fail_task", BOB, task_id="FAILS", error="the build\nis \x1b[31mred", retry=False)
    await bench.call("block_task", BOB, task_id="STOPPED", reason="needs the key")
    await bench.done("T60", caller=BOB)
    for task_id in ("T1", "T2", "T3"):
        await bench.claim(BOB, task_id)
    await bench.write(
        lambda tx: tx.alerts.raise_alert("queue_stalled", "critical", None, "nothing completed for an hour")
    )
    return await bench.call("status", OWNER)


async def test_what_needs_a_person_stands_above_the_work_at_80_by_24(bench: Bench) -> None:
    lines = screen(await a_busy_project(bench))

    assert lines[0] == "1 of 65 tasks done (1 %)   3/5 in progress   57 ready"
    assert lines[1].endswith("1 waiting, 1 held back, 1 blocked, 1 failed")
    assert heads(lines) == ["Needs", "Running", "Ready", "Next:"]
    needs = [line.split() for line in lines[lines.index("") + 2 :][:5]]
    assert [row[0] for row in needs] == ["alert", "DEPLOY", "FAILS", "STOPPED", "BEHIND"]
    assert [row[-2:] for row in needs[1:]] == [
        ["approve", "DEPLOY"],
        ["retry", "FAILS"],
        ["unblock", "STOPPED"],
        ["get-task", "FAILS"],
    ]
    assert "+53 more: wvo-mcp plan-next --limit 50" in lines
    assert lines[-1] == "Next: wvo-mcp alert-ack 2"


async def test_a_larger_screen_shows_who_is_there_and_how_it_goes(bench: Bench) -> None:
    lines = screen(await a_busy_project(bench), 120, 60)

    assert heads(lines) == ["Needs", "Running", "Ready", "Agents", "Flow", "Next:"]
    assert any("bob" in line and "busy" in line for line in lines)
    assert "No server is running: background work waits for the next one." in lines


@pytest.mark.parametrize("size", [(80, 24), (60, 12), (200, 70)])
async def test_ten_thousand_tasks_take_no_more_room_than_a_few(bench: Bench, size: tuple[int, int]) -> None:
    result = await a_busy_project(bench)
    result["counts"] |= {"pending": 9_940, "ready": 9_930, "in_progress": 40}
    result["running"] *= 10

    for watched in (False, True):
        lines = screen(result, *size, watched=watched)
        assert heads(lines)[0] == "Needs"
        assert any(line.startswith("+") and "in_progress" in line for line in lines) or size == (60, 12)


async def test_a_watched_screen_tells_the_time_and_the_key_that_ends_it(bench: Bench) -> None:
    result = await a_busy_project(bench)

    assert (
        screen(result, watched=True)[-1]
        == f"{local(result['at'], seconds=True).split()[1]}, Ctrl-C ends.  Next: wvo-mcp alert-ack 2"
    )


async def test_the_last_line_is_the_next_command_that_makes_sense(bench: Bench) -> None:
    async def following() -> str:
        return screen(await bench.call("status", OWNER))[-1].split("  ")[0]

    assert await following() == "Next: wvo-mcp init"
    await bench.create(a_task("A", complexity=1), a_task("B", depends_on=["A"]))
    assert await following() == "Next: wvo-mcp claim-task"
    await bench.claim(BOB, "A")
    assert await following() == "Next: wvo-mcp status --watch"
    assert "Next" not in screen(await bench.call("status", OWNER), watched=True)[-1], "it is on the screen already"
    await bench.call("pause", OWNER, reason="lunch")
    assert await following() == "Next: wvo-mcp resume"
    assert "PAUSED: lunch" in screen(await bench.call("status", OWNER))[0]
    await bench.call("resume", OWNER)
    await bench.complete("A", BOB)
    await bench.done("B", caller=BOB)
    assert await following() == "Next: wvo-mcp add TITLE"


async def test_it_says_why_nothing_runs_until_something_does(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=1), a_task("B", depends_on=["A"]))
    await bench.call("pause", OWNER, reason="lunch")

    (paused,) = [line for line in screen(await bench.call("status", OWNER)) if line.startswith("Not running")]
    await bench.call("resume", OWNER)
    await bench.claim(BOB, "A")
    running = screen(await bench.call("status", OWNER))

    assert paused == "Not running: Work is paused: lunch.  wvo-mcp resume"
    assert not any(line.startswith("Not running") for line in running)


async def test_what_keeps_the_rest_waiting_is_said_while_something_runs(bench: Bench) -> None:
    """As on the page."""
    await bench.create(a_task("A"), a_task("B"))
    await bench.claim(BOB, "A")
    await bench.call("pause", OWNER, reason="lunch")

    assert "Waiting: Work is paused: lunch.  wvo-mcp resume" in screen(await bench.call("status", OWNER))


async def test_on_a_narrow_terminal_why_nothing_runs_is_shown_to_its_end(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=1))
    await bench.call("pause", OWNER, reason="we wait for the new price list of the office in Lyon, and for its words")

    shown = " ".join(screen(await bench.call("status", OWNER), width=80))

    assert "Lyon, and for its words. wvo-mcp resume" in " ".join(shown.partition("Not running")[2].split())


async def test_a_question_is_shown_with_the_command_that_answers_it(bench: Bench) -> None:
    await bench.call("message_send", BOB, to="person", body="Is it Friday?", kind="question")

    lines = screen(await bench.call("status", OWNER))

    assert any(line.startswith("n-1") and "Is it Friday?" in line for line in lines)
    assert lines[-1] == 'Next: wvo-mcp answer n-1 "your answer"'


async def test_a_held_task_whose_server_is_gone_is_marked(bench: Bench) -> None:
    await bench.create(a_task("A"))
    await bench.claim(BOB, "A")
    assert not any("server gone" in line for line in screen(await bench.call("status", OWNER)))

    bench.servers.kill(BOB.session_id)

    assert any(line.startswith("A ") and "server gone" in line for line in screen(await bench.call("status", OWNER)))


async def test_the_last_line_fits_80_columns(bench: Bench) -> None:
    async def last() -> str:
        return screen(await bench.call("status", OWNER))[-1]

    assert not (await last()).endswith("…")
    await bench.create(a_task("A", complexity=1), a_task("B", depends_on=["A"]))
    assert not (await last()).endswith("…")
    await bench.claim(BOB, "A")
    assert not (await last()).endswith("…")


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("roadmap_guard", "alerts"),
        ("roadmap_invalid", "roadmap-sync"),
        ("trust", "trust"),
        ("clock_ahead", "set-time-back"),
        ("providers_file", "doctor"),
        ("queue_stalled", "alert-ack 1"),
    ],
)
async def test_an_alert_is_shown_with_the_command_that_explains_or_ends_it(
    bench: Bench, kind: str, command: str
) -> None:
    await bench.write(lambda tx: tx.alerts.raise_alert(kind, "warning", None, "something is wrong"))

    lines = screen(await bench.call("status", OWNER))

    assert lines[-1] == f"Next: wvo-mcp {command}"
    assert next(line for line in lines if line.startswith("alert ")).endswith(f"  {command}")


@pytest.mark.requirement("HEALTH-3")
async def test_long_ids_hide_nobody_and_alerts_that_were_seen_are_gone(bench: Bench) -> None:
    bench.limits(wip_limit=5)
    await bench.create(*(a_task(f"{name}-{'x' * 60}") for name in "ABC"))
    await bench.claim(BOB)

    async def raised(tx: Transaction) -> None:
        for number in range(6):
            await tx.alerts.raise_alert(f"kind{number}", "critical" if number == 1 else "warning", None, "no")

    await bench.write(raised)
    await bench.call("alert_ack", OWNER, alert_id=6)

    lines = screen(await bench.call("status", OWNER))

    assert sum("bob" in line for line in lines) >= 2  # who holds it, and in the pool
    assert [line.split()[1] for line in lines if line.startswith("alert ")] == ["2", "5", "4", "3", "1"]
    assert not any(line.startswith("alert 6") for line in lines)


@pytest.mark.requirement("PROV-3")
async def test_budgets_are_shown_once_they_are_used(bench: Bench) -> None:
    window = {"name": "claude", "scope": "provider", "period": "hour", "limit": 1000, "reserved": 0, "left": 1000}
    window |= {"used": 0, "raised": 0, "resets_at": None}
    provider = {"name": "claude", "state": "closed", "breakers": [], "windows": [window]}
    result = await bench.call("status", OWNER)
    result["providers"] = {"mode": "hybrid", "providers": [provider]}

    assert not any("claude" in line for line in screen(result))
    window["used"] = 900
    assert any("900 of 1.00k" in line for line in screen(result))


def test_a_sparkline_is_as_high_as_its_greatest_value_and_flat_without_any() -> None:
    assert sparkline([0, 0, 0]) == "▁▁▁"
    assert sparkline([0, 1, 7, 14]) == "▁▂▅█"
    assert sparkline([0, 1, 1_000]) == "▁▂█"
    assert sparkline([]) == ""


async def test_workers_and_the_merge_lane_are_those_of_the_page_s_overview(bench: Bench) -> None:
    await bench.create(a_task("WORKED", title="Price rules"), a_task("LANDS"))
    row = {"task_id": "WORKED", "lease_token": 1, "agent_id": "auto-h.1", "run_id": "r", "provider": "claude"}
    row |= {"tier": "high", "model": "opus", "host": "h", "state": "working", "last_act": "runs npm test"}
    entry = {"task_id": "LANDS", "repository": "r", "host": "h", "path": "/", "target": "main", "number": 1}

    async def fill(tx: Transaction) -> None:
        await tx.workers.add({**row, "tokens_in": 12_000, "tokens_out": 345, "cost_usd": 1.25})
        await tx.submissions.add({**entry, "commit_sha": "c", "base_sha": "b", "reason": "waits for a review"})

    await bench.write(fill)
    result = await bench.call("status", OWNER)
    page = await bench.call("attention", OWNER)

    assert result["running"] == page["running"] and result["merging"] == page["merging"]
    lines = screen(result, 80, 40)
    worker = next(line for line in lines if line.startswith("WORKED"))
    assert all(word in worker for word in ("working", "auto-h.1", "12.3k", "$1.25")), worker
    lands = next(line for line in lines if line.startswith("LANDS"))
    assert all(word in lands for word in ("m-1", "queued", "review")), lands
    assert heads(lines)[:2] == ["Running", "Merge"]
