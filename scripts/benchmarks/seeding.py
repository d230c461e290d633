"""Stores of any size, written straight into the file with every kept column right, and kept for the next run.

The graph is made of groups of 50 tasks in which each waits for up to three earlier ones. Four groups in ten are done, the
others wait for their first tasks.
"""

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from wvo_mcp.domain.event import GENESIS, canonical, chain_hash
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import WIP_LIMIT
from wvo_mcp.domain.task import Priority
from wvo_mcp.domain.wsjf import PRIORITY_VALUE, TAIL_CAP, Dependent, bundle, path_step, score
from wvo_mcp.store.sqlite.connection import sqlite
from wvo_mcp.store.sqlite.migrate import APPLICATION_ID, statements
from wvo_mcp.store.versions import migrations

CACHE = Path(__file__).parents[2] / ".cache" / "bench"
GROUP = 50
GROUPS_IN_EPIC = 20
_START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_PRIORITIES = (Priority.LOW, Priority.MEDIUM, Priority.MEDIUM, Priority.HIGH, Priority.CRITICAL)


@dataclass
class Seed:
    """One task to be written."""

    id: str
    epic_id: str
    depends_on: list[str] = field(default_factory=list[str])
    unmet_deps: int = 0
    status: str = "pending"
    priority: Priority = Priority.MEDIUM
    complexity: int = 5
    files: str = "[]"


Shape = Callable[[], Iterator[Seed]]


def groups(size: int) -> Iterator[Seed]:
    """`size` tasks in groups."""
    chance = random.Random(size)
    for first in range(0, size, GROUP):
        number = first // GROUP
        yield from _group(chance, f"e{number // GROUPS_IN_EPIC}", first, min(GROUP, size - first), number % 10 < 4)


def _group(chance: random.Random, epic_id: str, first: int, size: int, done: bool) -> list[Seed]:
    made: list[Seed] = []
    for place in range(size):
        earlier = sorted(chance.sample(range(place), min(place, chance.choice((0, 1, 1, 2, 2, 3)))))
        seed = Seed(f"t{first + place:07}", epic_id, [f"t{first + other:07}" for other in earlier])
        seed.priority = chance.choice(_PRIORITIES)
        seed.complexity = chance.randint(1, 10)
        if chance.random() < 0.05:
            seed.files = json.dumps([f"src/part{chance.randrange(40)}/**"])
        if done:
            seed.status = "done"
        else:
            seed.unmet_deps = len(earlier)
        made.append(seed)
    return made


def fan(hubs: int, width: int) -> Iterator[Seed]:
    """Hubs that `width` tasks each wait for, of the highest rank."""
    for hub in range(hubs):
        yield Seed(f"hub{hub:02}", "hubs", priority=Priority.CRITICAL, complexity=1)
        for place in range(width):
            yield Seed(f"hub{hub:02}-{place:05}", "hubs", [f"hub{hub:02}"], unmet_deps=1)


def chain(length: int, name: str = "chain") -> Iterator[Seed]:
    """Tasks of which each waits for the one before; the first has the highest rank."""
    for place in range(length):
        before = [f"{name}-{place - 1:05}"] if place else []
        yield Seed(
            f"{name}-{place:05}",
            "chains",
            before,
            unmet_deps=len(before),
            priority=Priority.CRITICAL,
            complexity=1,
        )


def full_epic(size: int) -> Iterator[Seed]:
    """`size` ready tasks of the highest rank in the epic `full`, and a few behind them in another."""
    for place in range(size):
        yield Seed(f"full{place:06}", "full", priority=Priority.CRITICAL, complexity=1)
    for place in range(2_000):
        yield Seed(f"free{place:06}", "free", priority=Priority.LOW, complexity=10)


