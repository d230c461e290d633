"""`docs/tables.md` explains the tables that there are, column by column."""

import re
from pathlib import Path

import pytest

from tests.support.bench import Bench
from wvo_mcp.store.postgres.store import PostgresStore

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("TASK-1")]

PAGE = (Path(__file__).parents[2] / "docs" / "tables.md").read_text()
KEPT = "Kept by the program"


def explained() -> dict[str, list[str]]:
    """Columns by table, in the order of the page; none for tables that the program keeps for itself."""
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
    rows = {name: re.findall(r"^\| (\w+) \| \S.* \|$", text, re.MULTILINE)[1:] for name, text in sections.items()}
    return {**{name: columns for name, columns in rows.items() if name != KEPT}, **{key: [] for key in rows[KEPT]}}


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
    return found


async def test_every_table_and_column_is_explained(bench: Bench) -> None:
    page = explained()
    for table, columns in (await tables(bench)).items():
        assert table in page
        missing = [column for column in columns if page[table] and column not in page[table]]
        assert missing == [], table
