"""The roadmaps that are shipped are sound, and an agent without special abilities can drain them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from wvo_mcp.domain.roadmap import Roadmap
from wvo_mcp.execution.roadmap.source import read_roadmap

pytestmark = pytest.mark.requirement("TASK-5")

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "wvo_mcp" / "execution" / "samples" / "roadmap.yaml"
EXAMPLE = ROOT / "examples" / "roadmap.yaml"


def read(path: Path) -> Roadmap:
    return read_roadmap(path, lambda _: set())


def waits(roadmap: Roadmap) -> Mapping[str, set[str]]:
    graph = {task.id: set(task.depends_on) for task in roadmap.tasks}
    for task in roadmap.tasks:
        if task.parent_id is not None:
            graph[task.parent_id].add(task.id)
    return graph


def longest_chain(graph: Mapping[str, set[str]]) -> int:
    @cache
    def depth(name: str) -> int:
        return 1 + max((depth(other) for other in graph[name]), default=0)

    return max(depth(name) for name in graph)


@pytest.mark.requirement("TASK-4")
def test_the_example_has_the_size_and_the_depth_of_a_real_product() -> None:
    roadmap = read(EXAMPLE)
    graph = waits(roadmap)

    assert len(roadmap.tasks) >= 60
    assert len(roadmap.epics) >= 6
    assert sum(1 for each in roadmap.milestones if each.due_at and each.due_at.year == 2027) >= 5
    assert longest_chain(graph) >= 12
    assert max(sum(name in others for others in graph.values()) for name in graph) >= 8  # fan-out
    assert max(len(others) for others in graph.values()) >= 6  # fan-in
    assert any(epic.wip_limit for epic in roadmap.epics)
    assert any(task.parent_id for task in roadmap.tasks)
    assert all(task.acceptance and task.files for task in roadmap.tasks)


@pytest.mark.parametrize("path", [EXAMPLE, SAMPLE], ids=["example", "sample"])
def test_nothing_in_a_shipped_roadmap_waits_for_a_person_or_an_ability(path: Path) -> None:
    assert read(path).warnings == ()
    for task in read(path).tasks:
        assert not (task.requires_approval or task.not_before or task.capabilities or task.status)


def test_the_repositorys_own_roadmap_is_the_sample() -> None:
    assert (ROOT / "state" / "roadmap.yaml").read_bytes() == SAMPLE.read_bytes()
    assert len(read(SAMPLE).tasks) == 6
