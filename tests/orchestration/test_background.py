"""Renewal and leadership on a stopped clock."""

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.orchestration.background import LEAD_SECONDS, Keeper, Leader, end

pytestmark = pytest.mark.anyio


def keeper(bench: Bench, caller: Caller = ANN, quiet: float = 7_200) -> Keeper:
    return Keeper(bench.store, lambda: caller, bench.clock, quiet)


async def expiry(bench: Bench, task_id: str = "T1") -> str:
    expires_at = (await bench.task(task_id)).lease_expires_at
    assert expires_at is not None
    return iso(expires_at)


@pytest.mark.requirement("CLAIM-3")
async def test_a_lease_is_renewed_at_a_third_of_its_length_and_not_before(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)
    keeps = keeper(bench)
    granted = await expiry(bench)

    bench.clock.advance(199)
    assert await keeps.renew() == pytest.approx(1, abs=0.1)
    assert await expiry(bench) == granted
    bench.clock.advance(1)
    assert await keeps.renew() == pytest.approx(200)

    assert await expiry(bench) == "2026-03-02T09:13:20.000Z"


@pytest.mark.requirement("CLAIM-3")
async def test_a_session_that_is_silent_beyond_the_limit_is_not_renewed(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)
    keeps = keeper(bench, quiet=300)
    keeps.heard()
    bench.clock.advance(301)
    granted = await expiry(bench)

    await keeps.renew()
    assert await expiry(bench) == granted
    keeps.heard()
    await keeps.renew()

    assert await expiry(bench) > granted


@pytest.mark.requirement("CLAIM-2")
async def test_a_session_renews_nothing_that_another_has_taken_over(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)
    bench.clock.advance(minutes=11)
    await bench.claim(BOB)
    taken = await expiry(bench)
    bench.clock.advance(300)

    assert await keeper(bench).renew() == 3_600

    assert await expiry(bench) == taken


def leader(bench: Bench, caller: Caller) -> Leader:
    return Leader(bench.store, bench.services.roadmap, lambda: caller, bench.clock, bench.policy)


async def test_one_of_two_leads_and_the_other_follows_when_it_dies(bench: Bench) -> None:
    first, second = leader(bench, ANN), leader(bench, BOB)

    assert await first.leads()
    assert not await second.leads()
    bench.clock.advance(LEAD_SECONDS - 1)
    assert await first.leads()
    bench.clock.advance(LEAD_SECONDS - 1)
    assert not await second.leads()
    bench.servers.kill("ann/1")
    assert await second.leads()
    tokens = await bench.sql("SELECT session_id, token FROM leaders")

    assert tokens == [{"session_id": "bob/1", "token": 2}]


async def test_a_leader_that_paused_for_too_long_no_longer_leads(bench: Bench) -> None:
    first, second = leader(bench, ANN), leader(bench, BOB)
    assert await first.leads()
    bench.clock.advance(LEAD_SECONDS + 1)
    assert await second.leads()

    assert not await first.leads()


async def test_the_leader_returns_expired_tasks_without_any_claim(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)
    bench.clock.advance(minutes=11)
    leads = leader(bench, BOB)
    assert await leads.leads()

    await leads.tick()

    assert await bench.status("T1") == ["pending"]


@pytest.mark.requirement("TASK-5")
async def test_a_changed_roadmap_is_read_once_it_stands_still_and_its_mistakes_become_an_alert(bench: Bench) -> None:
    path = bench.roadmap
    leads = leader(bench, ANN)
    path.write_text("epics:\n  - id: E\n    title: E\n    tasks:\n      - {id: T1, title: one}\n")

    await leads.watch_roadmap()
    assert (await bench.call("list_tasks"))["total"] == 0
    await leads.watch_roadmap()
    assert await bench.status("T1") == ["pending"]
    path.write_text("epics:\n  - id: E\n    title: E\n    tasks:\n      - {id: T1, title: one, colour: red}\n")
    await leads.watch_roadmap()
    await leads.watch_roadmap()

    alerts = (await bench.call("status"))["alerts"]
    assert [alert["kind"] for alert in alerts] == ["roadmap_invalid"]
    assert "roadmap.yaml:5" in alerts[0]["message"]
    path.write_text("epics:\n  - id: E\n    title: E\n    tasks:\n      - {id: T1, title: two words}\n")
    await leads.watch_roadmap()
    await leads.watch_roadmap()
    assert (await bench.call("status"))["alerts"] == []
    assert (await bench.task("T1")).title == "two words"


@pytest.mark.requirement("SCHED-1")
async def test_scores_follow_a_due_date_as_it_nears(bench: Bench) -> None:
    path = bench.roadmap
    path.write_text(
        "epics:\n  - id: E\n    title: E\n    milestones:\n      - {id: M, title: M, due: 2026-04-01}\n"
        "    tasks:\n      - {id: T1, title: one, milestone: M, complexity: 1}\n"
    )
    await bench.call("roadmap_sync")
    before = (await bench.task("T1")).score
    bench.clock.advance(days=20)
    leads = leader(bench, ANN)
    assert await leads.leads()
    await leads.tick()

    days_left = 10 + (86_399.999 - 9 * 3600) / 86_400
    assert before < (await bench.task("T1")).score == round(5 + 10 / (1 + days_left / 7), 4)


@pytest.mark.requirement("CLAIM-3", "CORE-11")
async def test_a_client_that_goes_away_leaves_its_leases_the_grace(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN)

    await end(bench.store, ANN, bench.policy)

    assert await expiry(bench) == "2026-03-02T09:01:00.000Z"
    sessions = await bench.sql("SELECT session_id, ended_at FROM sessions")
    assert sessions == [{"session_id": "ann/1", "ended_at": "2026-03-02T09:00:00.000Z"}]
