"""Whose a block is that was set before blocks had authors."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.store.test_upgrade import bring, source
from tests.support.bench import Bench
from tests.support.databases import Source, sqlite
from tests.support.frozen import load

__all__ = ["bring", "source"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DR-4", "SAFE-4")]

BLOCKED = """\
INSERT INTO events (seq, at, kind, task_id, agent_id, session_id, data, prev_hash, hash)
SELECT seq + 1, at, 'task.blocked', '{task}', '{agent}', 's', '{{}}', hash, 'h{task}' FROM events ORDER BY seq DESC LIMIT 1;
UPDATE tasks SET status = 'blocked', blocked_reason = 'wait', event_head = 'h{task}' WHERE id = '{task}';
"""


async def test_a_block_that_a_person_typed_stays_a_persons(source: Source, bring: Callable[[], Bench]) -> None:
    load(source, 3)
    authors = {"C": "cli-4711-90210", "P1": "cli-01234567-89ab-cdef-0123-456789abcdef"}  # by process; by session
    script = "".join(BLOCKED.format(task=task, agent=agent) for task, agent in authors.items())
    if isinstance(source, Path):
        with closing(sqlite.connect(str(source), isolation_level=None)) as file:
            file.executescript(script)
    else:
        with psycopg.connect(source, autocommit=True) as connection:
            connection.execute(script.encode(), prepare=False)
    bench = bring()
    await bench.store.open()

    rows = await bench.sql("SELECT id, block_author FROM tasks WHERE status = 'blocked' ORDER BY id")

    assert [(row["id"], row["block_author"]) for row in rows] == [("C", "person"), ("I", "approval"), ("P1", "holder")]
