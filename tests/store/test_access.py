"""Tokens, links and sessions as rows."""

from datetime import timedelta
from typing import Any

import anyio
import pytest

from tests.support.bench import OWNER, Bench
from wvo_mcp.domain.access import SESSION_RESTS, AccessKey, Kind, Shown
from wvo_mcp.domain.lease import Role
from wvo_mcp.orchestration import access

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-3")]


async def a_token(bench: Bench, name: str = "ann", days: float = 30) -> tuple[AccessKey, Shown]:
    row, text = await bench.write(lambda tx: access.make_token(tx, name, Role.VIEWER, timedelta(days=days)), OWNER)
    shown = Shown.parse(Kind.TOKEN, text)
    assert shown is not None
    return row, shown


async def a_session(bench: Bench, shown: Shown) -> AccessKey:
    made = await bench.write(lambda tx: access.log_in(tx, Kind.TOKEN, shown))
    assert isinstance(made, tuple)
    return made[0]


async def ids(bench: Bench, *, ended: bool = False) -> set[str]:
    return {row.token_id for row in await bench.read(lambda tx: tx.access.listed(ended=ended, limit=100))}


async def test_only_the_hash_of_a_secret_is_kept(bench: Bench) -> None:
    row, shown = await a_token(bench)

    (kept,) = await bench.sql("SELECT * FROM access_tokens")
    assert kept["hash"] == row.hash == shown.hash
    assert shown.secret not in str(kept) + str(await bench.sql("SELECT data FROM events"))


async def test_a_session_is_made_of_a_token_with_its_role_and_ends_with_it(bench: Bench) -> None:
    row, shown = await a_token(bench, days=2)

    session = await a_session(bench, shown)

    assert (session.kind, session.name, session.role, session.parent) == (Kind.SESSION, "ann", "viewer", row.token_id)
    assert session.made_by == OWNER.agent_id
    assert session.expires_at == row.expires_at
    bench.clock.advance(days=2)
    assert session.ended(bench.clock.now()) == "expired"
    assert await ids(bench) == set()


async def test_a_session_that_rests_for_a_week_has_ended(bench: Bench) -> None:
    _, shown = await a_token(bench)
    session = await a_session(bench, shown)
    bench.clock.advance(days=6)
    await bench.write(lambda tx: tx.access.touch(session.token_id, 60))

    bench.clock.advance(days=6)
    assert session.token_id in await ids(bench)
    bench.clock.advance(days=1)
    assert session.token_id not in await ids(bench)
    (row,) = [
        one for one in await bench.read(lambda tx: tx.access.listed(ended=True, limit=9)) if one.kind is Kind.SESSION
    ]
    assert row.last_used_at is not None
    assert row.ended(row.last_used_at + SESSION_RESTS) == "unused"
    assert row.ended(row.last_used_at + SESSION_RESTS - timedelta(milliseconds=1)) is None


async def test_a_revoked_token_ends_the_sessions_that_were_made_of_it_and_no_other(bench: Bench) -> None:
    row, shown = await a_token(bench)
    other, other_shown = await a_token(bench, "bob")
    await a_session(bench, shown)
    await a_session(bench, shown)
    kept = await a_session(bench, other_shown)

    _, ended = await bench.write(lambda tx: access.revoke(tx, row.token_id))
    _, again = await bench.write(lambda tx: access.revoke(tx, row.token_id))

    assert (ended, again) == (3, 0)
    assert await ids(bench) == {other.token_id, kept.token_id}
    assert await bench.write(lambda tx: access.log_in(tx, Kind.TOKEN, shown)) == "revoked"


async def test_a_link_is_used_up_by_the_first(bench: Bench) -> None:
    _, text = await bench.write(access.make_link, OWNER)
    shown = Shown.parse(Kind.LINK, text)
    assert shown is not None

    other, _ = await bench.write(access.make_link, OWNER)
    assert [await bench.write(lambda tx: tx.access.use_up(other.token_id)) for _ in range(2)] == [True, False]

    first = await bench.write(lambda tx: access.log_in(tx, Kind.LINK, shown))
    second = await bench.write(lambda tx: access.log_in(tx, Kind.LINK, shown))

    assert isinstance(first, tuple)
    assert (first[0].role, first[0].name) == ("admin", OWNER.agent_id)
    assert second == "used"


