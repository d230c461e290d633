"""Does a database of either kind hold what it should: the chains of events, the kept counters?"""

import time
from datetime import datetime

from wvo_mcp.domain.finding import Finding, fail, ok, warn
from wvo_mcp.domain.instant import AHEAD_SECONDS, instant, iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.store.records.events import Events
from wvo_mcp.store.sql import Rows, driven

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


def miscounted(rows: Rows) -> list[str]:
    """What differs, a sentence each; reads every task. Raises the driver's errors, also when it is interrupted."""
    return [sentence.format(**row) for sentence, sql in _WRONG for row in rows.all(sql)]


def counters(wrong: list[str]) -> Finding:
    """What `miscounted` found, for people."""
    if not wrong:
        return ok("counters", "equal to a recount")
    remedy = "Report it: the counters are kept by the database itself. The queue may miss tasks until it is fixed."
    return fail("counters", f"a recount differs: {'; '.join(wrong[:5])}", remedy)


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


class Chains:
    """Follows the chains of the tasks that changed last, one after the other; `followed` tells how far it came."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.followed = 0

    def follow(self, seconds: float) -> Finding:
        """Raises the driver's errors, also when it is interrupted."""
        until = time.monotonic() + seconds
        trail = Events(self._rows, "", _NOBODY)
        tasks: list[str | None] = [None]
        tasks += self._rows.column(f"SELECT id FROM tasks ORDER BY updated_at DESC LIMIT {CHAINS}")
        for task_id in tasks:
            broken = driven(trail.broken_chain(task_id))
            if broken is not None:
                whose = "without a task" if task_id is None else f"of task {task_id}"
                return fail(
                    "events",
                    f"the chain of events {whose} does not hold at event {broken}: it was edited from outside",
                    "Find out who wrote to the database; the events before that one can be trusted.",
                )
            self.followed += 1
            if time.monotonic() > until:
                break
        return self.sound()

    def sound(self) -> Finding:
        return ok("events", f"{self.followed} chains of events hold")
