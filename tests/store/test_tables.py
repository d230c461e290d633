"""`docs/tables.md` explains the tables that there are, column by column."""

import re
from pathlib import Path

import pytest

from tests.support.bench import Bench, a_task
from wvo_mcp.store.postgres.store import PostgresStore

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("TASK-1")]

PAGE = (Path(__file__).parents[2] / "docs" / "tables.md").read_text()
KEPT = "Internal tables"


def explained() -> dict[str, list[str]]:
    """Columns by table; none for tables that the program keeps for itself."""
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
    rows = {name: re.findall(r"^\| (\w+) \| \S.* \|$", text, re.MULTILINE)[1:] for name, text in sections.items()}
    return {
        **{name: sorted(columns) for name, columns in rows.items() if name != KEPT},
        **{key: [] for key in rows[KEPT]},
    }


async def tables(bench: Bench) -> dict[str, list[str]]:
    """What the database says of itself."""
    if isinstance(bench.store, PostgresStore):
        rows = await bench.sql(
            "SELECT table_name AS name, column_name AS part FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND column_name <> 'rowid' ORDER BY table_name, ordinal_position"
        )
    else:
        rows = await bench.sql(
            "SELECT m.name, p.name AS part FROM sqlite_master AS m, pragma_table_info(m.name) AS p"
            " WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE '%_search_%'"
        )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["name"], []).append(row["part"])
    return {name: sorted(columns) for name, columns in found.items()}


async def test_every_table_and_column_is_explained(bench: Bench) -> None:
    page, found = explained(), await tables(bench)
    assert {name: columns for name, columns in found.items() if page.get(name) != []} == {
        name: columns for name, columns in page.items() if columns
    }


@pytest.mark.requirement("SCHED-1")
async def test_the_view_of_ready_tasks_says_what_they_belong_to_and_why_they_stand_there(bench: Bench) -> None:
    await bench.create(
        a_task("A", epic_id="SHOP", priority="high", complexity=8), a_task("B", depends_on=["A"], business_value=12)
    )

    (row,) = await bench.sql("SELECT * FROM ready_tasks")

    task = await bench.task("A")
    (plan,) = (await bench.call("plan_next"))["tasks"]
    why = plan["why"]
    assert list(row)[:3] == ["id", "title", "score"]
    assert row == {
        "id": "A",
        "title": "Do A",
        "score": task.score,
        "epic": "SHOP",
        "priority": "high",
        "milestone": None,
        "complexity": 8,
        "why": f"(10.00 of its own + {why['unlock_value']:.2f} for its date and what it opens)"
        f" / {8 + why['unlock_size']:.2f} points + {why['path_value']:.2f} for its path",
    }
    assert why["unlock_value"] == 12.0
