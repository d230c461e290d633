"""Sixteen processes: files are never kept by two, and of what was sent nothing is lost, though readers are killed."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import looked_at
from tests.support.nursery import Nursery
from tests.support.scale import sized
from tests.support.stores import looked_for
from wvo_mcp.domain.files import overlap

MODULE = "tests.races.talking_worker"
PROCESSES = 16
CALLS = sized(full=150, short=25)


@pytest.fixture
def url(store_kind: str, request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("store_url") if store_kind == "postgres" else None


def lines(folder: Path, name: str, agent_id: str) -> list[Any]:
    file = folder / f"{name}-{agent_id}"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.full_on_postgres
@pytest.mark.requirement("CLAIM-6")
@pytest.mark.timeout(300)
def test_two_overlapping_exclusive_reservations_never_live_at_once(tmp_path: Path, url: str | None) -> None:
    names = [f"r{number}" for number in range(PROCESSES)]
    log = tmp_path / "nursery.log"
    with Nursery(MODULE, log) as nursery:
        asked = {"folder": str(tmp_path), "url": url, "peers": [], "calls": CALLS, "what": "reserve"}
        children = [nursery.spawn(**asked, agent_id=name, seed=seed) for seed, name in enumerate(names)]
        codes = [nursery.wait(child, 240) for child in children]

    assert codes == [0] * PROCESSES, log.read_text()[-4_000:]
    tried = [[line[0] for line in lines(tmp_path, "tried", name)] for name in names]
    assert min(one.count("granted") for one in tried) > 0
    assert sum(one.count("refused") for one in tried) > 0
    with looked_at(looked_for(tmp_path, url)) as database:
        rows = database.rows(
            "SELECT agent_id, pattern, mode, created_at, coalesce(ended_at, expires_at) AS until FROM file_reservations"
        )
    for one, other in itertools.combinations(rows, 2):
        if one["agent_id"] != other["agent_id"] and "exclusive" in (one["mode"], other["mode"]):
            at_once = one["created_at"] < other["until"] and other["created_at"] < one["until"]
            assert not (at_once and overlap(one["pattern"], other["pattern"])), (one, other)


@pytest.mark.full_on_postgres
@pytest.mark.requirement("CTX-4")
@pytest.mark.timeout(300)
def test_what_was_sent_is_heard_in_order_by_readers_that_are_killed(tmp_path: Path, url: str | None) -> None:
    names = [f"t{number}" for number in range(4)]
    chance = random.Random(4)
    log = tmp_path / "nursery.log"
    asked = {"folder": str(tmp_path), "url": url}
    with Nursery(MODULE, log) as nursery:

        def spawned(name: str, what: str, calls: int) -> int:
            peers = [other for other in names if other != name]
            return nursery.spawn(
                **asked, agent_id=name, peers=peers, seed=chance.randrange(1 << 30), calls=calls, what=what
            )

        for name in names:
            assert nursery.wait(spawned(name, "talk", 0)) == 0, log.read_text()[-4_000:]
        for _ in range(sized(full=30, short=6)):
            living = [spawned(name, "talk", 10_000) for name in names]
            nursery.listen(0.4 + chance.random())
            for child in living:
                nursery.kill(child)
            assert {nursery.wait(child) for child in living} == {-9}, log.read_text()[-4_000:]
        for _ in range(2):
            for name in names:
                assert nursery.wait(spawned(name, "drain", 0), 120) == 0, log.read_text()[-4_000:]

    heard = {name: lines(tmp_path, "heard", name) for name in names}
    sent = [line for name in names for line in lines(tmp_path, "sent", name)]
    assert sent
    assert [line for line in sent if line not in heard[line[1]]] == []
    for name, came in heard.items():
        for sender in names:
            first = list(dict.fromkeys(at for who, to, at in came if who == sender and to == name))
            assert first == sorted(first)
