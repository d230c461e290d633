"""Workspaces of several hosts on one store, each with a roadmap file of its own."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.bench import ANN, BOB, Bench
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.orchestration import background

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SCALE-2", "TASK-5")]

EPIC = "epics:\n  - id: E\n    title: E\n    tasks:\n"


def a_host(bench: Bench, folder: Path, *task_ids: str) -> Bench:
    """The store as a host sees it whose roadmap has these tasks."""
    folder.mkdir()
    file = folder / "roadmap.yaml"
    file.write_text(EPIC + "".join(f"      - {{id: {task_id}, title: {task_id}}}\n" for task_id in task_ids))
    services = replace(bench.services, roadmap=RoadmapSource(file, location=f"{folder.name}:{file}"))
    return Bench(services, bench.store, bench.clock, bench.servers)


async def follow(host: Bench) -> None:
    """What a server does at its start, and the leader when the file changes."""
    await background.sync_or_alert(host.store, host.services.roadmap, ANN)


async def test_a_host_with_an_older_file_takes_nothing_back(bench: Bench, tmp_path: Path) -> None:
    first = a_host(bench, tmp_path / "first", "T1", "T2")
    behind = a_host(bench, tmp_path / "behind", "T1")

    await follow(first)
    await follow(behind)

    assert await bench.status("T1", "T2") == ["pending", "pending"]


async def test_the_first_file_is_followed_on(bench: Bench, tmp_path: Path) -> None:
    first = a_host(bench, tmp_path / "first", "T1")
    await follow(first)
    await follow(a_host(bench, tmp_path / "other", "T9"))

    first.roadmap.write_text(EPIC + "      - {id: T1, title: New title}\n")
    await follow(first)

    assert (await bench.task("T1")).title == "New title"


async def test_a_sync_that_is_asked_for_makes_another_file_the_one(bench: Bench, tmp_path: Path) -> None:
    first = a_host(bench, tmp_path / "first", "T1", "T2")
    other = a_host(bench, tmp_path / "other", "T1", "T3")
    await follow(first)

    synced = await other.call("roadmap_sync", BOB)
    await follow(first)

    assert (synced["created"], synced["cancelled"]) == (["T3"], ["T2"])
    assert await bench.status("T1", "T2", "T3") == ["pending", "cancelled", "pending"]


async def test_an_equal_file_is_taken_over_too(bench: Bench, tmp_path: Path) -> None:
    await follow(a_host(bench, tmp_path / "first", "T1"))
    other = a_host(bench, tmp_path / "other", "T1")

    assert (await other.call("roadmap_sync", BOB))["unchanged"]
    other.roadmap.write_text(EPIC + "      - {id: T1, title: New title}\n")
    await follow(other)

    assert (await bench.task("T1")).title == "New title"


async def test_a_host_without_a_file_says_nothing(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await follow(a_host(bench, tmp_path / "first", "T1"))
    empty = a_host(bench, tmp_path / "empty")
    empty.roadmap.unlink()

    await follow(empty)

    assert not caplog.records


async def test_a_host_whose_file_is_not_followed_is_told_how_to_change_that(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await follow(a_host(bench, tmp_path / "first", "T1"))

    await follow(a_host(bench, tmp_path / "other", "T2"))

    assert "wvo-mcp roadmap-sync" in caplog.text
