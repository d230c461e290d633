"""The page of the audit trail."""

import pytest

from tests.support.bench import ANN, Bench, a_task
from tests.support.web import visited

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1")]


async def test_events_are_dense_and_never_lose_the_newest(bench: Bench) -> None:
    await bench.create(a_task("A"))
    await bench.claim(ANN, "A")
    long = "x" * 3_000
    for n in range(12):
        await bench.write(lambda tx, n=n: tx.events.append("note.made", None, {"text": long, "n": n}))
    await bench.write(lambda tx: tx.events.append("note.made", None, {"text": "<i>short</i>"}))

    async with visited(bench.services) as visitor:
        html = await visitor.page("/events")
        data = await visitor.data("/events.json")
        older = await visitor.data(f"/events.json?before={data['older']}")

    assert data["events"][0]["data"] == {"text": "<i>short</i>"}
    assert "text <b>&lt;i&gt;short&lt;/i&gt;</b>" in html
    assert "<details" in html
    seqs = [event["seq"] for event in [*data["events"], *older["events"]]]
    assert seqs == sorted(seqs, reverse=True)
    assert seqs[0] - seqs[-1] == len(seqs) - 1


async def test_events_are_filtered_by_task_and_kind_and_an_agent_is_no_filter(bench: Bench) -> None:
    await bench.create(a_task("A"), a_task("B"))
    await bench.claim(ANN, "A")

    async with visited(bench.services) as visitor:
        of_task = await visitor.data("/events.json?task_id=A")
        of_kind = await visitor.data("/events.json?kind=task.created")
        none = await visitor.page("/events?task_id=NO")
        refused = await visitor.get("/events?agent=ann")

    assert [event["kind"] for event in of_task["events"]] == ["task.claimed", "task.created"]
    assert {event["task_id"] for event in of_kind["events"]} == {"A", "B"}
    assert "wvo-mcp events --follow" in none
    assert refused.status_code == 400
