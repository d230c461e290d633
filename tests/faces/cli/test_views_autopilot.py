"""The autopilot's screen: who does what, why it waits, and what a person has to do, at any width, whatever agents write."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console, RenderableType

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.faces.cli.views import autopilot, view

pytestmark = pytest.mark.requirement("WORK-10")

NOW = instant("2026-03-02T10:00:00.000Z")
HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202eevil\n" + "x" * 1_000_000


def ago(**time: float) -> str:
    return iso(NOW - timedelta(**time))


def worker(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "worker_id": f"w-{number}",
        "task_id": f"T{number}",
        "title": "Price rules of the checkout",
        "provider": "claude",
        "tier": "high",
        "model": "claude-sonnet-5",
        "state": "working",
        "reason": None,
        "since": ago(seconds=72),
        "last_act": "Bash: npm test",
        "resets_at": None,
        "tokens_in": 120_000,
        "tokens_out": 3_400,
        "cost_usd": 0.314,
        "reserved_usd": 0.4,
        **fields,
    }


def approval(number: int, **fields: Any) -> dict[str, Any]:
    left = iso(NOW + timedelta(hours=23, minutes=5))
    return {
        "approval_id": f"A-{number}",
        "kind": "command",
        "task_id": "T3",
        "about": "git push origin main",
        "expires_at": left,
        **fields,
    }


def running(*workers: dict[str, Any], approvals: Any = (), **fields: Any) -> autopilot.Running:
    counts = {"done": 3, "ready": 5, "failed": 1}
    state = {"workers": workers, "approvals": approvals, "counts": counts, "spent_usd": 0.72, "paused": False}
    return autopilot.Running(state, NOW, NOW - timedelta(minutes=4), 3, **fields)


def lines(shown: RenderableType, width: int, height: int = 24) -> list[str]:
    out = StringIO()
    Console(file=out, width=width, height=height, highlight=False, force_terminal=True, color_system=None).print(shown)
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 140])
def test_two_lines_say_who_does_what_since_when_and_at_what_cost(width: int) -> None:
    shown = lines(running(worker(1), cap=5.0), width)

    assert shown[1:-2] == ["1/3 workers · 4 min · $0.63 of $5.00, $0.09 reserved", "3 done · 5 ready · 1 failed"]
    assert shown[-2].split()[:4] == [
        "w-1",
        "claude/high",
        "T1" if width == 80 else "claude-sonnet-5",
        "Price" if width == 80 else "T1",
    ]
    assert shown[-2].endswith("working 1 min   123k   $0.31")
    assert shown[-1].strip() == "Bash: npm test"


@pytest.mark.requirement("WS-8")
def test_a_worker_that_works_alone_says_why_beside_what_it_does() -> None:
    alone = worker(1, reason="calls Bash; deterministic: WVO_EXECUTION_MODE")

    assert lines(running(alone), 80)[-1].strip() == "Bash: npm test  deterministic: WVO_EXECUTION_MODE"


def test_a_limit_counts_down_and_says_why() -> None:
    at = iso(NOW + timedelta(minutes=12, seconds=30))
    limited = worker(2, state="limited", reason="5 hour limit", resets_at=at)

    shown = lines(running(limited), 80)

    assert "limited 1 min" in shown[3]
    assert shown[4].strip().startswith("goes on in 12 min (")
    assert shown[4].endswith("5 hour limit")


def test_an_approval_is_a_command_to_paste() -> None:
    waiting = worker(3, state="waiting_approval", reason="waits for approval A-17")

    shown = lines(running(waiting, approvals=[approval(17)]), 80)

    assert "Needs you" in shown
    assert shown[-1] == "wvo-mcp approve A-17  (23 h 5 min left)  T3: git push origin main"


@pytest.mark.parametrize("width", [40, 80, 140])
def test_what_agents_write_neither_steers_nor_floods_the_terminal(width: int) -> None:
    bad = worker(1, title=HOSTILE, last_act=HOSTILE, task_id="T1", model=HOSTILE[:300])
    worse = worker(2, state="stuck", reason=HOSTILE, provider="p" * 500)
    shown = lines(running(bad, worse, approvals=[approval(1, about=HOSTILE)], ending=HOSTILE[:50]), width)
    shown += lines(
        autopilot.news({"event": "launched", "task_id": "T1", "reason": HOSTILE, "more": HOSTILE}, NOW), width
    )
    shown += lines(autopilot.plan({"workers": 1, "notes": [HOSTILE[:300]], "tiers": []}), width)
    found = {"failed": [{"task_id": "T1", "reason": HOSTILE}], "ended": HOSTILE[:50]}
    shown += lines(autopilot.summary(found, NOW), width)

    assert len(shown) < 70
    assert max(map(len, shown)) <= width
    assert not set("\x1b\x07\u202e") & set("".join(shown))


def test_more_workers_than_the_screen_has_lines_are_counted() -> None:
    shown = lines(running(*(worker(number) for number in range(40))), 80, 24)

    assert len(shown) <= 24
    assert "+33 more: wvo-mcp workers" in shown


def test_what_a_run_may_cost_is_said_before_it_begins() -> None:
    found = {
        "workers": 3,
        "max_tasks": 9,
        "max_cost_usd": 5.0,
        "tiers": [{"provider": "claude", "tier": tier, "model": tier[0]} for tier in ("low", "high")],
        "estimate_usd": {"usual": 0.93, "most": 5.0},
        "day_cap_usd": 20.0,
        "day_spent_usd": 3.5,
        "ready": 2,
        "open": 7,
        "notes": ["codex: there is no login for workers"],
    }

    assert lines(autopilot.plan(found), 80) == [
        "Up to 3 workers at once, at most 9 tasks, for at most $5.00.",
        "Likely cost: $0.93, at most $5.00.",
        "Today: $3.50 of $20.00 spent.",
        "  claude: l (low), h (high)",
        "2 tasks are ready, 7 open.",
        "codex: there is no login for workers",
    ]
    assert "no limit on cost" in lines(autopilot.plan({"workers": 1}), 80)[0]


def test_the_last_line_counts_and_each_task_says_why() -> None:
    found = {
        "done": [{"task_id": "T1", "commit": "0123456789abcdef"}, {"task_id": "T2", "no_changes": True}],
        "failed": [{"task_id": "T3", "reason": "tests fail"}],
        "waiting": [{"task_id": "T4", "reason": "git push", "approval_id": "A-17"}],
        "cost_usd": 0.72,
        "ended": "nothing is left to do",
    }
    shown = lines(autopilot.summary(found, NOW), 80)

    assert shown == [
        "",
        "became   task  commit      why",
        "done     T1    0123456789",
        "done     T2                nothing was changed",
        "failed   T3                tests fail",
        "waiting  T4                git push; wvo-mcp approve A-17",
        "Ended: nothing is left to do.",
        "2 done, 0 landed, 1 failed, 1 waiting; $0.72",
    ]


def test_what_landed_is_listed_once_with_the_commit_that_landed() -> None:
    found = {
        "done": [{"task_id": "T1", "commit": "0123456789abcdef"}, {"task_id": "T2", "no_changes": True}],
        "landed": [{"task_id": "T1", "commit": "fedcba9876543210"}],
    }
    assert lines(autopilot.summary(found, NOW), 80)[1:] == [
        "became  task  commit      why",
        "done    T2                nothing was changed",
        "landed  T1    fedcba9876",
        "2 done, 1 landed, 0 failed, 0 waiting",
    ]


def test_news_say_what_became_of_a_task_and_what_was_refused_or_asked() -> None:
    done = {
        "event": "ended",
        "task_id": "T1",
        "worker_id": "w-1",
        "provider": "claude",
        "outcome": "completed",
        "task": "done",
    }
    refused = {"event": "refused", "task_id": "T2", "worker_id": "w-2", "command": "rm -rf /srv", "reason": "outside"}
    asks = {**refused, "event": "asks", "command": "git push", "approval_id": "A-3", "reason": "waits"}

    shown = [lines(autopilot.news(one, NOW), 100)[0][10:] for one in (done, refused, asks)]

    assert shown == [
        "done      T1         w-1  claude",
        "refused   T2         w-2  rm -rf /srv  outside",
        "asks      T2         w-2  wvo-mcp approve A-3  git push",
    ]


def test_a_reset_of_another_day_has_its_date() -> None:
    parked = {"event": "parked", "task_id": "T1", "until": iso(NOW + timedelta(days=3))}
    found = {"waiting": [{"task_id": "T1", "reason": "weekly limit", "until": iso(NOW + timedelta(days=3))}]}

    assert f"until {NOW + timedelta(days=3):%Y-%m-}" in lines(autopilot.news(parked, NOW), 80)[0]
    assert f"until {NOW + timedelta(days=3):%Y-%m-}" in lines(autopilot.summary(found, NOW), 80)[2]


def test_a_list_of_workers_has_those_that_ended_what_was_refused_and_what_it_cost() -> None:
    ended = worker(1, state="ended", outcome="failed", ended_at=ago(minutes=3), reason=HOSTILE)
    refused = {
        "at": ago(hours=2),
        "task_id": "T1",
        "worker_id": "w-1",
        "verdict": "deny",
        "rule": "rm",
        "subject": HOSTILE,
    }
    state = {
        "at": iso(NOW),
        "autopilots": [{"agent_id": "auto-here", "pid": 4711}],
        "workers": [worker(2), ended],
        "approvals": [approval(3)],
        "violations": [refused],
        "spent_usd": 1.5,
        "paused": True,
    }

    shown = lines(view("workers", state), 80)

    assert shown[:2] == ["PAUSED: wvo-mcp resume", "Autopilot auto-here runs as process 4711."]
    assert shown[2].split()[:3] == ["w-2", "claude/high", "T2"]
    assert any(line.split()[:4] == ["w-1", "T1", "failed", "3"] for line in shown)
    assert any(line.startswith("2 h ago  w-1     T1    deny") for line in shown)
    assert shown[-1] == "$1.50 spent or reserved in 24 hours."
    assert max(map(len, shown)) <= 80
    assert not set("\x1b\x07\u202e") & set("".join(shown))
