"""The overview: needs first, decided in place; what runs; why nothing does."""

import re

import pytest

from tests.operations.test_attention import everything
from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.web import CSRF, READER, a_visitor, caller_of, operations, visiting
from tests.support.yard import Yard
from wvo_mcp.domain.access import Principal
from wvo_mcp.domain.lease import Role
from wvo_mcp.operations import ALL
from wvo_mcp.ports import Transaction

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1", "DASH-2")]

OPERATOR, VIEWER, ADMIN = a_visitor(Role.OPERATOR), a_visitor(Role.VIEWER), a_visitor(Role.ADMIN)
HOSTILE = "<script>alert(1)</script>\x1b[31m'\"&{{7*7}}"


@pytest.mark.parametrize("who", [READER, VIEWER, OPERATOR, ADMIN])
async def test_an_empty_store_says_what_to_do_next(bench: Bench, who: Principal) -> None:
    async with visiting(bench, who) as client:
        page = await client.get("/")

    assert page.status_code == 200
    assert "Nothing waits for a person." in page.text
    assert "There are no tasks yet." in page.text
    assert "wvo-mcp init" in page.text


async def test_every_need_is_shown_with_its_evidence_in_the_order_of_the_terminal(bench: Bench) -> None:
    await everything(bench)
    needs = (await bench.call("attention", OWNER))["needs"]

    async with visiting(bench, OPERATOR) as client:
        html = (await client.get("/")).text

    keys = [(one.get("approval_id") or one["id"]).replace(" ", "-") for one in needs]
    places = [html.index(f'id="need-{key}-{one["why"]}"') for key, one in zip(keys, needs, strict=True)]
    assert places == sorted(places)
    for shown in ("git push", "Which of the two?", "no such host", "Is it Friday?", "1 failed", "the remote is away"):
        assert shown in html
    assert "&#34;minutes&#34;: 60" in html


@pytest.mark.requirement("DASH-2")
async def test_each_role_is_offered_what_it_may_do(bench: Bench) -> None:
    await everything(bench)
    offered: dict[Role, set[str]] = {}
    for role in Role:
        async with visiting(bench, a_visitor(role)) as client:
            offered[role] = {*operations((await client.get("/")).text)}

    assert offered[Role.VIEWER] == set()
    assert offered[Role.OPERATOR] == offered[Role.ADMIN] >= {
        "add", "alert_ack", "answer", "approve", "cancel", "deny", "health_run", "message_ack", "pause", "retry", "stop",
        "unblock",
    }  # fmt: skip
    for role, names in offered.items():
        assert all(ALL[name].role <= role for name in names)
    assert not offered[Role.AGENT] & {"approve", "deny", "answer", "pause", "stop"}


@pytest.mark.requirement("DASH-2")
@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ("answer", {"id": "A-3", "body": "the first"}),
        ("answer", {"id": "n-1", "body": "yes"}),
        ("approve", {"id": "A-2", "confirmed": "yes"}),
        ("deny", {"id": "A-2", "reason": "not now"}),
        ("retry", {"task_id": "FAILS"}),
        ("unblock", {"task_id": "STOPPED"}),
        ("alert_ack", {"alert_id": "4", "note": "seen"}),
        ("message_ack", {"message_ids": "n-2"}),
        ("cancel", {"task_id": "RED", "confirmed": "yes"}),
    ],
)
async def test_what_is_decided_on_the_page_is_no_need_any_more(
    bench: Bench, operation: str, fields: dict[str, str]
) -> None:
    await everything(bench)
    before = (await bench.call("attention", OWNER))["needs_count"]
    form = {"csrf": CSRF, "back": "/", "seen": str(await bench.read(lambda tx: tx.events.last_seq())), **fields}

    async with visiting(bench, OPERATOR) as client:
        answer = await client.post(f"/do/{operation}", data=form)

    assert answer.status_code == 303, answer.text
    assert (await bench.call("attention", OWNER))["needs_count"] < before
    if operation != "message_ack":  # no event tells of what was read
        (event,) = (await bench.call("events", limit=1, last=True))["events"]
        assert event["agent_id"] == "pat"


async def test_the_json_of_the_page_is_the_result_of_its_operation(bench: Bench) -> None:
    await everything(bench)
    async with visiting(bench, VIEWER) as client:
        data = (await client.get("/index.json")).json()

    expected = await ALL["attention"](bench.services, caller_of(VIEWER, None, None), {})
    asked = [one["approval"] for one in expected["needs"] if one.get("approval")]
    more = [one["approval_id"] for one in asked if one["kind"] == "command" or one.get("question")]
    assert data == {**expected, "shown": data["shown"]}
    assert [*data["shown"]] == more


async def test_two_questions_about_one_task_are_two_rows(bench: Bench) -> None:
    await bench.create(a_task("A"))

    async def ask(tx: Transaction) -> None:
        for number in range(2):
            subject = {"task_id": "A", "commit": "c", "question": f"land m-{number}"}
            await tx.approvals.add(
                {"kind": "merge", "task_id": "A", "subject": subject, "expires_at": "2100-01-01T00:00:00Z"}
            )

    await bench.write(ask)
    async with visiting(bench, OPERATOR) as client:
        html = (await client.get("/")).text

    assert [html.count(f'id="need-A-{number}-approval"') for number in (1, 2)] == [1, 1]


