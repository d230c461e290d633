"""What people do about who may come in over HTTP."""

from typing import Any

import pytest

from tests.support.bench import ANN, OWNER, Bench
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import Forbidden, InvalidInput, NotFound
from wvo_mcp.operations import ALL, Audience

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-3", "SAFE-4")]

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("token_create", {"name": "ci", "role": "admin"}),
    ("token_list", {}),
    ("token_revoke", {"token_id": "0123456789ab"}),
    ("login_link", {}),
]


async def call(bench: Bench, operation: str, caller: Caller, /, **arguments: Any) -> dict[str, Any]:
    return await ALL[operation](bench.services, caller, arguments)


@pytest.mark.parametrize(("name", "arguments"), CALLS)
async def test_no_agent_lets_anybody_in(bench: Bench, name: str, arguments: dict[str, Any]) -> None:
    assert ALL[name].audience is Audience.PEOPLE
    with pytest.raises(Forbidden):
        await call(bench, name, ANN, **arguments)
    assert await bench.sql("SELECT * FROM access_tokens") == []


async def test_a_token_is_shown_once(bench: Bench) -> None:
    made = await call(bench, "token_create", OWNER, name="ci", role="agent", expires="12h")
    (listed,) = (await call(bench, "token_list", OWNER))["tokens"]

    assert made["token"].startswith(f"wvo_{made['token_id']}_")
    secret = made["token"].rpartition("_")[2]
    everything = str([await bench.sql(f"SELECT * FROM {table}") for table in ("access_tokens", "events", "requests")])
    assert secret not in str(listed) + everything
    assert (listed["name"], listed["role"], listed["state"]) == ("ci", "agent", "valid")
    assert "last_used_at" not in listed


@pytest.mark.parametrize("expires", ["", "0d", "30", "367d", "forever", "-1d", "99999d99999h"])
async def test_a_token_lasts_a_year_at_most(bench: Bench, expires: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        await call(bench, "token_create", OWNER, name="ci", role="agent", expires=expires)
    assert raised.value.details["field"] == "expires"


async def test_what_ended_is_listed_when_it_is_asked_for(bench: Bench) -> None:
    made = await call(bench, "token_create", OWNER, name="ci", role="agent", expires="1h")
    link = await call(bench, "login_link", OWNER)
    await call(bench, "token_revoke", OWNER, token_id=made["token_id"])
    bench.clock.advance(minutes=10)

    assert (await call(bench, "token_list", OWNER))["tokens"] == []
    ended = (await call(bench, "token_list", OWNER, ended=True))["tokens"]
    assert {(one["kind"], one["state"]) for one in ended} == {("token", "revoked"), ("link", "expired")}
    assert link["role"] == "admin"


async def test_all_tokens_are_listed_page_by_page(bench: Bench) -> None:
    made: list[str] = []
    for number in range(130):
        made.append((await call(bench, "token_create", OWNER, name=f"ci-{number}", role="agent"))["token_id"])
        bench.clock.advance(0.001 * (number % 3))

    listed: list[str] = []
    asked: dict[str, Any] = {}
    while True:
        page = await call(bench, "token_list", OWNER, **asked)
        listed += [one["token_id"] for one in page["tokens"]]
        assert "clipped" not in page
        if "next_cursor" not in page:
            break
        asked = {"cursor": page["next_cursor"]}
    assert sorted(listed) == sorted(made)
    assert listed[-1] in made[:2]
    few = await call(bench, "token_list", OWNER, limit=7)
    assert ([one["token_id"] for one in few["tokens"]], "next_cursor" in few) == (listed[:7], True)


@pytest.mark.parametrize("cursor", ["x", "0", "2027-13-41T12:00:00.000Z.0123456789ab", "2027-01-01T12:00:00.000Z."])
async def test_a_cursor_that_is_none_is_named(bench: Bench, cursor: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        await call(bench, "token_list", OWNER, cursor=cursor)
    assert raised.value.details["field"] == "cursor"


async def test_an_unknown_token_is_not_found_with_what_was_meant(bench: Bench) -> None:
    made = await call(bench, "token_create", OWNER, name="ci", role="agent")

    with pytest.raises(NotFound) as raised:
        await call(bench, "token_revoke", OWNER, token_id=made["token_id"][:-1] + "x")

    assert made["token_id"] in raised.value.hint


@pytest.mark.parametrize(
    "address", ["ftp://x", "javascript:alert(1)", "http://", "//x", "http://[", "http://x/?a=b", "x", "http://x#y"]
)
async def test_a_link_leads_to_a_server(bench: Bench, address: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        await call(bench, "login_link", OWNER, address=address)
    assert raised.value.details["field"] == "address"


async def test_a_link_begins_with_the_address_that_was_given(bench: Bench) -> None:
    made = await call(bench, "login_link", OWNER, address="https://wvo.example/")

    assert made["address"].startswith("https://wvo.example/login/")
