"""Eight processes over random providers, limits and failures: no budget is overdrawn, no open breaker is met."""

from pathlib import Path

import pytest

from tests.races.routing_worker import seed_store
from tests.support.databases import looked_at
from tests.support.nursery import Nursery
from tests.support.scale import sized
from tests.support.stores import looked_for

WORKERS = 8
CALLS = sized(full=1_500, short=150)


@pytest.fixture
def url(store_kind: str, request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("store_url") if store_kind == "postgres" else None


@pytest.mark.full_on_postgres
@pytest.mark.parametrize("world", range(sized(full=12, short=1)))
@pytest.mark.requirement("PROV-2", "PROV-3", "PROV-4")
@pytest.mark.timeout(300)
def test_windows_are_exceeded_by_running_work_at_most_and_open_breakers_hold(
    tmp_path: Path, url: str | None, world: int
) -> None:
    seed_store(tmp_path, url, 300)
    log = tmp_path / "nursery.log"
    with Nursery("tests.races.routing_worker", log) as nursery:
        asked = {"folder": str(tmp_path), "url": url, "world": world, "calls": CALLS}
        children = [
            nursery.spawn(**asked, agent_id=f"w{number}", seed=100 * world + number) for number in range(WORKERS)
        ]
        codes = [nursery.wait(child, 240) for child in children]

    assert codes == [0] * WORKERS, log.read_text()[-4_000:]
    seen = {word for number in range(WORKERS) for word in (tmp_path / f"seen-w{number}").read_text().split()}
    assert {"claimed", "budget"} <= seen
    with looked_at(looked_for(tmp_path, url)) as database:

        def same(kept: str, truth: str) -> None:
            """Sums that triggers keep are those of the rows."""
            stood, meant = ([tuple(row.values()) for row in database.rows(sql)] for sql in (kept, truth))
            assert sorted(stood) == sorted(meant)

        for table, column, length in (("usage_minutes", "minute", 16), ("usage_days", "day", 10)):
            same(
                f"SELECT {column}, provider, tier, tokens FROM {table} WHERE tokens > 0",
                f"SELECT substr(at, 1, {length}), provider, tier, sum(tokens) FROM usage WHERE tokens > 0 GROUP BY 1, 2, 3",
            )
        same(
            "SELECT provider, tier, tokens, attempts FROM provider_reserved WHERE attempts > 0",
            "SELECT provider, tier, sum(reserved), count(*) FROM task_routes WHERE ended_at IS NULL GROUP BY 1, 2",
        )