def kept(name: str, shape: Shape, events: int = 1) -> Path:
    """The seeded store of that name, with so many events of each task: from the cache, or made now. Never write to it; `copied`
    gives one to work on."""
    scripts = "".join(script for _, script in migrations())
    version = hashlib.sha256((scripts + Path(__file__).read_text()).encode()).hexdigest()[:12]
    path = CACHE / f"{name}-{version}.db"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        for old in CACHE.glob(f"{name}-*.db*"):
            old.unlink()
        begun = path.with_suffix(".begun")
        begun.unlink(missing_ok=True)
        _write(begun, shape, events)
        begun.rename(path)
    return path


def copied(source: Path, workspace: Path) -> Path:
    """A copy as the database of `workspace`; its path."""
    state = workspace / "state"
    state.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(source, state / "state.db"))


def _write(path: Path, shape: Shape, events: int) -> None:
    with closing(sqlite.connect(str(path), isolation_level=None)) as raw:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -400000"):
            raw.execute(f"PRAGMA {pragma}")
        for number, script in migrations():
            for statement in statements(script):
                raw.execute(statement)
            raw.execute("UPDATE store SET schema = ?", (number,))
            raw.execute(f"PRAGMA user_version = {number}")
        raw.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        # Indexes and triggers are made anew after the rows: that is ten times as fast.
        later = raw.execute(
            "SELECT sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY type, rowid"
        ).fetchall()
        for kind, name in raw.execute(
            "SELECT type, name FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
        ).fetchall():
            raw.execute(f"DROP {kind} {name}")
        raw.execute("BEGIN")
        _rows(raw, shape())
        for _ in range(events - 1):
            _more_events(raw)
        _ranked(raw)
        for (sql,) in later:
            raw.execute(sql)
        _counted(raw)
        raw.execute("INSERT INTO task_search (task_search) VALUES ('rebuild')")
        raw.execute("COMMIT")
        raw.execute("ANALYZE")
        raw.execute("DROP TABLE IF EXISTS sqlite_stat1")  # the product does not analyze, so neither do its figures
        raw.execute("PRAGMA journal_mode = WAL")


def _rows(raw: Any, seeds: Iterator[Seed]) -> None:
    lanes: dict[tuple[str, str], int] = {}
    epics: set[str] = set()
    tasks: list[tuple[Any, ...]] = []
    edges: list[tuple[str, str]] = []
    events: list[tuple[Any, ...]] = []

    def flush() -> None:
        raw.executemany(
            "INSERT INTO tasks (id, seq, epic_id, title, description, status, priority, complexity,"
            " unmet_deps, lane_id, files, event_head, created_at, updated_at, finished_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            tasks,
        )
        raw.executemany("INSERT INTO task_dependencies (task_id, depends_on_task_id) VALUES (?, ?)", edges)
        raw.executemany("INSERT INTO events VALUES (?, ?, 'task.created', ?, 'seed', 'seed', ?, ?, ?)", events)
        for batch in (tasks, edges, events):
            batch.clear()

    for seq, seed in enumerate(seeds, 1):
        at = iso(_START + timedelta(milliseconds=seq))
        lane = lanes.setdefault((seed.epic_id, seed.files), len(lanes) + 1)
        epics.add(seed.epic_id)
        data = _created(seed.epic_id)
        head = chain_hash(GENESIS, seq, at, "task.created", seed.id, "seed", "seed", data)
        title = f"Do part {seq % 97} of {seed.epic_id}"
        finished = at if seed.status == "done" else None
        tasks.append(
            (seed.id, seq, seed.epic_id, title, f"What {seed.id} is about.", seed.status, seed.priority.value,
             seed.complexity, seed.unmet_deps, lane, seed.files, head, at, at, finished)
        )  # fmt: skip
        edges += [(seed.id, other) for other in seed.depends_on]
        events.append((seq, at, seed.id, data, GENESIS, head))
        if len(tasks) >= 20_000:
            flush()
    flush()
    at = iso(_START)
    raw.executemany(
        "INSERT INTO epics (id, title, created_at, updated_at) VALUES (?, ?, ?, ?)", [(e, e, at, at) for e in epics]
    )
    raw.executemany(
        "INSERT INTO lanes (id, epic_id, capabilities, files) VALUES (?, ?, '[]', ?)",
        [(lane, epic, files) for (epic, files), lane in lanes.items()],
    )


