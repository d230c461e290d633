"""What the machine of `test_model` draws from."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol

from hypothesis import strategies as st

from tests.support.bench import a_task
from tests.support.clock import StoppedClock
from tests.support.model import World
from tests.support.sessions import an_agent
from wvo_mcp.domain.instant import iso

MOST_TASKS = 7
FIRST = [
    a_task("T1", epic_id="E3"),
    a_task("T2", depends_on=["T1"], files=["src/**"]),
    a_task("T3", depends_on=["T1"], parent_id="T6", milestone_id="M2"),
    a_task("T4", depends_on=["T2", "T3"], epic_id="E3"),
    a_task("T5", requires_approval=True, files=["src/a.py"]),
    a_task("T6", capabilities=["gpu"], priority="high"),
]
"""What every run begins with."""

CYD = an_agent("cyd", None, "gpu")
EPICS = st.sampled_from(["E1", "E2", "E3"])
MILESTONES = st.sampled_from(["M1", "M2", "M9"])
SCOPES = st.sampled_from([[], ["src/a.py"], ["src/**"], ["docs/*.md"]])
DAYS = st.integers(-3, 40)
SECONDS = st.integers(-10, 400)
LIMITS = st.sampled_from([None, 1, 2])
WRITES = ("heartbeat", "checkpoint", "complete_task", "complete_task", "fail_task", "release_task", "block_task")


class Player(Protocol):
    """The machine, as far as draws depend on where it stands."""

    world: World
    clock: StoppedClock

    def connected(self) -> list[str]: ...


def _of(make: Callable[["Player"], Any]) -> st.SearchStrategy[Any]:
    return st.runner().flatmap(lambda machine: st.sampled_from(make(machine)))


IDS = _of(lambda machine: [*machine.world.tasks, *([] if len(machine.world.tasks) % 4 else ["X9"])])
DONE = _of(lambda machine: [t.id for t in machine.world.tasks.values() if t.status == "done"] or ["T1"])
BY = _of(lambda machine: machine.connected())
"""Session ids of those who can call."""
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "epic_id": EPICS,
    "milestone_id": MILESTONES,
    "parent_id": IDS,
    "priority": st.sampled_from(["critical", "high", "medium", "low"]),
    "complexity": st.integers(1, 10),
    "business_value": st.sampled_from([0, 7.5, 20]),
    "files": SCOPES,
    "capabilities": st.sampled_from([[], ["gpu"]]),
    "requires_approval": st.booleans(),
    "not_before": st.tuples(st.runner(), SECONDS).map(
        lambda both: iso(both[0].clock.now() + timedelta(seconds=both[1]))
    ),
    "max_attempts": st.integers(1, 3),
}
CLEARED = ("epic_id", "milestone_id", "parent_id", "business_value", "not_before")


def _draft(task_ids: st.SearchStrategy[str], around: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """A task with at most three attributes, so that most can be claimed, and at most two links to those around."""
    names = st.lists(st.sampled_from([*FIELDS]), max_size=3, unique=True)
    attributes = names.flatmap(lambda chosen: st.fixed_dictionaries({name: FIELDS[name] for name in chosen}))
    links = st.lists(st.sampled_from(around), max_size=2, unique=True) if around else st.just([])
    return st.tuples(task_ids, attributes, links).map(lambda drawn: a_task(drawn[0], **drawn[1], depends_on=drawn[2]))


def batch(machine: "Player") -> st.SearchStrategy[list[dict[str, Any]]]:
    """One to four drafts: mostly sound, linked to what exists and to each other."""
    first = len(machine.world.tasks) + 1
    new = [f"T{number}" for number in range(first, first + 4)]
    daring = first % 4 == 0
    items: list[st.SearchStrategy[dict[str, Any]]] = []
    for place, task_id in enumerate(new):
        around = [*machine.world.tasks, *(new if daring else new[:place])]
        items.append(_draft(st.sampled_from([task_id, "T1"]) if daring else st.just(task_id), around))
    return st.integers(1, 4).flatmap(lambda size: st.tuples(*items[:size])).map(list)
