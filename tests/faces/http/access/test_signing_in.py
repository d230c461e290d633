"""Links, cookies, forms."""

from typing import Any

import anyio
import httpx2
import pytest

from tests.support.bench import Bench
from tests.support.visitors import AWAY, COOKIE, NAME, House, bearer, csrf_of
from wvo_mcp.domain.access import Doors

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-3")]

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def test_a_link_signs_one_browser_in(house: House, caplog: pytest.LogCaptureFixture) -> None:
    link = await house.link()
    with caplog.at_level("INFO", "wvo_mcp"):
        async with house.visitor(AWAY) as browser:
            for method in ("HEAD", "GET"):  # a chat program looks at what is pasted
                assert (await browser.request(method, link)).status_code == 200
            made = await browser.post(link)
            assert (made.status_code, made.headers["location"]) == (303, "/")
            (cookie,) = made.headers.get_list("set-cookie")
            assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=2592000"} <= {*cookie.split("; ")}
            assert "Domain" not in cookie
            assert "Secure" not in cookie
            assert (await browser.get("/api")).status_code == 200
            again = await browser.post(link)
            assert (again.status_code, "was used already" in again.text) == (401, True)
    assert link.removeprefix("/login/").partition(".")[2] not in caplog.text
    assert browser.cookies[COOKIE] not in caplog.text


