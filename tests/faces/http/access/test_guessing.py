"""Whoever guesses waits, and holds nobody else up."""

import pytest

from tests.support.bench import Bench
from tests.support.clock import StoppedClock
from tests.support.scale import FULL
from tests.support.visitors import AWAY, House, bearer
from wvo_mcp.faces.http.access.tries import KEPT, Tries

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-3")]


def wrong(number: int) -> str:
    return f"wvo_{number:012x}_{'x' * 43}"


MANY = 10_000 if FULL else 1_000


async def test_thousands_of_wrong_tokens_end_in_waiting_and_the_right_one_is_taken(bench: Bench, house: House) -> None:
    right = await house.token("viewer")
    async with house.visitor(AWAY) as guesser:
        statuses = [(await guesser.get("/api", headers=bearer(wrong(number)))).status_code for number in range(MANY)]
        waits = await guesser.get("/api", headers=bearer(wrong(1)))
        assert (await guesser.get("/api", headers=bearer(right))).status_code == 200, "they share a proxy"
    async with house.visitor("203.0.113.8") as other:
        assert (await other.get("/api", headers=bearer(right))).status_code == 200
        assert (await other.get("/api", headers=bearer(wrong(1)))).status_code == 401

    assert statuses == [401] * 10 + [429] * (MANY - 10)
    assert waits.headers["retry-after"] == "60"
    bench.clock.advance(60)
    async with house.visitor(AWAY) as guesser:
        assert (await guesser.get("/api", headers=bearer(wrong(1)))).status_code == 401


async def test_nobody_finds_the_secret_of_a_key_that_exists_by_guessing(house: House) -> None:
    right = await house.token("viewer")
    start = right[: -len("x" * 43)]
    async with house.visitor(AWAY) as guesser:
        for _ in range(10):
            assert (await guesser.get("/api", headers=bearer(start + "x" * 43))).status_code == 401
        assert (await guesser.get("/api", headers=bearer(start + "x" * 43))).status_code == 429
        assert (await guesser.get("/api", headers=bearer(right))).status_code == 200, "who knows it is not kept out"
    async with house.visitor("203.0.113.8") as owner:
        assert (await owner.get("/api", headers=bearer(right))).status_code == 200


async def test_links_and_pasted_tokens_are_counted_as_well(house: House) -> None:
    async with house.visitor(AWAY) as guesser:
        for _ in range(5):
            assert (await guesser.post("/login/x")).status_code == 401
            assert (await guesser.post("/login", data={"token": "x"})).status_code == 401
        answer = await guesser.post("/login", data={"token": "x"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
        assert (await guesser.post(await house.link())).status_code == 303


async def test_what_was_right_once_is_no_guess(house: House) -> None:
    token = await house.token("viewer")
    await house.call("token_revoke", token_id=token.split("_")[1])
    async with house.visitor(AWAY, bearer(token)) as agent:
        assert {(await agent.get("/api")).status_code for _ in range(50)} == {401}


def test_what_is_remembered_is_bounded() -> None:
    tries = Tries(StoppedClock())
    for number in range(3 * KEPT):
        tries.wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "x" * 12)
    assert len(tries._counts) == KEPT


def test_one_network_of_ipv6_counts_as_one_address() -> None:
    tries = Tries(StoppedClock())
    for number in range(10):
        assert tries.wrong(f"2001:db8::{number:x}", "") == 0

    assert tries.wait("2001:db8::ffff", "") == 60
    assert tries.wait("2001:db8:0:1::1", "") == 0