def _more_events(raw: Any) -> None:
    """One more of each task, linked to its last."""
    (seq,) = raw.execute("SELECT max(seq) FROM events").fetchone()
    tasks = raw.execute("SELECT id, event_head FROM tasks ORDER BY seq").fetchall()
    data, kind = canonical({}), "task.checkpointed"
    events: list[tuple[Any, ...]] = []
    for number, (task_id, before) in enumerate(tasks, seq + 1):
        at = iso(_START + timedelta(milliseconds=number))
        head = chain_hash(before, number, at, kind, task_id, "seed", "seed", data)
        events.append((number, at, task_id, data, before, head))
    raw.executemany(f"INSERT INTO events VALUES (?, ?, '{kind}', ?, 'seed', 'seed', ?, ?, ?)", events)
    raw.executemany("UPDATE tasks SET event_head = ? WHERE id = ?", [(one[5], one[2]) for one in events])


@cache
def _created(epic_id: str) -> str:
    return canonical({"epic_id": epic_id})


def _ranked(raw: Any) -> None:
    """The kept columns of scores: whatever waits for a task was created after it."""
    (open_size,) = raw.execute("SELECT sum(complexity) FROM tasks WHERE status <> 'done'").fetchone()
    step = path_step(WIP_LIMIT, open_size)
    users: dict[str, list[str]] = {}
    for task_id, other in raw.execute("SELECT task_id, depends_on_task_id FROM task_dependencies"):
        users.setdefault(other, []).append(task_id)
    known: dict[str, tuple[Dependent, int]] = {}
    found: list[tuple[Any, ...]] = []
    for task_id, seq, priority, size, unmet in raw.execute(
        "SELECT id, seq, priority, complexity, unmet_deps FROM tasks WHERE status <> 'done' ORDER BY seq DESC"
    ):
        below = [known[user] for user in users.pop(task_id, ())]
        value, extent = bundle(PRIORITY_VALUE[Priority(priority)], size, [dependent for dependent, _ in below])
        tail = min(TAIL_CAP, size + max((tail for _, tail in below), default=0))
        known[task_id] = (Dependent(value, extent, unmet, seq), tail)
        found.append((value, extent, value, extent, tail, score(value, extent, tail, step), task_id))
    raw.executemany(
        "UPDATE tasks SET bundle_value = ?, bundle_size = ?, heard_value = ?, heard_size = ?, tail = ?, score = ?"
        " WHERE id = ?",
        found,
    )
    raw.executemany(
        "UPDATE task_dependencies SET ratio = ?, tail = ? WHERE task_id = ?",
        [(value / extent, tail, task_id) for value, extent, _, _, tail, _, task_id in found],
    )
    raw.execute("UPDATE store SET path_step = ?", (step,))
    raw.execute("UPDATE counters SET n = ? WHERE name = 'open_size'", (open_size,))


def _counted(raw: Any) -> None:
    raw.execute(
        "UPDATE counters SET n = (SELECT count(*) FROM tasks WHERE status = counters.name)"
        " WHERE name NOT IN ('ready', 'open_size')"
    )
    raw.execute(
        "UPDATE counters SET n = (SELECT count(*) FROM tasks WHERE status = 'pending' AND unmet_deps = 0) WHERE name = 'ready'"
    )
    raw.execute(
        """
        UPDATE lanes SET ready = found.n
        FROM (SELECT lane_id, count(*) AS n FROM tasks WHERE status = 'pending' AND unmet_deps = 0 GROUP BY lane_id) AS found
        WHERE found.lane_id = lanes.id
        """
    )
