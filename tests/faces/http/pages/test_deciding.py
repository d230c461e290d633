"""Approvals are answered as they ask, and keep their history; alerts come with their evidence."""

from typing import Any

import pytest

from tests.operations.test_attention import everything
from tests.support.bench import ANN, OWNER, Bench, a_task
from tests.support.web import CSRF, READER, a_visitor, caller_of, operations, visiting
from tests.support.yard import Yard
from wvo_mcp.domain.access import Principal
from wvo_mcp.domain.approval import ApprovalKind, subject_of_budget
from wvo_mcp.domain.lease import Policy, Role
from wvo_mcp.domain.providers.state import Window
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.approvals import deciding
from wvo_mcp.ports import Transaction

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1", "DASH-2")]

OPERATOR = a_visitor(Role.OPERATOR)


def part(html: str, row: str) -> str:
    return html.partition(f'id="{row}"')[2].partition("<!--/row-->")[0]


@pytest.mark.parametrize("who", [READER, *map(a_visitor, Role)])
@pytest.mark.parametrize("address", ["/approvals", "/approvals?state=all", "/alerts", "/alerts?severity=critical"])
async def test_nothing_to_decide_is_said(bench: Bench, who: Principal, address: str) -> None:
    async with visiting(bench, who) as client:
        page = await client.get(address)

    assert page.status_code == 200
    assert '<p class="empty">' in page.text


async def test_a_question_is_answered_and_a_command_is_approved(bench: Bench) -> None:
    await everything(bench)
    async with visiting(bench, OPERATOR) as client:
        html = (await client.get("/approvals")).text
        assert {*operations(part(html, "approval-A-3"))} == {"answer", "deny"}
        assert {*operations(part(html, "approval-A-2"))} == {"approve", "deny"}
        seen: Any = {"csrf": CSRF, "id": "A-3", "body": "the first\r\nof them"}
        assert (await client.post("/do/answer", data=seen)).status_code == 303
        history = (await client.get("/approvals?state=all")).text

    assert operations(part(history, "approval-A-3")) == []
    assert "the first\nof them" in part(history, "approval-A-3")
    assert (await bench.task("WONDERS")).status == "pending"


async def test_the_json_of_both_is_that_of_their_operations(bench: Bench) -> None:
    await everything(bench)
    caller = caller_of(READER, None, None)
    async with visiting(bench) as client:
        approvals = (await client.get("/approvals.json")).json()
        alerts = (await client.get("/alerts.json")).json()

    asked = {"state": "open", "limit": 50}
    found = await ALL["approvals"](bench.services, caller, asked)
    more = [one["approval_id"] for one in found["approvals"] if one["kind"] == "command" or one.get("question")]
    assert approvals == {**found, "shown": approvals["shown"]}
    assert [*approvals["shown"]] == more
    assert alerts == await ALL["alerts"](bench.services, caller, asked)


async def test_a_budget_shows_its_limit_and_use(yard: Yard) -> None:
    subject = subject_of_budget(Window("provider", "claude", "hour", 1_000, 0, 900, 0), 2_000, 500)

    async def ask(tx: Transaction) -> None:
        await deciding.ask_apart(tx, Policy(), ApprovalKind.BUDGET, "budget", subject)

    await yard.bench.write(ask)
    async with visiting(yard.bench, OPERATOR, yard.services) as client:
        html = (await client.get("/approvals")).text

    assert "provider claude, tokens per hour" in html
    assert "2,000; waiting work wants about 500" in html


async def test_a_person_who_decides_reads_the_reason_that_the_agent_gave(yard: Yard) -> None:
    bench = yard.bench
    await bench.create(a_task("T1"))
    token = (await bench.claim(ANN, "T1"))["lease"]["token"]
    given = {"task_id": "T1", "lease_token": token, "command": "rm -rf build", "reason": "it is <stale>"}
    await bench.call("approval_request", ANN, **given)
    async with visiting(bench, OPERATOR, yard.services) as client:
        pages = [(await client.get(address)).text for address in ("/", "/approvals")]

    assert all("Reason given: it is &lt;stale&gt;" in html for html in pages)


async def test_an_alert_about_an_approval_leads_to_where_it_is_decided(bench: Bench) -> None:
    await everything(bench)
    async with visiting(bench, OPERATOR) as client:
        html = (await client.get("/alerts?kind=approval")).text

    assert '<a href="/approvals">Approve or deny</a>' in html


async def test_what_cannot_be_shown_in_full_is_said_and_can_be_decided(bench: Bench) -> None:
    async def ask(tx: Transaction) -> None:
        subject = {"task_id": "T1", "commit": "c" * 40, "question": "land it"}
        await tx.approvals.add({"kind": "merge", "subject": subject, "expires_at": "2100-01-01T00:00:00Z"})

    await bench.write(ask)
    async with visiting(bench, OPERATOR) as client:
        html = (await client.get("/approvals")).text

    assert "Its changes cannot be shown: Commits is not configured here." in html
    assert {*operations(html)} == {"approve", "deny"}


async def test_alerts_are_narrowed_by_severity_and_say_their_command(bench: Bench) -> None:
    await everything(bench)
    async with visiting(bench, OPERATOR) as client:
        every = (await client.get("/alerts")).text
        critical = (await client.get("/alerts?severity=critical")).text

    assert "&#34;minutes&#34;: 60" in part(every, "alert-4")
    assert "wvo-mcp alert-ack 4" in part(every, "alert-4")
    assert 'id="alert-5"' in every
    assert 'id="alert-5"' not in critical
    assert (await bench.call("alerts", OWNER))["open"]["critical"] >= 1


async def test_every_approval_is_reached_page_by_page_open_ones_first(bench: Bench) -> None:
    await bench.create(a_task("T1"))

    async def ask(tx: Transaction) -> None:
        for number in range(9):
            subject = {"task_id": "T1", "question": str(number)}
            ends = None if number % 3 == 0 else f"2100-01-0{1 + number % 2}T00:00:00.000Z"
            asked = await tx.approvals.add({"kind": "task", "task_id": "T1", "subject": subject, "expires_at": ends})
            if number > 5:
                await tx.approvals.change(asked.approval_id, {"state": "denied"})

    await bench.write(ask)
    found: list[str] = []
    async with visiting(bench, OPERATOR) as client:
        address: str | None = "/approvals.json?state=all&limit=2"
        while address is not None:
            data = (await client.get(address)).json()
            found += [one["approval_id"] for one in data["approvals"]]
            cursor = data.get("next_cursor")
            address = None if cursor is None else f"/approvals.json?state=all&limit=2&cursor={cursor}"
        html = (await client.get("/approvals?state=all&limit=2")).text
        last = (await client.get("/approvals?state=all&limit=9")).text

    assert found == ["A-3", "A-5", "A-2", "A-6", "A-1", "A-4", "A-9", "A-8", "A-7"]
    assert 'cursor=open-5"' in html
    assert "More approvals" not in last