async def test_a_pause_says_so_and_offers_to_resume(bench: Bench) -> None:
    await bench.create(a_task("A"))
    await bench.call("pause", OWNER, reason="lunch", gently=True)

    async with visiting(bench, OPERATOR) as client:
        html = (await client.get("/")).text

    assert "Nothing runs" in html
    assert "Work is paused; workers finish their tasks: lunch." in html
    assert "resume" in operations(html)
    assert "pause" not in operations(html)


async def test_what_runs_says_since_when_and_in_which_state(bench: Bench) -> None:
    await bench.create(a_task("A"), a_task("B"))
    await bench.claim(BOB, "A")
    await bench.call("checkpoint", BOB, task_id="A", summary="half", progress=50)

    async with visiting(bench) as client:
        html = (await client.get("/")).text
        bench.servers.kill(BOB.session_id)
        gone = (await client.get("/")).text

    assert 'id="run-A"' in html
    assert ">working<" in html
    assert "50 %" in html
    assert ">server gone<" in gone


async def test_texts_of_agents_are_shown_and_never_obeyed(bench: Bench) -> None:
    await bench.create(a_task("A", title=HOSTILE), a_task("B", title=HOSTILE, requires_approval=True))
    await bench.claim(BOB, "A")
    await bench.call("fail_task", BOB, task_id="A", error=HOSTILE, retry=False)
    await bench.call("message_send", ANN, to="person", body=HOSTILE, kind="question")
    await bench.write(lambda tx: tx.alerts.raise_alert("odd", "critical", None, HOSTILE, {"said": HOSTILE}))
    await bench.call("pause", OWNER, reason=HOSTILE)

    async with visiting(bench, OPERATOR) as client:
        for address in ("/", "/tasks", "/approvals", "/alerts", "/tasks?status=failed"):
            html = (await client.get(address)).text
            assert "<script>alert" not in html
            assert "\x1b" not in html
            assert "{{7*7}}" in html


async def test_the_changes_of_work_that_waits_for_an_approval_are_folded_into_it(yard: Yard) -> None:
    base = yard.git("rev-parse", "HEAD")
    yard.write(yard.root, {"code.py": "a = '<b>'\n"})
    commit = yard.save("change")
    await yard.bench.create(a_task("T1"))

    async def ask(tx: Transaction) -> None:
        entry = {"agent_id": "ann", "repository": "r", "host": "here", "path": "/p", "target": "main"}
        entry |= {"number": await tx.submissions.next_number("T1"), "base_sha": base, "commit_sha": commit}
        await tx.submissions.add({**entry, "task_id": "T1"})
        subject = {"task_id": "T1", "commit": commit, "question": "land m-1 of T1"}
        await tx.approvals.add(
            {"kind": "merge", "task_id": "T1", "subject": subject, "expires_at": "2100-01-01T00:00:00Z"}
        )

    await yard.bench.write(ask)
    async with visiting(yard.bench, OPERATOR, yard.services) as client:
        for address in ("/", "/approvals"):
            html = (await client.get(address)).text
            assert '<span class="add">+a = &#39;&lt;b&gt;&#39;' in html
            assert 'class="changes"' in html


async def test_each_control_has_an_id_of_its_own_that_outlives_versions(bench: Bench) -> None:
    await everything(bench)

    async def ids(address: str) -> list[str]:
        async with visiting(bench, OPERATOR) as client:
            return re.findall(r'id="(do-[^"]+)"', (await client.get(address)).text)

    for address in ("/", "/tasks", "/approvals", "/alerts"):
        found = await ids(address)
        assert found and len(found) == len(set(found))
    before = await ids("/tasks?status=in_progress")
    await bench.call("update_task", OWNER, task_id="CALM", priority="high")
    assert await ids("/tasks?status=in_progress") == before


async def test_needs_are_read_to_their_end_and_said_to_be_so_many(bench: Bench) -> None:
    await everything(bench)
    needs = (await bench.call("attention", OWNER))["needs"]
    keys = [(one.get("approval_id") or one["id"], one["why"]) for one in needs]
    found: list[tuple[str, str]] = []
    async with visiting(bench, OPERATOR) as client:
        for skip in range(0, len(needs), 2):
            data = (await client.get(f"/index.json?limit=2{f'&skip={skip}' if skip else ''}")).json()
            found += [(one.get("approval_id") or one["id"], one["why"]) for one in data["needs"]]
        html = (await client.get("/?limit=2&skip=2")).text

    assert found == keys
    assert f"3 to 4 of {len(needs)}." in html
    assert 'href="/?limit=100&amp;skip=4"' in html


async def test_of_tasks_of_which_only_some_are_listed_the_way_to_all_is_given(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{number}") for number in range(21)))

    for number in range(21):
        await bench.claim(ANN, task_id=f"T{number}")
        await bench.call("block_task", ANN, task_id=f"T{number}", reason="no disk")
    async with visiting(bench, VIEWER) as client:
        html = (await client.get("/")).text

    assert 'at most; <a href="/tasks?status=blocked">all 21</a>' in html
