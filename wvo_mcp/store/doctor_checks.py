"""What `doctor` checks in the content of a database of either kind: chains of events, kept counters, sessions, the leader,
the time. Read-only, and bounded in time."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from wvo_mcp.domain.finding import Finding, fail, ok, warn
from wvo_mcp.domain.instant import AHEAD_SECONDS, instant, iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import WvoError
from wvo_mcp.store.records.events import Events
from wvo_mcp.store.sql import Rows, run_without_suspending

SECONDS = 5.0
"""For each of the checks that read much."""

CHAINS = 500
"""Tasks whose chain of events is followed, those that changed last."""

_NOBODY = Caller("doctor", "doctor")

_WRONG = (
    (
        "{name} {n} kept, {found} found",
        """
        SELECT name, n, found FROM (
          SELECT name, n, CASE name
            WHEN 'ready' THEN (SELECT count(*) FROM tasks WHERE status = 'pending' AND unmet_deps = 0)
            WHEN 'open_size' THEN (SELECT coalesce(sum(complexity), 0) FROM tasks WHERE status NOT IN ('done', 'cancelled'))
            ELSE (SELECT count(*) FROM tasks WHERE status = counters.name) END AS found
          FROM counters
        ) AS recounted WHERE n <> found ORDER BY name
        """,
    ),
    (
        "task {id} waits for {found}, {unmet_deps} kept",
        """
        SELECT id, unmet_deps, found FROM (
          SELECT t.id, t.unmet_deps, (
            SELECT count(*) FROM task_dependencies AS d JOIN tasks AS on_it ON on_it.id = d.depends_on_task_id
            WHERE d.task_id = t.id AND on_it.status <> 'done'
          ) AS found
          FROM tasks AS t WHERE t.status = 'pending'
        ) AS recounted WHERE unmet_deps <> found ORDER BY id LIMIT 5
        """,
    ),
    (
        "epic {id} has {found} in progress, {in_progress} kept",
        """
        SELECT id, in_progress, found FROM (
          SELECT e.id, e.in_progress, (
            SELECT count(*) FROM tasks AS t WHERE t.epic_id = e.id AND t.status = 'in_progress'
          ) AS found
          FROM epics AS e
        ) AS recounted WHERE in_progress <> found ORDER BY id LIMIT 5
        """,
    ),
)


class Interrupted(Exception):
    """A check took longer than it may."""


View = Callable[[], AbstractContextManager[Rows]]
"""One state of a database; statements within raise Interrupted after `SECONDS`."""


def content_checks(
    view: View, alive: Callable[[Rows], Callable[[str], bool]], now: Callable[[Rows], datetime]
) -> Iterator[Finding]:
    """`alive` says whether the server of a session lives. Raises the driver's errors."""
    checks: tuple[tuple[str, Callable[[Rows], Finding], str], ...] = (
        ("events", lambda rows: chains(rows, SECONDS), "not followed"),
        ("counters", _counters, "not recounted"),
    )
    for name, check, otherwise in checks:
        try:
            with view() as rows:
                found = check(rows)
        except Interrupted:
            found = ok(name, f"{otherwise} within {SECONDS:.0f} s: the store is too large")
        yield found
    with view() as rows:
        living, at = alive(rows), now(rows)
        yield from (_sessions(rows, living), _leader(rows, living, at), store_time(rows, at))


def known_ids(look: View, wanted: Iterable[str]) -> set[str]:
    """Those of the ids that the store has; all of them when the store cannot be read."""
    asked = set(wanted)
    try:
        with look() as rows:
            return {one for one in asked if rows.value("SELECT 1 FROM tasks WHERE id = ?", (one,))}
    except WvoError:
        return asked


def _counters(rows: Rows) -> Finding:
    """The kept counters against a recount, which reads every task."""
    wrong = [sentence.format(**row) for sentence, sql in _WRONG for row in rows.all(sql)]
    if not wrong:
        return ok("counters", "equal to a recount")
    remedy = "Report it: the counters are kept by the database itself. The queue may miss tasks until it is fixed."
    return fail("counters", f"a recount differs: {'; '.join(wrong[:5])}", remedy)


def _sessions(rows: Rows, alive: Callable[[str], bool]) -> Finding:
    """Servers that run, on all hosts, and sessions whose server is gone and whose tasks come back by themselves."""
    open_ones = rows.all(
        "SELECT session_id, agent_id, host FROM sessions WHERE ended_at IS NULL AND durable = 0"
        " ORDER BY started_at DESC LIMIT 200"
    )
    living = [f"{row['agent_id']} on {row['host']}" for row in open_ones if alive(row["session_id"])]
    gone = len(open_ones) - len(living)
    found = f"{len(living)} servers connected" + (f": {', '.join(living[:8])}" if living else "")
    if gone:
        found += f"; {gone} crashed; their tasks return to the queue"
    return ok("sessions", found)


def _leader(rows: Rows, alive: Callable[[str], bool], now: datetime) -> Finding:
    """Which session runs the background jobs: watching the roadmap, refreshing scores."""
    row = rows.one("SELECT session_id, expires_at FROM leaders WHERE role = 'background'")
    if row is None or row["session_id"] is None:
        return ok("leader", "none: no server has run yet, or all have ended")
    if instant(row["expires_at"]) > now and alive(row["session_id"]):
        return ok("leader", f"session {row['session_id']}, until {row['expires_at']}")
    return ok("leader", "none at the moment; the next server takes over")


def store_time(rows: Rows, now: datetime) -> Finding:
    """The time of the latest event, which the store's time never precedes, against the machine's."""
    latest = rows.value("SELECT at FROM events WHERE seq > 0 ORDER BY seq DESC LIMIT 1")
    if latest is None or (instant(latest) - now).total_seconds() <= AHEAD_SECONDS:
        return ok("time", "the store's time is that of the machine")
    return warn(
        "time",
        f"the store's time is {latest}, ahead of this machine's {iso(now)}: due dates, waits and budgets follow the store's",
        "Correct this machine's clock; if it is right: wvo-mcp set-time-back shows what would change, --apply does it.",
    )


def chains(rows: Rows, seconds: float) -> Finding:
    """Follows the chains of the tasks that changed last, one after the other, for so long."""
    until = time.monotonic() + seconds
    trail = Events(rows, datetime.now(UTC), _NOBODY)
    tasks: list[str | None] = [None]
    tasks += rows.column(f"SELECT id FROM tasks ORDER BY updated_at DESC LIMIT {CHAINS}")
    followed = 0
    for task_id in tasks:
        broken = run_without_suspending(trail.broken_chain(task_id))
        if broken is not None:
            whose = "without a task" if task_id is None else f"of task {task_id}"
            return fail(
                "events",
                f"the chain of events {whose} does not hold at event {broken}: it was edited from outside",
                "Find out who wrote to the database; the events before that one can be trusted.",
            )
        followed += 1
        if time.monotonic() > until:
            break
    return ok("events", f"{followed} chains of events hold")
