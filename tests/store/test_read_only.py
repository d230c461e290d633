"""A look at a store from outside."""

from pathlib import Path

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from wvo_mcp.store.sqlite import read_only as module
from wvo_mcp.store.sqlite.connection import DatabaseError
from wvo_mcp.store.sqlite.read_only import held_by, read_only

pytestmark = pytest.mark.sqlite


@pytest.mark.anyio
async def test_tasks_are_found_by_the_agent_and_by_its_session(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"), a_task("T3"))
    await bench.claim(ANN, "T1")
    await bench.claim(ANN, "T2", agent_id="sub")
    await bench.claim(BOB, "T3")

    held = held_by(bench.path, ANN.agent_id)

    assert [(task.id, task.token) for task in held] == [("T1", 1), ("T2", 1)]
    assert [task.id for task in held_by(bench.path, "sub")] == ["T2"]
    assert held_by(bench.path, "nobody") == []


def test_where_no_store_is_nothing_is_held_and_nothing_is_made(tmp_path: Path) -> None:
    assert held_by(tmp_path / "state" / "state.db", "ann") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
async def test_looking_cannot_write(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    with read_only(bench.path) as raw, pytest.raises(DatabaseError):
        raw.execute("UPDATE tasks SET title = 'x'")


@pytest.mark.anyio
async def test_a_store_in_a_folder_that_may_not_be_written_can_be_looked_at(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN, "T1")
    await bench.store.close()
    monkeypatch.setattr(module.os, "access", lambda *_: False)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]

    assert [task.id for task in held_by(bench.path, ANN.agent_id)] == ["T1"]
    assert [file.name for file in bench.path.parent.iterdir()] == ["state.db"]


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_text("something else entirely, long enough to have a header of its own")
    with pytest.raises(DatabaseError):
        held_by(path, "ann")
