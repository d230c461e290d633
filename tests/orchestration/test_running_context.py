"""Context snapshots: what they say, when they are written, how many stay."""
# ruff: noqa: ASYNC240 - nothing else runs beside a test

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from wvo_mcp.domain.instant import iso
from wvo_mcp.errors import StoreUnavailable
from wvo_mcp.execution.reports import KEPT, ContextSnapshots
from wvo_mcp.orchestration.hourly import describe_hourly, snapshot

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CTX-2", "DR-1")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "backups" / "context"


@pytest.fixture
def snapshots(bench: Bench, folder: Path) -> ContextSnapshots:
    found = ContextSnapshots(folder)
    bench.services = replace(bench.services, snapshots=found)
    return found


async def test_a_snapshot_says_what_is_held_ready_wrong_and_remembered(
    bench: Bench, snapshots: ContextSnapshots, folder: Path
) -> None:
    await bench.create(a_task("A", priority="high"), a_task("B"), a_task("C", depends_on=["A"]))
    await bench.claim(ANN)
    await bench.call(
        "checkpoint", ANN, task_id="A", summary="Half of it", next_steps="The other\nhalf", progress=50, files=["a.py"]
    )
    await bench.call("context_write", BOB, topic="Rounding", content="# Always up\nnever down", tags=["money"])
    await bench.write(lambda tx: tx.alerts.raise_alert("roadmap_invalid", "warning", None, "line 7"))
    await bench.call("pause", OWNER, reason="lunch")

    made = await bench.call("context_snapshot")

    (file,) = folder.iterdir()
    assert file.name == made["name"] == "context-2026-03-02T09-00-00-000Z.md"
    assert file.read_text() == made["text"]
    assert made["bytes"] == file.stat().st_size
    text = made["text"]
    assert text.startswith("# The running context, 2026-03-02T09:00:00.000Z\n\nUp to event ")
    assert "2 pending, 1 in progress; 1 ready." in text
    assert "Work is paused: lunch." in text
    assert "- A: Do A (held by ann until 2026-03-02T09:10:00.000Z, 50 %)" in text
    assert "  - checkpoint 1 of 2026-03-02T09:00:00.000Z: Half of it\n  - next: The other half\n  - files: a.py" in text
    assert "- B: Do B (score " in text
    assert "- C" not in text
    assert "- warning roadmap_invalid: line 7" in text
    assert "### Rounding (version 1, 2026-03-02T09:00:00.000Z) [money]\n\n> # Always up\n> never down" in text


async def test_what_a_gate_holds_back_is_not_listed_as_ready_before_its_time(
    bench: Bench, snapshots: ContextSnapshots
) -> None:
    soon = iso(bench.clock.now() + timedelta(minutes=5))
    await bench.create(*(a_task(f"GATED{n}", priority="critical", requires_approval=True) for n in range(30)))
    await bench.create(
        a_task("WHOLE", priority="high"), a_task("PART", parent_id="WHOLE"), a_task("LATER", not_before=soon)
    )

    async def told() -> list[str]:
        section = (
            (await snapshot(bench.store, snapshots, ANN)).text.partition("## Ready, best first")[2].partition("##")[0]
        )
        listed = [line.removeprefix("- ").partition(":")[0] for line in section.splitlines() if line.startswith("- ")]
        assert [task["id"] for task in (await bench.call("status"))["ready"]] == listed
        return listed

    assert await told() == ["PART"]
    bench.clock.advance(minutes=5)
    assert await told() == ["PART", "LATER"]


async def test_of_an_empty_store_it_says_so(bench: Bench, snapshots: ContextSnapshots) -> None:
    text = (await snapshot(bench.store, snapshots, ANN)).text
    assert "No tasks yet; 0 ready." in text
    assert text.count("Nothing.") == 5


async def test_it_is_written_once_in_an_hour_in_which_something_happened(
    bench: Bench, snapshots: ContextSnapshots, folder: Path
) -> None:
    assert not await describe_hourly(bench.store, snapshots, ANN), "nothing has happened yet"
    await bench.create(a_task("A"))
    assert await describe_hourly(bench.store, snapshots, ANN)
    await bench.create(a_task("B"))
    assert not await describe_hourly(bench.store, snapshots, ANN)
    bench.clock.advance(hours=1)
    assert await describe_hourly(bench.store, snapshots, BOB)
    assert not await describe_hourly(bench.store, snapshots, ANN)
    bench.clock.advance(hours=1)
    assert not await describe_hourly(bench.store, snapshots, ANN), "nothing happened"
    assert len(list(folder.iterdir())) == 2


async def test_the_last_ten_stay(bench: Bench, snapshots: ContextSnapshots, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "notes.md").write_text("mine")
    for _ in range(KEPT + 2):
        bench.clock.advance(0.5)
        await snapshot(bench.store, snapshots, ANN)
    bench.clock.advance(0.5)
    last = await snapshot(bench.store, snapshots, ANN)
    found = sorted(path.name for path in folder.iterdir())
    assert len(found) == KEPT + 1
    assert found[-1] == "notes.md"
    assert found[-2] == last.name
    assert (await snapshots.newest()) == last


async def test_a_place_that_cannot_be_written_is_named(bench: Bench, snapshots: ContextSnapshots, folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")
    with pytest.raises(StoreUnavailable, match="context"):
        await snapshot(bench.store, snapshots, ANN)
    assert await snapshots.newest() is None
