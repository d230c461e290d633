"""Small facts, and the lease of the one who leads."""

import pytest

from tests.support.bench import ANN, BOB, Bench
from wvo_mcp.domain.lease import Caller

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CLAIM-1")]


async def leads(bench: Bench, caller: Caller, *, force: bool = False) -> int | None:
    return await bench.write(lambda tx: tx.state.lead("background", 15, force=force), caller)


async def test_one_leads_until_its_lease_ends_and_the_token_grows_with_each_change(bench: Bench) -> None:
    assert await leads(bench, ANN) == 1
    assert await leads(bench, BOB) is None
    bench.clock.advance(14)
    assert await leads(bench, ANN) == 1
    bench.clock.advance(14)
    assert await leads(bench, BOB) is None
    bench.clock.advance(1)
    assert await leads(bench, BOB) == 2
    assert await leads(bench, ANN) is None


async def test_who_resigns_leaves_the_place_free_at_once_but_only_its_own(bench: Bench) -> None:
    await leads(bench, ANN)

    await bench.write(lambda tx: tx.state.resign("background"), BOB)
    assert await leads(bench, BOB) is None
    await bench.write(lambda tx: tx.state.resign("background"), ANN)
    assert await leads(bench, BOB) == 2


async def test_the_place_of_one_who_is_dead_can_be_taken(bench: Bench) -> None:
    await leads(bench, ANN)

    assert await leads(bench, BOB, force=True) == 2
    assert await leads(bench, ANN) is None


async def test_roles_are_led_apart(bench: Bench) -> None:
    await leads(bench, ANN)

    assert await bench.write(lambda tx: tx.state.lead("other", 15), BOB) == 1


async def test_a_fact_is_what_was_put_last(bench: Bench) -> None:
    for value in (True, None, {"é": [1, 2.5, "x"]}, "text"):
        await bench.write(lambda tx, value=value: tx.state.put("fact", value))
        assert await bench.read(lambda tx: tx.state.get("fact")) == value
    assert await bench.read(lambda tx: tx.state.get("nothing")) is None
