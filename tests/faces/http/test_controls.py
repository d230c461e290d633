"""What people do on pages: who may, what a form must carry, and that an old page does nothing by mistake."""

from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest

from tests.support.bench import ANN, Bench, a_task
from tests.support.sessions import an_agent
from tests.support.web import ADMIN, CSRF, OPERATOR, READER, visiting
from wvo_mcp.domain.access import Principal, Via
from wvo_mcp.domain.lease import Role
from wvo_mcp.faces.http import seen as seeing
from wvo_mcp.faces.http.controls import ASKED_TWICE
from wvo_mcp.operations import ALL, Audience, Effect

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-2", "DASH-3")]

FORM = {"content-type": "application/x-www-form-urlencoded"}


async def do(
    client: httpx2.AsyncClient, name: str, headers: dict[str, str] | None = None, **fields: Any
) -> httpx2.Response:
    given = {"csrf": CSRF, "back": "/approvals", **fields}
    body = urlencode([(key, value) for key, value in given.items() if value is not None])
    return await client.post(f"/do/{name}", content=body, headers={**FORM, **(headers or {})})


async def seen(bench: Bench) -> int:
    return await bench.read(lambda tx: tx.events.last_seq())


async def waiting(bench: Bench) -> str:
    """The id of an approval that a task waits for."""
    await bench.create(a_task("T1"))
    await bench.claim(task_id="T1")
    asked = await bench.call("approval_request", task_id="T1", question="Drop the table?")
    return asked["approval"]["approval_id"]


async def test_a_decision_is_made_in_the_name_of_who_is_signed_in(bench: Bench) -> None:
    approval = await waiting(bench)
    async with visiting(bench, OPERATOR) as client:
        answer = await do(client, "approve", id=approval, reason="go on", seen_task="T1", seen=await seen(bench))

    assert answer.status_code == 303
    assert answer.headers["location"] == "/approvals?did=approve"
    decided = (await bench.call("approval_status", approval_id=approval))["approvals"][0]
    assert (decided["state"], decided["decided_by"], decided["reason"]) == ("approved", "olga", "go on")


async def test_with_htmx_the_answer_is_a_line_for_the_page(bench: Bench) -> None:
    approval = await waiting(bench)
    async with visiting(bench, OPERATOR) as client:
        done = await do(client, "deny", {"hx-request": "true"}, id=approval, reason="no")
        again = await do(client, "approve", {"hx-request": "true"}, id=approval)

    assert done.status_code == 200 and "Done: deny" in done.text
    assert again.status_code == 409 and 'role="alert"' in again.text
    assert "<html" not in done.text + again.text


@pytest.mark.parametrize("token", [None, "", "wrong", "righ", "right "])
async def test_a_form_without_the_token_of_the_session_does_nothing(bench: Bench, token: str | None) -> None:
    approval = await waiting(bench)
    async with visiting(bench, OPERATOR) as client:
        answer = await do(client, "approve", id=approval, csrf=token)

    assert answer.status_code == 403
    assert (await bench.call("approval_status", approval_id=approval))["open"] == 1


