"""Is a database sound? Everything is asked of it as a person would ask: plain SQL, read only, beside running servers.

`verify` fails with every broken rule; what it gives tells what happened.
"""

import hashlib
import json
import time
from collections.abc import Iterator

from tests.support.dag import order
from tests.support.databases import Database, Source, looked_at, mirrored
from tests.support.history import History, Limits, replay
from tests.support.ranking import misranked, own_value
from tests.support.rules import KEPT, LEASES, RECORDS

__all__ = ["Source", "looked_at", "verify"]


def verify(source: Source, limits: Limits | None = None) -> History:
    """Everything that must always hold, holds. The history of the store's tasks."""
    with mirrored(source) as database:
        problems = list(_broken_rules(database))
        problems += _broken_chains(database)
        problems += _wrong_ready_view(database)
        problems += _wrong_scores(database)
        history = replay(database, limits or Limits())
    problems += history.problems
    assert not problems, "\n".join([f"{len(problems)} rules are broken:", *problems[:40]])
    return history


def _broken_rules(database: Database) -> Iterator[str]:
    for rules in (KEPT, LEASES, RECORDS):
        for rule, offending in rules.items():
            for row in database.rows(offending)[:5]:
                yield f"{rule}: {row}"


def _broken_chains(database: Database) -> Iterator[str]:
    heads: dict[str | None, str] = {}
    for row in database.rows("SELECT * FROM events ORDER BY seq"):
        columns = ("seq", "at", "kind", "task_id", "agent_id", "session_id", "data")
        before = heads.get(row["task_id"], "")
        text = json.dumps(
            [before, *(row[name] for name in columns)], sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        if row["prev_hash"] != before or row["hash"] != hashlib.sha256(text.encode()).hexdigest():
            yield f"the chain of {row['task_id']} is broken at event {row['seq']}"
        heads[row["task_id"]] = row["hash"]


def _wrong_ready_view(database: Database) -> Iterator[str]:
    """`ready_tasks` against the base tables: pending, every dependency done, no gate, room in the epic; best first."""
    shown = database.shown_ready
    expected = database.column(
        """
        SELECT id FROM tasks AS t
        WHERE status = 'pending'
          AND NOT EXISTS (
            SELECT 1 FROM task_dependencies AS d JOIN tasks AS o ON o.id = d.depends_on_task_id
            WHERE d.task_id = t.id AND o.status <> 'done')
          AND NOT EXISTS (SELECT 1 FROM tasks AS c WHERE c.parent_id = t.id AND c.status NOT IN ('done', 'cancelled'))
          AND (requires_approval = 0 OR approved_at IS NOT NULL)
          AND ((gates & 1) = 0 OR not_before <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
          AND ((gates & 8) = 0 OR kept_until <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
          AND NOT EXISTS (
            SELECT 1 FROM epics AS e WHERE e.id = t.epic_id AND e.wip_limit <= (
              SELECT count(*) FROM tasks AS w WHERE w.epic_id = e.id AND w.status = 'in_progress'))
        ORDER BY score DESC, seq
        """
    )
    # The view was read a moment before: what became due meanwhile is in one list only.
    due = set(
        database.column(
            "SELECT id FROM tasks WHERE abs((julianday('now') - julianday(CASE WHEN (gates & 1) = 1 THEN not_before END))"
            " * 86400) < ?1"
            " OR abs((julianday('now') - julianday(CASE WHEN (gates & 8) = 8 THEN kept_until END)) * 86400) < ?1",
            max(30.0, time.monotonic() - database.shown_at + 5),
        )
    )
    shown, expected = ([task_id for task_id in listed if task_id not in due] for listed in (shown, expected))
    if shown != expected:
        yield f"ready_tasks shows {shown[:10]}, expected {expected[:10]} ({len(shown)} and {len(expected)} in all)"


def _wrong_scores(database: Database) -> Iterator[str]:
    """What is kept for the scores of open tasks; nothing waits for itself."""
    tasks = {row["id"]: row for row in database.rows("SELECT * FROM tasks")}
    edges = [(row["task_id"], row["depends_on_task_id"]) for row in database.rows("SELECT * FROM task_dependencies")]
    waits: dict[str, list[str]] = {task_id: [] for task_id in tasks}
    for task_id, other in edges:
        waits[task_id].append(other)
    if order(waits) is None:
        yield "dependencies form a circle"
        return
    (store,) = database.rows("SELECT path_step, rescored FROM store")
    if store["rescored"] >= 0 or any(row["unlock_stale"] for row in tasks.values()):
        return  # the leader has tasks to make anew, and those above them are not right before that
    dated = set(
        database.column("SELECT t.id FROM tasks AS t JOIN milestones AS m ON m.id = t.milestone_id WHERE due_at > ''")
    )
    yield from misranked(
        tasks.values(),
        edges,
        [(row["task_id"], row["waits_for_task_id"]) for row in database.rows("SELECT * FROM task_waits")],
        step=store["path_step"],
        weights=lambda row: [] if row["id"] in dated else [own_value(row)],
    )
