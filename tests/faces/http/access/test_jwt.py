"""JWTs at the door."""

from datetime import timedelta

import httpx2
import pytest

from tests.support.bench import Bench
from tests.support.issuer import AUDIENCE, NAME, URL, Issuer
from tests.support.visitors import AWAY, COOKIE, House, bearer
from tests.support.visitors import NAME as HOST
from wvo_mcp.domain.access import LOOPBACK, Doors
from wvo_mcp.execution.jwks import JwksTokens
from wvo_mcp.faces.http import build_projects
from wvo_mcp.faces.http.access import Keys

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-3", "DASH-5")]

METADATA = "/.well-known/oauth-protected-resource"


@pytest.fixture
def issuer(bench: Bench) -> Issuer:
    return Issuer(bench.clock)


@pytest.fixture
def house(bench: Bench, issuer: Issuer) -> House:
    tokens = JwksTokens(NAME, AUDIENCE, URL, bench.clock, issuer.read)
    return House(bench, Doors(allow_hosts=(HOST,)), tokens)


async def test_a_jwt_admits_with_the_role_that_it_states(bench: Bench, house: House, issuer: Issuer) -> None:
    async with house.visitor(AWAY) as visitor:
        viewer, operator = [bearer(issuer.token(wvo_role=role, sub="ann@x")) for role in ("viewer", "operator")]
        assert (await visitor.post("/api/pause", json={}, headers=viewer)).status_code == 403
        assert (await visitor.post("/api/pause", json={}, headers=operator)).status_code == 200
    (event,) = await bench.sql("SELECT agent_id, session_id FROM events WHERE kind = 'work.paused'")
    assert event["agent_id"].startswith("ann-x-")
    assert event["session_id"] == f"http:jwt:{event['agent_id']}:{event['agent_id']}"


async def test_a_wrong_jwt_is_401_and_one_without_a_role_403(house: House, issuer: Issuer) -> None:
    async with house.visitor(AWAY) as visitor:
        expired = await visitor.get("/api", headers=bearer(issuer.token(exp=1)))
        assert (expired.status_code, "has expired" in expired.json()["error"]["message"]) == (401, True)
        assert (await visitor.get("/api", headers=bearer(issuer.token(wvo_role="root")))).status_code == 403


async def test_forged_ones_are_counted_and_the_right_one_is_taken(house: House, issuer: Issuer) -> None:
    async with house.visitor(AWAY) as visitor:
        statuses = [(await visitor.get("/api", headers=bearer(f"a.{number}.c"))).status_code for number in range(20)]
        assert statuses == [401] * 10 + [429] * 10
        assert (await visitor.get("/api", headers=bearer(issuer.token()))).status_code == 200


async def test_without_the_issuers_server_only_jwts_wait(house: House, issuer: Issuer) -> None:
    issuer.down = True
    async with house.visitor(AWAY) as visitor:
        assert (await visitor.get("/api", headers=bearer(issuer.token()))).status_code == 503
        assert (await visitor.get("/api", headers=bearer(await house.token("viewer")))).status_code == 200
    async with house.visitor() as agent:
        assert (await agent.get("/api/status")).status_code == 200


@pytest.mark.parametrize(("scheme", "host"), [("http", f"{HOST}:8737"), ("https", HOST)])
async def test_clients_find_the_issuer_for_the_address_that_was_typed(house: House, scheme: str, host: str) -> None:
    headers = {"Host": host, "X-Forwarded-Proto": scheme}
    async with house.visitor(AWAY, headers) as client:
        for path, place in (("/mcp", f"{METADATA}/mcp"), ("/api/status", METADATA)):
            refused = await client.get(path)
            address = f"{scheme}://{host}{place}"
            assert refused.headers["www-authenticate"] == f'Bearer resource_metadata="{address}"'
        wrong = await client.get("/mcp", headers=bearer("x"))
        assert wrong.headers["www-authenticate"].endswith('/mcp", error="invalid_token"')
        found = (await client.get(f"{METADATA}/mcp")).json()
        assert (await client.get(METADATA)).json()["resource"] == f"{scheme}://{host}"
    assert found["resource"] == f"{scheme}://{host}/mcp"
    assert found["authorization_servers"] == [NAME]
    assert found["bearer_methods_supported"] == ["header"]


