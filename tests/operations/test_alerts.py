"""The alerts as tools."""

from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import Forbidden, InvalidInput, NotFound
from wvo_mcp.ports import Transaction

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("HEALTH-3")]
WRONG_CURSORS = ["x", "-1", "0", "\u00b2", "1" * 30]


@pytest.fixture
async def alerted(bench: Bench) -> Bench:
    """Seven alerts, every third resolved; severities in turn."""
    for number in range(7):
        severity = ("info", "warning", "critical")[number % 3]

        async def change(tx: Transaction, number: int = number, severity: str = severity) -> None:
            await tx.alerts.raise_alert(f"kind-{number % 2}", severity, f"T{number}", "m" * 500, {"x": "y" * 3_000})
            if number % 3 == 0:
                await tx.alerts.resolve_alert(f"kind-{number % 2}", f"T{number}")

        await bench.write(change)
    return bench


async def tasks_of(bench: Bench, **asked: Any) -> list[str]:
    return [alert["task_id"] for alert in (await bench.call("alerts", **asked))["alerts"]]


async def test_alerts_are_listed_newest_first_and_filtered(alerted: Bench) -> None:
    assert await tasks_of(alerted) == ["T5", "T4", "T2", "T1"]
    assert await tasks_of(alerted, state="all") == ["T6", "T5", "T4", "T3", "T2"], "as much as one result may have"
    assert await tasks_of(alerted, kind="kind-0") == ["T4", "T2"]
    assert await tasks_of(alerted, severity="critical") == ["T5", "T2"]
    assert await tasks_of(alerted, severity="warning", kind="kind-1", state="all") == ["T5", "T1"]
    assert await tasks_of(alerted, kind="no such kind") == []
    assert (await alerted.call("alerts", limit=1))["open"] == {"critical": 2, "warning": 2, "info": 0}


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_pages_join_without_gap_or_repeat(alerted: Bench, limit: int) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        page = await alerted.call("alerts", state="all", limit=limit, **({"cursor": cursor} if cursor else {}))
        seen += [alert["task_id"] for alert in page["alerts"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == [f"T{number}" for number in range(6, -1, -1)]


@pytest.mark.parametrize("cursor", WRONG_CURSORS)
async def test_a_wrong_cursor_is_named(bench: Bench, cursor: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        await bench.call("alerts", cursor=cursor)
    assert raised.value.details["field"] == "cursor"


@pytest.mark.parametrize(("verb", "caller"), [("alert_ack", ANN), ("alert_resolve", OWNER)])
async def test_an_unknown_alert_is_not_found_and_open_ones_are_named(alerted: Bench, verb: str, caller: Caller) -> None:
    with pytest.raises(NotFound) as raised:
        await alerted.call(verb, caller, alert_id=99)
    assert raised.value.details["near"] == ["6", "3", "5", "2"], "the worst first"


async def test_a_person_ends_an_alert_and_what_is_still_wrong_is_raised_anew(alerted: Bench) -> None:
    alert_id = (await alerted.call("alerts"))["alerts"][0]["id"]

    ended = await alerted.call("alert_resolve", OWNER, alert_id=alert_id, reason="nobody watches it")
    again = await alerted.call("alert_resolve", OWNER, alert_id=alert_id)
    new = await alerted.write(lambda tx: tx.alerts.raise_alert("kind-1", "critical", "T5", "still"))

    assert ended == again
    assert ended["alert"]["resolved_at"] is not None
    assert new
    assert await tasks_of(alerted) == ["T5", "T4", "T2", "T1"]
    assert (await alerted.call("alerts", limit=1))["alerts"][0]["id"] != alert_id


async def test_the_status_shows_the_worst_alerts_however_many_came_after(bench: Bench) -> None:
    await bench.write(lambda tx: tx.alerts.raise_alert("first", "critical", None, "the oldest"))
    for number in range(25):
        await bench.write(lambda tx, number=number: tx.alerts.raise_alert(f"later-{number}", "warning", None, "newer"))

    shown = (await bench.call("status"))["alerts"]

    assert [alert["kind"] for alert in shown[:2]] == ["first", "later-24"]


@pytest.mark.requirement("SAFE-4")
@pytest.mark.parametrize(
    "kind", ["violation", "approval", "review_lost", "merge_conflict", "worker", "trust", "roadmap_guard"]
)
async def test_what_tells_people_of_agents_is_acknowledged_by_people(bench: Bench, kind: str) -> None:
    await bench.write(lambda tx: tx.alerts.raise_alert(kind, "critical", None, "look"))

    with pytest.raises(Forbidden):
        await bench.call("alert_ack", ANN, alert_id=1)
    assert (await bench.call("alert_ack", OWNER, alert_id=1))["alert"]["acknowledged_by"] == "owner"


@pytest.mark.requirement("SAFE-4")
async def test_no_agent_acknowledges_an_alert_about_itself_or_its_work(bench: Bench) -> None:
    await bench.create(a_task("T1", max_attempts=1))
    claim = await bench.claim(ANN, "T1")
    await bench.call("fail_task", ANN, task_id="T1", lease_token=claim["lease"]["token"], error="broken")
    stale = {"tasks": [{"id": "T9", "agent": "ann"}]}
    await bench.write(lambda tx: tx.alerts.raise_alert("stale_tasks", "warning", None, "silent", stale))

    for alert in (await bench.call("alerts"))["alerts"]:
        with pytest.raises(Forbidden, match="ann"):
            await bench.call("alert_ack", ANN, alert_id=alert["id"])
        await bench.call("alert_ack", BOB, alert_id=alert["id"])
