"""A small workspace for one client, and the questions that a test asks its database."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

ROADMAP = """\
epics:
  - id: SHOP
    title: Checkout
    tasks:
      - {id: PRICES, title: Price rules, priority: high, complexity: 2}
      - {id: COUPONS, title: Coupons on top of the price rules, depends_on: [PRICES]}
"""

CORE_TOOLS = frozenset(
    {
        "plan_next",
        "claim_task",
        "heartbeat",
        "checkpoint",
        "complete_task",
        "fail_task",
        "release_task",
        "block_task",
        "create_tasks",
        "update_task",
        "get_task",
        "list_tasks",
        "context_write",
        "context_read",
    }
)


def seeded(project: Path) -> Path:
    """Writes a roadmap of two tasks, of which the second waits for the first; returns the project."""
    state = project / "state"
    state.mkdir(parents=True, exist_ok=True)
    (state / "roadmap.yaml").write_text(ROADMAP, encoding="utf-8")
    return project


def rows(project: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a query finds in the workspace's database, read as any person would: with the stock SQLite, read only."""
    uri = f"{(project / 'state/state.db').as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=10)) as database:
        return database.execute(query, values).fetchall()