async def test_nobody_who_is_not_signed_in_decides_or_changes_anything(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    for principal in (READER, Principal("http", Role.AGENT, Via.LOOPBACK)):
        async with visiting(bench, principal) as client:
            for name, op in ALL.items():
                answer = await do(client, name, confirmed="yes", task_id="T1", id="T1")
                assert answer.status_code == (404 if op.effect is Effect.READ else 403), name


async def test_each_control_needs_the_role_of_its_operation(bench: Bench) -> None:
    for role in (Role.VIEWER, Role.OPERATOR):
        async with visiting(bench, Principal("vera", role, Via.SESSION, "s", csrf=CSRF)) as client:
            for name, op in ALL.items():
                if op.effect is not Effect.READ:
                    answer = await do(client, name, confirmed="yes")
                    assert (answer.status_code == 403) == (role < op.remote_role), (name, role, answer.text[:500])


async def test_an_agent_with_a_token_reaches_nothing_that_people_do(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    async with visiting(bench, Principal("bot", Role.AGENT, Via.TOKEN, "t")) as client:
        for name, op in ALL.items():
            if op.audience is Audience.PEOPLE and op.effect is not Effect.READ:
                assert (await do(client, name, confirmed="yes", task_id="T1")).status_code == 403, name
        assert "/do/add" not in (await client.get("/tasks")).text
    assert await bench.status("T1") == ["pending"]


async def test_a_page_that_an_agent_looks_at_takes_no_message_from_it(bench: Bench) -> None:
    await bench.call("agent_register", an_agent("bot"))
    await bench.call("message_send", ANN, to="bot", body="hello")
    async with visiting(bench, Principal("bot", Role.AGENT, Via.TOKEN, "t")) as client:
        assert (await client.get("/index.json")).status_code == 200

    told = await bench.call("claim_task", an_agent("bot"))
    assert "hello" in str(told.get("notices"))


async def test_a_page_that_is_older_than_the_task_decides_nothing(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(task_id="T1")
    await bench.call("block_task", task_id="T1", reason="no disk")
    old = await seen(bench)
    await bench.call("update_task", ANN, task_id="T1", title="Something else")

    async with visiting(bench, OPERATOR) as client:
        refused = await do(client, "unblock", task_id="T1", seen_task="T1", seen=old)
        assert refused.status_code == 409
        assert await bench.status("T1") == ["blocked"]
        done = await do(client, "unblock", task_id="T1", seen_task="T1", seen=await seen(bench))

    assert done.status_code == 303
    assert await bench.status("T1") == ["pending"]


async def test_many_signs_of_life_hide_no_change(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(task_id="T1")
    old = await seen(bench)
    for number in range(seeing.LOOKED_AT):
        await bench.call("heartbeat", task_id="T1", note=str(number))
    await bench.call("block_task", task_id="T1", reason="no disk")

    async with visiting(bench, ADMIN) as client:
        refused = await do(client, "cancel", task_id="T1", reason="no", confirmed="yes", seen_task="T1", seen=old)

    assert refused.status_code == 409
    assert await bench.status("T1") == ["blocked"]


async def test_signs_of_life_do_not_make_a_page_old(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(task_id="T1")
    old = await seen(bench)
    await bench.call("heartbeat", task_id="T1", progress=50, note="half")
    await bench.call("checkpoint", task_id="T1", summary="half of it")

    async with visiting(bench, ADMIN) as client:
        done = await do(client, "cancel", task_id="T1", reason="no", confirmed="yes", seen_task="T1", seen=old)

    assert done.status_code == 303
    assert await bench.status("T1") == ["cancelled"]


@pytest.mark.parametrize("name", sorted(ASKED_TWICE & ALL.keys()))
async def test_what_cannot_be_undone_is_asked_once_more_without_a_script(bench: Bench, name: str) -> None:
    before = await seen(bench)
    async with visiting(bench, ADMIN) as client:
        asked = await do(client, name, reason="<b>", id="x")

    assert asked.status_code == 200
    assert 'name="confirmed" value="yes"' in asked.text
    assert "&lt;b&gt;" in asked.text
    assert await seen(bench) == before


async def test_to_approve_what_runs_at_once_is_asked_once_more_with_all_that_runs(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"))
    await bench.claim(task_id="T1")
    asked = await bench.call("approval_request", task_id="T1", command="git push --force <origin>")
    approval = asked["approval"]["approval_id"]

    async with visiting(bench, OPERATOR) as client:
        html = (await client.get("/approvals")).text
        for known in (approval, "T1"):
            once = await do(client, "approve", id=known)
            assert once.status_code == 200 and 'name="confirmed" value="yes"' in once.text
            assert "git push --force &lt;origin&gt;" in once.text
            assert (await bench.call("approval_status", approval_id=approval))["open"] == 1
        twice = await do(client, "approve", id=approval, confirmed="yes")

    assert 'data-confirm="Approve A-1? It cannot be undone: run `git push --force &lt;origin&gt;`"' in html
    assert twice.status_code == 303
    assert (await bench.call("approval_status", approval_id=approval))["approvals"][0]["state"] == "approved"


@pytest.mark.parametrize(
    "back", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", "\r\nSet-Cookie: a=b"]
)
async def test_the_way_back_never_leads_away(bench: Bench, back: str) -> None:
    async with visiting(bench, OPERATOR) as client:
        answer = await do(client, "pause", confirmed="yes", reason="lunch", back=back, seen=0)

    assert answer.headers["location"] == "/?did=pause"
    assert "set-cookie" not in answer.headers


async def test_two_people_decide_once(bench: Bench) -> None:
    approval = await waiting(bench)
    async with visiting(bench, OPERATOR) as olga, visiting(bench, ADMIN) as ada:
        first = await do(olga, "approve", id=approval)
        second = await do(ada, "deny", id=approval, reason="no")

    assert (first.status_code, second.status_code) == (303, 409)
    assert "olga" in second.text


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (f"id=%ff%fe&csrf={CSRF}".encode(), FORM["content-type"]),
        (b"&".join(b"a%d=1" % n for n in range(300)), FORM["content-type"]),
        (f'{{"csrf": "{CSRF}"}}'.encode(), "application/json"),
        (f"csrf={CSRF}".encode(), "text/plain"),
    ],
)
async def test_a_form_that_is_none_is_refused_and_said(bench: Bench, content: bytes, kind: str) -> None:
    async with visiting(bench, OPERATOR) as client:
        signed = {"content-type": kind, "x-csrf-token": CSRF}
        answer = await client.post("/do/pause", content=content, headers=signed)

    assert answer.status_code == 400
    assert await bench.read(lambda tx: tx.state.get("paused")) in (None, False)
