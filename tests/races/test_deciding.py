"""Eight processes decide, use, let expire and change the same approvals: each is decided once, and used once at most."""

import json
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import looked_at
from tests.support.nursery import Nursery
from tests.support.scale import sized
from tests.support.stores import looked_for

MODULE = "tests.races.deciding_worker"
AGENTS = [f"agent{number}" for number in range(4)]
PEOPLE = [f"person{number}" for number in range(4)]
CALLS = sized(full=1_000, short=300)
ENDS = {"task.approved": "approved", "task.denied": "denied", "approval.expired": "expired", "approval.voided": "void"}


@pytest.fixture
def url(store_kind: str, request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("store_url") if store_kind == "postgres" else None


def told(folder: Path) -> list[list[Any]]:
    files = sorted(folder.glob("told-*"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.requirement("APPR-1", "APPR-2")
@pytest.mark.timeout(600)
def test_what_many_decide_and_use_at_once_is_decided_once_and_used_once(tmp_path: Path, url: str | None) -> None:
    log, chance = tmp_path / "nursery.log", random.Random(14)
    with Nursery(MODULE, log) as nursery:
        asked = {"folder": str(tmp_path), "url": url, "calls": CALLS}
        assert nursery.wait(nursery.spawn(**asked, name="seed", seed=0, person=False)) == 0, log.read_text()[-4_000:]
        names = [*((name, False) for name in AGENTS), *((name, True) for name in PEOPLE)]
        children = [
            nursery.spawn(**asked, name=name, seed=chance.randrange(1 << 30), person=person) for name, person in names
        ]
        codes = [nursery.wait(child, 500) for child in children]
    assert codes == [0] * len(names), log.read_text()[-4_000:]

    with looked_at(looked_for(tmp_path, url)) as database:
        rows = database.rows("SELECT * FROM approvals ORDER BY seq")
        events = database.rows("SELECT seq, kind, data FROM events ORDER BY seq")
    lives = defaultdict[str, list[str]](list)
    for event in events:
        data = json.loads(event["data"])
        if "approval_id" in data and event["kind"] in (*ENDS, "approval.decided", "approval.used"):
            lives[data["approval_id"]].append(ENDS.get(event["kind"]) or data.get("state") or "used")
    said = told(tmp_path)
    decided = Counter(known for what, known, *_ in said if what in ("approve", "deny", "expire"))
    used = Counter(known for what, known, *_ in said if what == "use")
    verdicts = {known: what for what, known, *_ in said if what in ("approve", "deny")}

    for row in rows:
        known, life = row["approval_id"], lives[row["approval_id"]]
        assert life in (
            [],
            *([end] for end in ("approved", "denied", "expired", "void")),
            *(["approved", end] for end in ("used", "void")),
        ), (known, life)
        assert row["state"] == (life[-1] if life else "pending"), (known, life)
        assert decided[known] <= 1
        assert used[known] == life.count("used")
        if known in verdicts:
            assert life[0] == {"approve": "approved", "deny": "denied"}[verdicts[known]]
        if row["decided_by"] is not None:
            assert row["decided_by"] in PEOPLE
            assert (row["decided_by"], f"cli:{row['decided_by']}") != (row["asked_by"], row["asked_session"])
    open_now = Counter(row["topic"] for row in rows if row["topic"] and row["state"] in ("pending", "approved"))
    assert set(open_now.values()) <= {1}
    assert set(used) and set(verdicts.values()) == {"approve", "deny"}
    ends = Counter(end for life in lives.values() for end in life)
    assert min(ends[end] for end in ("approved", "denied", "expired", "void", "used")) > 0, ends
