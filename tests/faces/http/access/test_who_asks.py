"""Who a request is made by, and what they may do: by what they show and where they come from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import Bench, a_task
from tests.support.visitors import AWAY, COOKIE, HERE, NAME, ROLES, House, bearer, csrf_of
from wvo_mcp.domain.access import ROLES as ROLES_BY_NAME
from wvo_mcp.domain.access import Doors
from wvo_mcp.domain.lease import Role
from wvo_mcp.errors import StoreBusy, StoreUnavailable
from wvo_mcp.faces.http.guard import STRANGERS_BYTES
from wvo_mcp.operations import ALL, Audience, Effect
from wvo_mcp.store.sqlite.store import SqliteStore

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-3", "DASH-5")]

ADDRESSES = ("/", "/api", "/api/status", "/metrics", "/nothing", "/logout")


async def test_from_elsewhere_nothing_but_health_is_open(house: House) -> None:
    async with house.visitor(AWAY) as stranger:
        assert (await stranger.get("/health")).status_code == 200
        for address in ADDRESSES:
            refused = await stranger.get(address)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert (await stranger.post(address, json={})).status_code == 401
        for address in ("/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server"):
            assert (await stranger.get(address)).status_code == 404, "no client looks for an authorization server"


async def test_a_browser_from_elsewhere_is_asked_to_sign_in(house: House) -> None:
    async with house.visitor(AWAY, {"Accept": "text/html"}) as browser:
        page = await browser.get("/")
        assert page.status_code == 401
        assert '<form method="post" action="/login"' in page.text


@pytest.mark.parametrize("address", ["/.well-known/oauth-protected-resource", "/.well-known/x", "/static/nothing.css"])
async def test_what_is_open_to_everybody_and_not_there_is_said_so(house: House, address: str) -> None:
    async with house.visitor(AWAY, {"Accept": "text/html"}) as stranger:
        assert (await stranger.get(address)).status_code == 404


async def test_from_this_machine_agents_need_nothing(bench: Bench, house: House) -> None:
    await bench.create(a_task("T"))
    async with house.visitor() as agent:
        assert (await agent.post("/api/claim_task", json={})).json()["task"]["id"] == "T"
    rows = await bench.sql("SELECT assigned_to, session_id FROM tasks")
    assert [*rows[0].values()] == ["http", "http:http"]


@pytest.mark.parametrize(
    "headers",
    [{"X-Forwarded-For": AWAY}, {"Forwarded": "for=1.2.3.4"}, {"Via": "1.1 x"}, {"X-Real-IP": AWAY}, {"Host": NAME}],
)
async def test_whoever_comes_by_a_proxy_of_this_machine_is_not_from_it(bench: Bench, headers: dict[str, str]) -> None:
    house = House(bench, Doors(allow_hosts=(NAME,)))
    async with house.visitor(HERE, headers) as visitor:
        assert (await visitor.get("/api/status")).status_code == 401
        assert (await visitor.get("/api/status", headers=bearer(await house.token("viewer")))).status_code == 200


async def test_a_server_behind_a_proxy_can_ask_everybody_for_a_token(bench: Bench) -> None:
    house = House(bench, Doors(require_token=True))
    async with house.visitor() as visitor:
        assert (await visitor.get("/api/status")).status_code == 401
        assert (await visitor.get("/health")).status_code == 200


def arguments(name: str) -> dict[str, Any]:
    """None of these is found, and what is not refused before says so."""
    required = ALL[name].schema.get("required", ())
    return {field: "NONE" for field in required}


@pytest.mark.parametrize("name", sorted(ALL))
async def test_each_role_may_do_what_it_suffices_for_and_nothing_else(house: House, name: str) -> None:
    op = ALL[name]
    for role in ROLES:
        async with house.visitor(AWAY, bearer(await house.token(role))) as visitor:
            answer = await visitor.post(f"/api/{name}", json=arguments(name))
            needed = op.remote_role
            refused = answer.json().get("error", {})
            message = refused.get("message", "")
            denied = answer.status_code == 403 and ("people only" in message or "may only read" in message)
            assert denied == (Role[role.upper()] < needed), (role, answer.text)
            listed = {route["tool"] for route in (await visitor.get("/api")).json()["tools"]}
            assert (name in listed) == (Role[role.upper()] >= needed)


def test_what_is_for_people_needs_one_who_decides() -> None:
    assert {op.remote_role for op in ALL.values() if op.audience is Audience.PEOPLE} == {Role.OPERATOR, Role.ADMIN}
    assert ALL["budget_raise"].remote_role is ALL["token_create"].remote_role is Role.ADMIN
    assert ALL["approve"].remote_role is ALL["retry"].remote_role is Role.OPERATOR


async def test_a_stolen_token_of_a_viewer_changes_nothing(bench: Bench, house: House) -> None:
    await bench.create(a_task("T"))
    token = await house.token("viewer")
    before = await bench.sql("SELECT count(*) AS n, max(seq) AS last FROM events")
    async with house.visitor(AWAY, bearer(token)) as thief:
        for name, op in ALL.items():
            if op.effect != "read":
                await thief.post(f"/api/{name}", json={**arguments(name), "task_id": "T"})
                await thief.post(f"/api/{name}", json=arguments(name))
        assert (await thief.get("/api/status")).status_code == 200
    assert await bench.sql("SELECT count(*) AS n, max(seq) AS last FROM events") == before


async def test_the_trail_names_the_person_and_the_page(bench: Bench, house: House) -> None:
    async with house.signed_in("operator") as browser:
        headers = {"X-CSRF-Token": csrf_of(browser)}
        assert (await browser.post("/api/pause", json={}, headers=headers)).status_code == 200
    (event,) = await bench.sql("SELECT agent_id, session_id FROM events WHERE kind = 'work.paused'")
    assert event["agent_id"] == "ann"
    assert event["session_id"] == f"web:{browser.cookies[COOKIE].partition('.')[0]}"


async def test_one_token_never_writes_with_the_lease_of_another(bench: Bench, house: House) -> None:
    await bench.create(a_task("T"))
    one, other = [await house.token("agent", name) for name in ("one", "other")]
    async with house.visitor(AWAY, {"WVO-Agent-Id": "zoe"}) as visitor:
        claimed = await visitor.post("/api/claim_task", json={}, headers=bearer(one))
        lease = {"task_id": "T", "lease_token": claimed.json()["lease"]["token"], "summary": "x"}
        assert (await visitor.post("/api/complete_task", json=lease, headers=bearer(other))).status_code == 409
        assert (await visitor.post("/api/complete_task", json=lease, headers=bearer(one))).status_code == 200


async def test_raw_logs_are_for_operators(house: House) -> None:
    for role in ("operator", "admin"):
        async with house.visitor(AWAY, bearer(await house.token(role))) as visitor:
            answer = await visitor.post("/api/worker_log", json={"worker_id": "w-1", "raw": True})
            assert answer.json()["error"]["code"] in ("not_found", "not_configured")
    for role in ("viewer", "agent"):
        async with house.visitor(AWAY, bearer(await house.token(role))) as visitor:
            assert (await visitor.post("/api/worker_log", json={"worker_id": "w-1", "raw": True})).status_code == 403


@pytest.mark.parametrize(
    "shown",
    ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer x", "Bearer wvo_0123456789ab_" + "x" * 43, "wvo_x", "Bearer a.b.c"],
)  # fmt: skip
async def test_a_wrong_header_is_never_taken_for_none(house: House, shown: str) -> None:
    async with house.signed_in("admin") as browser:
        for address in ("/api", "/api/status", "/", "/health", "/login"):
            answer = await browser.get(address, headers={"Authorization": shown})
            assert answer.status_code == 401, "not even with a cookie that is right, from this machine"
            assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_a_header_counts_before_a_cookie(house: House) -> None:
    viewer = bearer(await house.token("viewer"))
    async with house.signed_in("admin") as browser:
        refused = await browser.post("/api/pause", json={}, headers=viewer)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")


async def test_two_headers_are_refused(house: House) -> None:
    right = ("Authorization", f"Bearer {await house.token('admin')}")
    async with house.visitor() as visitor:
        request = visitor.build_request("GET", "/api", headers=[right, ("Authorization", "Bearer x")])
        assert (await visitor.send(request)).status_code == 401


async def test_a_token_ends_with_its_time_or_when_it_is_revoked(bench: Bench, house: House) -> None:
    short, long = await house.token("viewer", expires="1h"), await house.token("viewer")
    async with house.visitor(AWAY) as visitor:
        bench.clock.advance(hours=1)
        expired = await visitor.get("/api", headers=bearer(short))
        assert (expired.status_code, expired.json()["error"]["message"]) == (401, "The token has expired.")
        assert (await visitor.get("/api", headers=bearer(long))).status_code == 200
        await house.call("token_revoke", token_id=long.split("_")[1])
        revoked = await visitor.get("/api", headers=bearer(long))
        assert (revoked.status_code, revoked.json()["error"]["message"]) == (401, "The token was revoked.")


async def test_the_last_use_is_shown_and_costs_at_most_a_write_a_minute(bench: Bench, house: House) -> None:
    token = await house.token("viewer")
    async with house.visitor(AWAY, bearer(token)) as visitor:
        await visitor.get("/api")
        (first,) = (await house.call("token_list"))["tokens"]
        bench.clock.advance(59)
        await visitor.get("/api")
        (second,) = (await house.call("token_list"))["tokens"]
        bench.clock.advance(1)
        await visitor.get("/api")
        (third,) = (await house.call("token_list"))["tokens"]
    assert first["last_used_at"] == second["last_used_at"] < third["last_used_at"]


@pytest.mark.parametrize(
    "address",
    ["/api/status?token={}", "/api/status?access_token={}", "/api/{}", "/{}/x", "/api/list_tasks?query={}", "/api?%74oken={}"],
)  # fmt: skip
async def test_a_token_in_an_address_is_refused_and_never_logged(
    house: House, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    token = await house.token("admin")
    with caplog.at_level("INFO", "wvo_mcp"):
        async with house.visitor() as visitor:
            answer = await visitor.get(address.format(token))
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, "address")
    assert token.split("_")[1] in answer.json()["error"]["hint"]
    assert token.split("_", 2)[2] not in caplog.text + answer.text


async def test_headers_of_clients_never_end_up_in_ours(bench: Bench) -> None:
    house = House(bench, Doors(allow_hosts=(NAME,)))
    hostile = 'x", error="y\r\nSet-Cookie: a=b'
    async with house.visitor(AWAY) as visitor:
        for name in ("Host", "X-Forwarded-Proto", "Origin", "Accept", "Cookie", "Authorization", "WVO-Agent-Id"):
            request = visitor.build_request("GET", "/api", headers={"Host": NAME})
            request.headers[name] = hostile
            answer = await visitor.send(request)
            assert answer.status_code in (401, 403)
            assert "set-cookie" not in answer.headers
            assert 'error="y' not in str(answer.headers)


@pytest.mark.sqlite
async def test_a_token_of_another_project_admits_nobody(bench: Bench, house: House, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "other" / "state.db", bench.clock, bench.servers, synchronous="OFF")
    await store.open()
    other = House(Bench(replace(bench.services, store=store), store, bench.clock, bench.servers))
    token, link = await other.token("admin"), await other.link()
    async with other.visitor(AWAY, bearer(token)) as visitor:
        assert (await visitor.get("/api")).status_code == 200
    async with house.visitor(AWAY) as visitor:
        assert (await visitor.get("/api", headers=bearer(token))).status_code == 401
        assert (await visitor.post(link)).status_code == 401
    await store.close()


async def test_a_store_that_takes_no_writes_holds_up_nobody_who_reads(
    bench: Bench, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await house.token("viewer")

    async def busy(*_: object, **__: object) -> None:
        raise StoreBusy("Others write.")

    monkeypatch.setattr(bench.store, "write", busy)
    async with house.visitor(AWAY, bearer(token)) as visitor:
        assert (await visitor.get("/api/status")).status_code == 200
        assert (await visitor.get("/api/status")).status_code == 200


async def test_without_the_store_no_token_is_taken_on_trust(
    bench: Bench, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await house.token("admin")

    async def gone(*_: object, **__: object) -> None:
        raise StoreUnavailable("The disk is gone.")

    monkeypatch.setattr(bench.store, "read", gone)
    async with house.visitor(AWAY, bearer(token)) as visitor:
        assert (await visitor.get("/api")).status_code == 503


async def test_who_shows_nothing_from_this_machine_is_held_to_less_than_who_does(bench: Bench) -> None:
    large: dict[str, Any] = {"content": b"x" * (STRANGERS_BYTES + 1), "headers": {"content-type": "application/json"}}
    near, strict = House(bench), House(bench, Doors(require_token=True))
    async with near.visitor() as here, near.visitor(headers={"X-Forwarded-For": AWAY}) as proxied:
        assert (await here.post("/api/plan_next", **large)).status_code == 400, "it is read, and no JSON"
        assert (await proxied.post("/api/plan_next", **large)).status_code == 401
        assert (await proxied.post("/login", **large)).status_code == 413
        for op in ALL.values():
            if op.audience is Audience.PEOPLE and op.effect is not Effect.READ:
                assert (await here.post(f"/api/{op.name}", json={})).status_code == 403, op.name
                assert (await here.post(f"/do/{op.name}", data={"confirmed": "yes"})).status_code == 403, op.name
    async with strict.visitor() as here:
        assert (await here.post("/login", **large)).status_code == 413
        assert (await here.get("/api")).status_code == 401


@pytest.mark.parametrize("role", ["viewer", "agent"])
@pytest.mark.parametrize("how", ["token", "cookie"])
async def test_no_control_of_people_works_for_who_may_not(bench: Bench, house: House, role: str, how: str) -> None:
    async with house.visitor(AWAY, bearer(await house.token(role))) as program, house.signed_in(role) as browser:
        client, more = (program, {}) if how == "token" else (browser, {"csrf": csrf_of(browser)})
        for op in ALL.values():
            if op.effect is Effect.READ or op.remote_role <= ROLES_BY_NAME[role]:
                continue
            for extra in ({}, {"dry_run": "true"}):
                answer = await client.post(f"/do/{op.name}", data={"confirmed": "yes", **more, **extra})
                assert answer.status_code == 403, (op.name, answer.text)
    assert [row["kind"] for row in await bench.sql("SELECT kind FROM events WHERE kind NOT LIKE 'access.%'")] == []


async def test_who_guesses_gains_nothing_by_lying_about_where_it_comes_from(house: House) -> None:
    async with house.visitor(AWAY) as guesser:
        statuses = [
            (
                await guesser.get(
                    "/api", headers={**bearer("wrong"), "X-Forwarded-For": f"10.0.0.{number}", "X-Real-IP": "10.1.1.1"}
                )
            ).status_code
            for number in range(15)
        ]
    assert statuses == [401] * 10 + [429] * 5


async def test_a_token_that_was_revoked_makes_no_session_and_its_sessions_admit_nobody(house: House) -> None:
    text = await house.token("operator")
    async with house.visitor(AWAY) as browser:
        await browser.post("/login", data={"token": text})
        assert (await browser.get("/api")).status_code == 200
        await house.call("token_revoke", token_id=text.split("_")[1])
        for address in ("/", "/api", "/stream", "/tasks.json"):
            assert (await browser.get(address)).status_code == 401
        assert (await browser.post("/do/pause", data={"csrf": csrf_of(browser), "confirmed": "yes"})).status_code == 401
        assert (await browser.post("/login", data={"token": text})).status_code == 401
