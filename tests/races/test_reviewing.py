"""Eight processes submit, review, lose and decide: each review is taken once a try, answered once, and decided by the rules."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import Bench, a_task
from tests.support.databases import looked_at
from tests.support.invariants import verify
from tests.support.nursery import Nursery
from tests.support.scale import sized
from tests.support.stores import looked_for
from wvo_mcp.domain.review import Verdict, rule

MODULE = "tests.races.reviewing_worker"
PROCESSES, TASKS = 8, 12
ACTS = sized(full=120, short=30)


@pytest.mark.both_stores
@pytest.mark.full_on_postgres
@pytest.mark.anyio
@pytest.mark.requirement("REV-2", "REV-3")
@pytest.mark.timeout(300)
async def test_reviews_are_taken_and_answered_once_and_decided_by_the_rules(
    bench: Bench, tmp_path: Path, store_kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("store_url") if store_kind == "postgres" else None
    await bench.create(*(a_task(f"T{number}") for number in range(TASKS)))
    folder = tmp_path if url else bench.path.parent
    log = tmp_path / "nursery.log"
    names = [f"v{number}" for number in range(PROCESSES)]
    with Nursery(MODULE, log) as nursery:
        asked = {"folder": str(folder), "url": url, "acts": ACTS}
        children = [nursery.spawn(**asked, agent_id=name, seed=seed) for seed, name in enumerate(names)]
        codes = [nursery.wait(child, 240) for child in children]

    assert codes == [0] * PROCESSES, log.read_text()[-4_000:]
    told = [said for name in names for said in _lines(folder / f"told-{name}")]
    count = Counter(said[0] for said in told)
    assert min(count["submitted"], count["answered"], count["took"]) > 0, count
    took = [tuple(said[1:]) for said in told if said[0] == "took"]
    assert len(took) == len(set(took)), "one try of a review was given to two"
    with looked_at(looked_for(folder, url)) as database:
        rows = database.rows("SELECT * FROM reviews")
        entries = {row["entry_id"]: row for row in database.rows("SELECT * FROM merge_entries")}
    answered = {row["review_id"]: row for row in rows if row["state"] == "answered"}
    for _, review_id, token, verdict in (said for said in told if said[0] == "answered"):
        assert (answered[review_id]["lease_token"], answered[review_id]["verdict"]) == (token, verdict)
    assert all(row["reviewer"] != row["author"] for row in answered.values())
    rounds: dict[tuple[str, int], list[Any]] = {}
    for row in rows:
        rounds.setdefault((row["task_id"], row["round"]), []).append(row)
    for of in rounds.values():
        _decided_by_the_rules(of)
    for entry in entries.values():
        if entry["review"] == "passed":
            assert _may_land([row for row in rows if row["entry_id"] == entry["entry_id"]]), entry
    verify(bench.source)


def _lines(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _decided_by_the_rules(of: list[Any]) -> None:
    decisions = {row["decision"] for row in of if row["state"] == "answered"}
    assert len(decisions) <= 1, of
    verdicts = {f"{row['reviewer']} {row['provider']}": Verdict(row["verdict"]) for row in of if row["verdict"]}
    if decisions - {None}:
        assert decisions == {rule(verdicts).decision}, of


def _may_land(of: list[Any]) -> bool:
    """Passed by its reviewers, after a second warn, or by a person: of what waited for one, or in place of reviewers."""
    return any(row["decision"] in ("continue", "warn", "pause", "stop") for row in of)
