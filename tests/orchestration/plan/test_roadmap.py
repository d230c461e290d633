"""The three-way merge between the file, the store, and the file as it was."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.bench import ANN, OWNER, AnyStore, Bench, a_task
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.roadmap import RoadmapChanges
from wvo_mcp.errors import InvalidInput, StaleLease, StoreUnavailable
from wvo_mcp.orchestration.plan import roadmap
from wvo_mcp.ports import Recorded, Transaction

T = TypeVar("T")

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("TASK-5")]

HEAD = "epics:\n  - id: E\n    title: Epic\n    tasks:\n"
T1 = "      - {id: T1, title: one, priority: high}\n"
T2 = "      - {id: T2, title: two, depends_on: [T1]}\n"


async def sync(bench: Bench, *lines: str, head: str = HEAD) -> dict[str, Any]:
    path(bench).write_text(head + "".join(lines))
    return await bench.call("roadmap_sync", OWNER)


def path(bench: Bench) -> Path:
    return bench.roadmap


async def test_what_people_left_alone_stays_as_agents_made_it(bench: Bench) -> None:
    await sync(bench, T1, T2)
    await bench.call("update_task", ANN, task_id="T1", title="better", complexity=2)

    report = await sync(bench, T1.replace("high", "low"), T2)

    assert report["updated"] == ["T1"]
    task = await bench.task("T1")
    assert (task.title, task.complexity, task.priority) == ("better", 2, "low")


async def test_progress_survives_every_edit(bench: Bench) -> None:
    await sync(bench, T1, T2)
    await bench.done("T1")
    await bench.claim(ANN, "T2")

    await sync(bench, T1.replace("one", "uno"), T2.replace("two", "due"))

    assert await bench.status("T1", "T2") == ["done", "in_progress"]
    assert (await bench.complete("T2"))["task"]["title"] == "due"


async def test_an_unchanged_file_is_not_even_read(bench: Bench) -> None:
    await sync(bench, T1, T2)

    report = await sync(bench, T1, T2)

    assert (report["unchanged"], report["tasks"], report["sync_ratio"]) == (True, 2, 1.0)


async def test_a_removed_task_is_cancelled_and_one_that_returns_is_restored(bench: Bench) -> None:
    await sync(bench, T1, T2)
    await bench.create(a_task("A", epic_id="E"))

    assert (await sync(bench, T1))["cancelled"] == ["T2"]
    assert await bench.status("T1", "T2", "A") == ["pending", "cancelled", "pending"]
    assert (await sync(bench, T1, T2))["restored"] == ["T2"]
    assert await bench.status("T2") == ["pending"]


async def test_work_in_progress_that_leaves_the_roadmap_ends_and_its_holder_learns_it(bench: Bench) -> None:
    await sync(bench, T1)
    lease = (await bench.claim(ANN, "T1"))["lease"]

    await sync(bench, T2.replace(", depends_on: [T1]", ""))
    await bench.call("roadmap_sync", OWNER, allow_cancel=True)

    assert await bench.status("T1") == ["cancelled"]
    with pytest.raises(StaleLease):
        await bench.complete("T1", ANN, lease_token=lease["token"])


async def test_what_a_person_cancelled_by_hand_stays_cancelled(bench: Bench) -> None:
    await sync(bench, T1, T2)
    await bench.call("cancel", OWNER, task_id="T2")

    await sync(bench, T1.replace("one", "uno"), T2)

    assert await bench.status("T2") == ["cancelled"]


async def test_a_status_counts_when_it_is_written_and_not_at_every_sync(bench: Bench) -> None:
    await sync(bench, T1)
    await bench.done("T1")

    await sync(bench, T1.replace("high", "high, status: pending"))
    assert await bench.status("T1") == ["pending"]
    await bench.done("T1")
    await sync(bench, T1.replace("high", "low, status: pending"))
    assert await bench.status("T1") == ["done"]


async def test_blocking_in_the_file_is_taken_back_with_the_word(bench: Bench) -> None:
    await sync(bench, T1.replace("high", "high, status: blocked"))
    assert await bench.status("T1") == ["blocked"]

    await sync(bench, T1)

    assert await bench.status("T1") == ["pending"]


async def test_edges_can_be_turned_round_in_one_edit(bench: Bench) -> None:
    await sync(bench, T1, T2)

    await sync(bench, T1.replace("high", "high, depends_on: [T2]"), T2.replace(", depends_on: [T1]", ""))

    assert [(await bench.task(t)).unmet_deps for t in ("T1", "T2")] == [1, 0]
    assert [(await bench.task(t)).tail for t in ("T1", "T2")] == [5, 10]


async def test_edges_that_agents_added_stay(bench: Bench) -> None:
    await bench.create(a_task("A"))
    await sync(bench, T1, T2)
    await bench.call("update_task", ANN, task_id="T2", add_depends_on=["A"])

    await sync(bench, T1, T2.replace("two", "due"))

    assert (await bench.task("T2")).unmet_deps == 2


async def test_what_begun_and_finished_work_depends_on_is_merged_even_when_an_agent_syncs(bench: Bench) -> None:
    t3 = "      - {id: T3, title: three}\n"
    await sync(bench, T1, T2.replace(", depends_on: [T1]", ""), t3)
    await bench.done("T3")
    await bench.claim(ANN, "T2")

    path(bench).write_text(HEAD + T1 + T2 + t3.replace("three", "three, depends_on: [T1]"))
    report = await bench.call("roadmap_sync", ANN)

    assert (report["updated"], report["sync_ratio"]) == (["T2", "T3"], 1.0)
    assert await bench.status("T2", "T3") == ["in_progress", "done"]


async def test_a_broken_file_changes_nothing_and_names_the_line(bench: Bench) -> None:
    await sync(bench, T1, T2)
    before = await bench.sql("SELECT * FROM tasks ORDER BY id")

    with pytest.raises(InvalidInput) as refused:
        await sync(bench, T1.replace("one", "uno"), T2.replace("T1", "T9"))

    assert refused.value.details["problems"][0]["line"] == 6
    assert "T1" in refused.value.message or "T9" in refused.value.message
    assert await bench.sql("SELECT * FROM tasks ORDER BY id") == before


async def test_criteria_that_commas_may_have_split_are_told_by_the_sync(bench: Bench) -> None:
    report = await sync(bench, T1.replace("high", "high, acceptance: [reads 1,000 rows, tests pass]"))

    assert [str(warning)[:36] for warning in report["warnings"]] == ["line 5: epics[0].tasks[0].acceptance"]
    assert (await bench.task("T1")).acceptance == ("reads 1", "000 rows", "tests pass")


async def test_a_milestone_is_created_once_and_updated_when_it_changes(bench: Bench) -> None:
    head = "epics:\n  - id: E\n    title: Epic\n    milestones: [{id: M, title: %s}]\n    tasks:\n"
    for title in ("Beta", "Release"):
        await sync(bench, T1, head=head % title)

    rows = await bench.sql("SELECT kind FROM events WHERE kind LIKE 'milestone.%' ORDER BY seq")
    assert [row["kind"] for row in rows] == ["milestone.created", "milestone.updated"]


async def test_an_epic_takes_over_its_title_and_limit(bench: Bench) -> None:
    await sync(bench, T1)

    await sync(bench, T1, head=HEAD.replace("title: Epic", "title: Renamed\n    wip_limit: 1"))

    epics = await bench.sql("SELECT title, wip_limit FROM epics")
    assert epics == [{"title": "Renamed", "wip_limit": 1}]


async def test_an_export_writes_back_what_the_store_knows_and_a_second_one_nothing(bench: Bench) -> None:
    await sync(bench, "      # first of all\n", T1, T2)
    await bench.call("update_task", ANN, task_id="T1", title="better")
    await bench.create(a_task("N", epic_id="E", depends_on=["T2"]), a_task("loose"))
    await bench.call("cancel", OWNER, task_id="T2")

    answer = await bench.call("roadmap_export", OWNER)

    assert (sorted(answer["changed"]), answer["added"], answer["left_out"]) == (["T1", "T2"], ["N"], ["loose"])
    text = path(bench).read_text()
    assert "# first of all" in text
    assert "title: better" in text
    again = await bench.call("roadmap_export", OWNER)
    assert (again["written"], path(bench).read_text()) == (False, text)
    assert await bench.status("T1", "T2", "N") == ["pending", "cancelled", "pending"]
    assert (await bench.task("N")).origin == "roadmap"


class DiesAtOnce:
    """A history during which the process is killed."""

    async def record(self, changes: RoadmapChanges, message: str) -> Recorded:
        raise SystemExit("killed")


async def test_a_task_that_an_export_wrote_can_be_removed_though_the_export_died_halfway(bench: Bench) -> None:
    await sync(bench, T1)
    await bench.create(a_task("A", epic_id="E"))
    bench.services = replace(bench.services, history=DiesAtOnce())

    with pytest.raises(SystemExit):
        await bench.call("roadmap_export", OWNER)
    assert "id: A" in path(bench).read_text()
    assert (await bench.task("A")).origin == "agent"
    await bench.call("roadmap_sync", OWNER)

    assert (await sync(bench, T1.replace("one", "uno")))["cancelled"] == ["A"]


async def test_a_store_of_before_in_which_an_export_died_lets_go_of_its_tasks(bench: Bench) -> None:
    await sync(bench, T1, T2)
    await bench.force("UPDATE tasks SET origin = 'agent' WHERE id = 'T2'")

    assert (await sync(bench, T1))["cancelled"] == ["T2"]


async def merged(bench: Bench, *lines: str) -> roadmap.Report:
    path(bench).write_text(HEAD + "".join(lines))
    return await roadmap.sync_file(bench.services.store, bench.services.roadmap, OWNER, allow_cancel=True)


async def total(bench: Bench) -> int:
    return len(await bench.sql("SELECT id FROM tasks"))


BATCH = 10


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert roadmap.BATCH == 100, "with more, the write lock of PostgreSQL is held for too long"
    monkeypatch.setattr(roadmap, "BATCH", BATCH)


class Counting:
    """A store that counts the tasks that each transaction changed, and fails once after some of them."""

    def __init__(self, store: AnyStore, fails_after: int | None = None) -> None:
        self._store = store
        self._fails_after = fails_after
        self.changed: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        if self._fails_after == len(self.changed):
            self._fails_after = None
            raise StoreUnavailable("The link is cut.")
        tasks: set[str] = set()

        async def counted(tx: Transaction) -> T:
            add, change = tx.tasks.add, tx.tasks.change

            async def added(fields: Any) -> Any:
                tasks.add(fields["id"])
                return await add(fields)

            async def changed(task: Any, *rest: Any) -> Any:
                tasks.add(task.id)
                return await change(task, *rest)

            tx.tasks.add, tx.tasks.change = added, changed  # pyright: ignore[reportAttributeAccessIssue]
            return await work(tx)

        try:
            return await self._store.write(caller, counted, keep=keep)
        finally:
            self.changed.append(len(tasks))


@pytest.mark.usefixtures("small_batches")
async def test_a_large_roadmap_is_merged_in_parts_that_others_can_work_between(bench: Bench) -> None:
    def line(number: int, title: str = "t") -> str:
        needs = f"depends_on: [T{number + 1}]" if number % 3 else f"parent: T{number + 1}"
        return f"      - {{id: T{number}, title: {title}, {needs}}}\n"

    count = BATCH * 4
    store = Counting(bench.store)
    bench.services = replace(bench.services, store=store)
    last = f"      - {{id: T{count}, title: last}}\n"

    created = await merged(bench, *(line(number) for number in range(count)), last)
    made = [*store.changed]
    changed = await merged(bench, *(line(number, "u") for number in range(count)), last)
    renamed = store.changed[len(made) :]
    cancelled = await merged(bench, last)
    gone = store.changed[len(made) + len(renamed) :]

    assert len(created.created) == count + 1
    assert len(changed.updated) == len(cancelled.cancelled) == count
    for changes in (made, renamed, gone):
        assert sum(changes) >= count
        assert len(changes) >= 4
        assert max(changes) <= BATCH + 1  # a child comes with its parent
    assert (await bench.status("T0", f"T{count}")) == ["cancelled", "pending"]


@pytest.mark.usefixtures("small_batches")
async def test_a_sync_that_was_interrupted_is_finished_by_the_next_one(bench: Bench) -> None:
    tasks = [f"      - {{id: T{number}, title: t}}\n" for number in range(BATCH * 3)]
    store = Counting(bench.store, fails_after=2)
    bench.services = replace(bench.services, store=store)

    with pytest.raises(StoreUnavailable):
        await sync(bench, *tasks)
    partly = await total(bench)
    report = await merged(bench, *tasks)

    assert partly == 2 * BATCH
    assert (len(report.created), await total(bench)) == (BATCH, 3 * BATCH)


@pytest.mark.usefixtures("small_batches")
async def test_edges_of_many_tasks_can_be_turned_round_in_one_edit(bench: Bench) -> None:
    def chain(number: int, other: int) -> str:
        return f"      - {{id: T{number}, title: t, depends_on: [{f'T{other}' if 0 <= other <= BATCH * 2 else ''}]}}\n"

    await merged(bench, *(chain(number, number + 1) for number in range(BATCH * 2 + 1)))

    report = await merged(bench, *(chain(number, number - 1) for number in range(BATCH * 2 + 1)))

    assert len(report.updated) == BATCH * 2 + 1
    assert [row["id"] for row in await bench.sql("SELECT id FROM ready_tasks")] == ["T0"]


class Meanwhile:
    """A store in which something happens before one of the writes."""

    def __init__(self, store: AnyStore, number: int, happens: Callable[[], Awaitable[object]]) -> None:
        self._store = store
        self._left = number
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        self._left -= 1
        if not self._left:
            await self._happens()
        return await self._store.write(caller, work, keep=keep)


@pytest.mark.usefixtures("small_batches")
async def test_a_sync_in_parts_does_not_go_on_when_a_newer_version_was_merged_meanwhile(bench: Bench) -> None:
    older = [f"      - {{id: T{number}, title: t}}\n" for number in range(BATCH * 3)]
    newer = [older[0].replace("t}", "newer}"), *older[1:], "      - {id: N, title: new}\n"]
    services = bench.services

    async def edited() -> None:
        path(bench).write_text(HEAD + "".join(newer))
        await roadmap.sync_file(bench.store, services.roadmap, OWNER)

    bench.services = replace(services, store=Meanwhile(bench.store, 2, edited))
    await merged(bench, *older)

    assert ((await bench.task("T0")).title, await bench.status("N")) == ("newer", ["pending"])
    assert (await merged(bench, *newer)).unchanged