async def test_what_lasts_ends_with_the_jwt_and_with_the_token_that_admitted_it(
    bench: Bench, house: House, issuer: Issuer
) -> None:
    keys = Keys(bench.store, bench.clock, JwksTokens(NAME, AUDIENCE, URL, bench.clock, issuer.read))
    jwt, _ = await keys.of_bearer(issuer.token(exp=bench.clock.now() + timedelta(minutes=59)), AWAY)
    token, _ = await keys.of_bearer(await house.token("viewer", expires="1h"), AWAY)
    async with house.visitor() as browser:
        await browser.post("/login", data={"token": await house.token("viewer", expires="1h")})
        session = await keys.of_cookie(browser.cookies[COOKIE])
    assert session is not None
    bench.clock.advance(minutes=60, seconds=-1)
    assert [await keys.holds(one) for one in (jwt, token, session[0], LOOPBACK)] == [True] * 4, "clocks differ by 60 s"
    bench.clock.advance(1)
    assert [await keys.holds(one) for one in (jwt, token, session[0], LOOPBACK)] == [False, False, False, True]
    for far in (10**11, 253_402_300_800.5):
        assert await keys.holds((await keys.of_bearer(issuer.token(exp=far), AWAY))[0])


async def test_all_sessions_of_a_token_have_one_share_with_it(bench: Bench, house: House) -> None:
    keys = Keys(bench.store, bench.clock)
    text = await house.token("viewer")
    shares = {(await keys.of_bearer(text, AWAY))[0].share}
    for _ in range(3):
        async with house.visitor() as browser:
            await browser.post("/login", data={"token": text})
            found = await keys.of_cookie(browser.cookies[COOKIE])
            assert found is not None
            shares.add(found[0].share)
    assert shares == {text.split("_")[1]}


async def test_clients_find_the_issuer_for_a_project_below_its_prefix(bench: Bench, house: House) -> None:
    several = build_projects({"shop": house.site}, frozenset({HOST}))
    transport = httpx2.ASGITransport(several, client=(AWAY, 50_000))
    async with httpx2.AsyncClient(transport=transport, base_url=f"http://{HOST}:8737") as client:
        for path, rest in (("/p/shop/mcp", "/p/shop/mcp"), ("/p/shop/api/status", "/p/shop")):
            refused = await client.get(path)
            address = f"http://{HOST}:8737{METADATA}{rest}"
            assert (refused.status_code, refused.headers["www-authenticate"]) == (
                401,
                f'Bearer resource_metadata="{address}"',
            )
            found = (await client.get(address)).json()
            assert (found["resource"], found["authorization_servers"]) == (f"http://{HOST}:8737{rest}", [NAME])
        for nothing in (f"{METADATA}/p/none/mcp", f"{METADATA}/p/shop/none", f"{METADATA}/p/"):
            assert (await client.get(nothing)).status_code == 404


@pytest.mark.parametrize(
    "role",
    [None, "", "root", "Admin", "admin ", "viewer,admin", ["admin"], {"admin": True}, 4, True, "ADMIN", "ad\u200bmin"],
)
async def test_no_other_claim_than_the_name_of_a_role_is_one(house: House, issuer: Issuer, role: object) -> None:
    async with house.visitor(AWAY, bearer(issuer.token(wvo_role=role, role="admin", roles=["admin"]))) as visitor:
        for address in ("/api", "/", "/stream"):
            assert (await visitor.get(address)).status_code == 403
        assert (await visitor.post("/do/pause", data={"confirmed": "yes"})).status_code == 403
