"""A dry run writes nothing anywhere: neither into the store nor into a file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.bench import OWNER, Bench, a_task
from tests.support.databases import looked_at
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.jobs import Jobs

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CORE-8")]

CASES: dict[str, dict[str, Any]] = {
    "create_tasks": {"tasks": [a_task("N", epic_id="New")], "request_id": "r"},
    "import_tasks": {"text": "- [ ] one\n- [ ] two\n"},
    "roadmap_export": {},
}
FILE = "epics:\n  - id: E\n    title: E\n    tasks:\n      - {id: T1, title: one}\n"


def everything(bench: Bench, root: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    with looked_at(bench.source) as database:
        names = (
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1"
            if isinstance(bench.source, Path)
            else "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        )
        rows = {name: sorted(map(str, database.rows(f'SELECT * FROM "{name}"'))) for name in database.column(names)}
    files = {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file() and ".db" not in path.name}
    return rows, files


def test_every_operation_with_a_dry_run_is_tried_here() -> None:
    # They need a repository or a copy: tests/operations/test_rollback.py, tests/execution/workspaces/test_shadows.py
    elsewhere = {"workspace_rollback", "workspace_promote"}
    assert {name for name, op in ALL.items() if "dry_run" in op.fields} - elsewhere == set(CASES)


@pytest.mark.parametrize("name", CASES)
async def test_a_dry_run_leaves_store_and_files_as_they_are(bench: Bench, name: str, tmp_path: Path) -> None:
    bench.roadmap.write_text(FILE)
    await bench.call("roadmap_sync", OWNER)
    await bench.create(a_task("A", epic_id="E"))
    # The file has been changed since: a sync would create, change and cancel.
    bench.roadmap.write_text(FILE.replace("T1, title: one", "T2, title: two"))
    before = everything(bench, tmp_path)

    answer = await called_by_a_server(bench, name)

    assert everything(bench, tmp_path) == before
    if name == "roadmap_export":
        assert (answer["added"], answer["changed"], answer["written"]) == (["A"], [], False)


async def called_by_a_server(bench: Bench, name: str) -> dict[str, Any]:
    """Where long work becomes a job."""
    answer: dict[str, Any] = {}
    async with anyio.create_task_group() as tasks:
        jobs = Jobs()
        await jobs.start(tasks)
        bench.services = replace(bench.services, jobs=jobs)
        answer = await bench.call(name, OWNER, dry_run=True, **CASES[name])
    return answer