async def test_no_key_stands_for_one_of_another_kind(bench: Bench) -> None:
    _, shown = await a_token(bench)
    _, text = await bench.write(access.make_link, OWNER)
    link = Shown.parse(Kind.LINK, text)
    assert link is not None

    assert await bench.write(lambda tx: access.log_in(tx, Kind.LINK, shown)) is None
    assert await bench.write(lambda tx: access.log_in(tx, Kind.TOKEN, link)) is None
    assert await bench.read(lambda tx: access.find(tx, Kind.SESSION, shown)) is None
    assert await bench.read(lambda tx: access.find(tx, Kind.TOKEN, Shown(shown.key_id, "x" * 43))) is None


async def test_the_last_use_is_written_once_a_minute(bench: Bench) -> None:
    row, _ = await a_token(bench)

    async def used() -> Any:
        await bench.write(lambda tx: tx.access.touch(row.token_id, 60))
        found = await bench.read(lambda tx: tx.access.find(row.token_id))
        assert found is not None
        return found.last_used_at

    first = await used()
    bench.clock.advance(59)
    assert await used() == first
    bench.clock.advance(1)
    assert await used() == first + timedelta(minutes=1)


async def test_what_expired_long_ago_is_forgotten(bench: Bench) -> None:
    old, _ = await a_token(bench, days=1)
    new, _ = await a_token(bench, days=40)
    bench.clock.advance(days=30)
    before = bench.clock.now() - timedelta(days=10)

    assert await bench.write(lambda tx: tx.access.forget(before, 10)) == 1
    assert await ids(bench, ended=True) == {new.token_id} != {old.token_id}


async def test_eight_at_once_use_a_link_up_once(bench: Bench) -> None:
    _, text = await bench.write(access.make_link, OWNER)
    shown = Shown.parse(Kind.LINK, text)
    assert shown is not None
    made: list[object] = []

    async def use() -> None:
        made.append(await bench.write(lambda tx: access.log_in(tx, Kind.LINK, shown)))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(use)

    assert sorted(str(one) for one in made if not isinstance(one, tuple)) == ["used"] * 7
    assert len(await bench.sql("SELECT * FROM access_tokens WHERE kind = 'session'")) == 1


@pytest.mark.parametrize("kind", [Kind.TOKEN, Kind.LINK])
async def test_of_one_token_so_many_sessions_stay_and_what_rested_longest_goes(bench: Bench, kind: Kind) -> None:
    row, shown = await a_token(bench, OWNER.agent_id)

    async def sign_in(kind: Kind) -> str:
        key = shown
        if kind is Kind.LINK:
            parsed = Shown.parse(kind, (await bench.write(access.make_link, OWNER))[1])
            assert parsed is not None
            key = parsed
        made = await bench.write(lambda tx: access.log_in(tx, kind, key))
        assert isinstance(made, tuple)
        bench.clock.advance(1)
        return made[0].token_id

    other = [await sign_in(Kind.LINK if kind is Kind.TOKEN else Kind.TOKEN) for _ in range(3)]
    first, second = [await sign_in(kind) for _ in range(2)]
    await bench.write(lambda tx: tx.access.touch(first, 0))
    await bench.write(lambda tx: access.revoke(tx, second))
    mine = [first, *[await sign_in(kind) for _ in range(2 * access.MOST_SESSIONS)]]

    sessions = await bench.sql("SELECT token_id, name FROM access_tokens WHERE kind = 'session'")
    assert {one["name"] for one in sessions} == {OWNER.agent_id}, "of a name alone nothing follows"
    assert {one["token_id"] for one in sessions} == {*other, *mine[-access.MOST_SESSIONS :]}
    ended = await bench.sql("SELECT seq FROM events WHERE kind = 'access.revoked'")
    assert len(ended) == len(mine) - access.MOST_SESSIONS + 1, "who was signed out is in the trail"
    assert row.token_id in await ids(bench, ended=False)


async def test_the_session_that_was_just_made_never_goes(bench: Bench) -> None:
    _, shown = await a_token(bench)
    for _ in range(3 * access.MOST_SESSIONS):
        made = await a_session(bench, shown)
        assert await bench.read(lambda tx, made=made: tx.access.find(made.token_id)) == made