async def test_a_link_that_eight_open_at_once_lets_one_in(house: House) -> None:
    link = await house.link()
    statuses: list[int] = []

    async def open_it() -> None:
        async with house.visitor() as browser:
            statuses.append((await browser.post(link)).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(open_it)

    assert sorted(statuses) == [303] + [401] * 7


async def test_a_link_lasts_ten_minutes(bench: Bench, house: House) -> None:
    link = await house.link()
    bench.clock.advance(minutes=10)
    async with house.visitor() as browser:
        answer = await browser.post(link)
    assert (answer.status_code, "has expired" in answer.text) == (401, True)


@pytest.mark.parametrize("code", ["x", "0123456789ab." + "x" * 43, "%00", "a" * 5_000, "<script>"])
async def test_a_wrong_link_lets_nobody_in_and_is_shown_as_text(house: House, code: str) -> None:
    async with house.visitor() as browser:
        assert "<script>" not in (await browser.get(f"/login/{code}")).text
        answer = await browser.post(f"/login/{code}")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "<script>" not in answer.text


async def test_a_pasted_token_signs_in_with_its_role(house: House) -> None:
    async with house.signed_in("operator", address=AWAY) as browser:
        headers = {"X-CSRF-Token": csrf_of(browser)}
        assert (await browser.post("/api/pause", json={}, headers=headers)).status_code == 200
        raised = await browser.post("/api/token_create", json={"name": "x", "role": "admin"}, headers=headers)
        assert raised.status_code == 403


async def test_under_tls_the_cookie_is_for_tls_alone(bench: Bench) -> None:
    house = House(bench, Doors(allow_hosts=(NAME,)))
    async with house.visitor(AWAY, host=NAME) as browser:
        data = {"token": await house.token("viewer")}
        headers = {"X-Forwarded-Proto": "https", "Origin": f"https://{NAME}"}
        made = await browser.post("/login", data=data, headers=headers)
    assert "; Secure" in made.headers["set-cookie"]


async def test_a_cookie_holds_over_a_restart_and_ends_with_what_it_was_made_of(bench: Bench, house: House) -> None:
    token = await house.token("viewer")
    async with house.visitor(AWAY) as browser:
        await browser.post("/login", data={"token": token})
        cookie = {"Cookie": f"{COOKIE}={browser.cookies[COOKIE]}"}
    house.restart()
    async with house.visitor(AWAY, cookie) as browser:
        assert (await browser.get("/api")).status_code == 200
        await house.call("token_revoke", token_id=token.split("_")[1])
        assert (await browser.get("/api")).status_code == 401


async def test_a_cookie_that_is_not_used_for_a_week_ends(bench: Bench, house: House) -> None:
    async with house.signed_in("viewer", address=AWAY) as browser:
        bench.clock.advance(days=6)
        assert (await browser.get("/api")).status_code == 200
        bench.clock.advance(days=6)
        assert (await browser.get("/api")).status_code == 200
        bench.clock.advance(days=7)
        assert (await browser.get("/api")).status_code == 401


async def test_signing_out_ends_the_session(house: House) -> None:
    async with house.signed_in("viewer", address=AWAY) as browser:
        kept = browser.cookies[COOKIE]
        out = await browser.post("/logout", data={"csrf": csrf_of(browser)})
        assert (out.status_code, out.headers["location"]) == (303, "/")
        assert COOKIE not in browser.cookies
    async with house.visitor(AWAY, {"Cookie": f"{COOKIE}={kept}"}) as thief:
        assert (await thief.get("/api")).status_code == 401


async def test_what_a_cookie_admits_changes_nothing_without_the_value_of_its_own_pages(
    bench: Bench, house: House
) -> None:
    async with house.signed_in("admin") as victim, house.signed_in("admin") as attacker:
        other, own = csrf_of(attacker), csrf_of(victim)
        wrong: list[dict[str, Any]] = [
            {"json": {}},
            {"json": {}, "headers": {"X-CSRF-Token": other}},
            {"json": {}, "headers": {"X-CSRF-Token": ""}},
            {"json": {}, "headers": {"X-CSRF-Token": "é".encode()}},
            {"json": {"csrf": own}},
            {"data": {"csrf": other}},
            {"data": {"x": "y"}},
            {"content": f"csrf={own}"},
            {"content": f"csrf={own}", "headers": {"Content-Type": "text/plain"}},
            {"content": b"csrf=\xff" + own.encode(), "headers": FORM},
            {"content": "&".join(f"a{number}=1" for number in range(500)) + f"&csrf={own}", "headers": FORM},
        ]
        for asked in wrong:
            for address in ("/api/pause", "/logout", "/mcp", "/do/pause"):
                refused = await victim.post(address, **asked)
                assert refused.status_code == 403, (address, asked)
        for method in ("PUT", "PATCH", "DELETE"):
            assert (await victim.request(method, "/api/pause")).status_code == 403
        assert (await victim.get("/api")).status_code == 200
        assert (await victim.post("/api/pause", json={}, headers={"X-CSRF-Token": own})).status_code == 200
        assert (await victim.post("/nothing", data={"csrf": own})).status_code == 404
    events = await bench.sql("SELECT kind FROM events WHERE kind NOT LIKE 'access.%'")
    assert [row["kind"] for row in events] == ["work.paused"]


async def test_a_token_needs_no_such_value(house: House) -> None:
    async with house.visitor(AWAY, bearer(await house.token("operator"))) as program:
        assert (await program.post("/api/pause", json={})).status_code == 200


async def test_a_link_signs_in_whoever_was_somebody_else_before(house: House) -> None:
    async with house.signed_in("viewer") as browser:
        assert (await browser.post(await house.link())).status_code == 303
        assert len((await browser.get("/api")).json()["tools"]) > 60


async def test_a_cookie_of_another_server_is_as_good_as_none(house: House) -> None:
    for value in ("", "x", "0123456789ab." + "x" * 43, "é".encode()):
        name = COOKIE.encode() if isinstance(value, bytes) else COOKIE
        cookie: Any = name + b"=" + value if isinstance(value, bytes) and isinstance(name, bytes) else f"{name}={value}"
        headers = httpx2.Headers([("Cookie", cookie)])
        async with house.visitor(headers=headers) as browser:
            assert (await browser.get("/api/status")).status_code == 200
        async with house.visitor(AWAY, headers) as browser:
            assert (await browser.get("/api/status")).status_code == 401


async def test_no_key_is_taken_for_one_of_another_kind(house: House) -> None:
    token, link = await house.token("admin"), (await house.link()).removeprefix("/login/")
    async with house.signed_in("admin") as browser:
        session = browser.cookies[COOKIE]
    async with house.visitor(AWAY) as thief:
        for other in (link, session):
            shown = bearer("wvo_" + other.replace(".", "_", 1))
            assert (await thief.get("/api", headers=shown)).status_code == 401
        as_code = token.removeprefix("wvo_").replace("_", ".", 1)
        for other in (link, as_code):
            assert (await thief.get("/api", headers={"Cookie": f"{COOKIE}={other}"})).status_code == 401
        for other in (session, as_code):
            assert (await thief.post(f"/login/{other}")).status_code == 401


async def test_whoever_has_not_signed_in_sends_little(house: House) -> None:
    async with house.visitor(AWAY) as stranger:
        answer = await stranger.post("/login", content=b"x" * 100_000, headers=FORM)
        assert answer.status_code == 413
        assert (await stranger.post("/login", json={"token": "x"})).status_code == 415


@pytest.mark.parametrize("path", ["/", "/api", "/api/nothing", "/nothing", "/login", "/login/x", "/health", "/metrics"])
async def test_every_answer_tells_browsers_what_not_to_do(house: House, path: str) -> None:
    for address in ("127.0.0.1", AWAY):
        async with house.visitor(address, {"Accept": "text/html"}) as browser:
            for answer in (await browser.get(path), await browser.get(path, headers={"Host": "evil.example"})):
                policy = answer.headers["content-security-policy"]
                assert policy.split("; ") == [
                    "default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"
                ]  # fmt: skip
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["referrer-policy"] == "same-origin"
                assert answer.headers["cache-control"] == "no-store"
                assert "access-control-allow-origin" not in answer.headers


async def test_a_defect_is_answered_with_the_same_headers(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.bench.store, "read", None)
    async with house.visitor(raise_app_exceptions=False) as browser:
        answer = await browser.get("/metrics")
    assert answer.status_code == 500
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": NAME}, 200),
        ({"Host": f"{NAME}:8737", "Origin": f"http://{NAME}:8737"}, 200),
        ({"Host": NAME, "Origin": f"https://{NAME}"}, 200),
        ({"Host": NAME.upper(), "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": f"x.{NAME}"}, 403),
        ({"Host": f"{NAME}.evil.example"}, 403),
        ({"Host": f"evil@{NAME}"}, 403),
        ({"Host": f"{NAME}:8737:1"}, 403),
        ({"Host": f"{NAME}/x"}, 403),
        ({"Host": NAME, "Origin": "https://evil.example"}, 403),
        ({"Host": NAME, "Origin": f"https://{NAME}.evil.example"}, 403),
        ({"Host": NAME, "Origin": "null"}, 403),
        ({"Host": NAME, "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "192.0.2.9"}, 403),
        ({"Host": "198.51.100.1"}, 200),
    ],
)
async def test_a_name_is_answered_that_the_server_was_told_of(
    bench: Bench, headers: dict[str, str], status: int
) -> None:
    house = House(bench, Doors(allow_hosts=(NAME,)))
    async with house.visitor(AWAY, bearer(await house.token("viewer")), host="198.51.100.1:8737") as visitor:
        assert (await visitor.get("/api", headers=headers)).status_code == status
