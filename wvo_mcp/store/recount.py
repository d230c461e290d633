"""The kept counters against a recount."""

from wvo_mcp.store.sql import Rows

_WRONG = (
    (
        "{name} {n} kept, {found} found",
        """
        SELECT name, n, found FROM (
          SELECT name, n, CASE name
            WHEN 'ready' THEN (SELECT count(*) FROM tasks WHERE status = 'pending' AND unmet_deps = 0)
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
