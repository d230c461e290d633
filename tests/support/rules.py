"""What is always true of a database, as SQL that finds the rows for which it is not.

Each key states the rule; its statement gives nothing when the rule holds.
"""

KEPT = {
    "a counter equals its recount": """
        SELECT name, n, recount FROM (
          SELECT name, n, CASE name
            WHEN 'ready' THEN (SELECT count(*) FROM tasks WHERE status = 'pending' AND unmet_deps = 0)
            WHEN 'open_size' THEN (SELECT coalesce(sum(complexity), 0) FROM tasks WHERE status NOT IN ('done', 'cancelled'))
            ELSE (SELECT count(*) FROM tasks WHERE status = counters.name) END AS recount
          FROM counters) WHERE n <> recount""",
    "unmet_deps counts the dependencies that are not done": """
        SELECT id, unmet_deps, recount FROM (
          SELECT id, unmet_deps, (
            SELECT count(*) FROM task_dependencies AS d JOIN tasks AS t ON t.id = d.depends_on_task_id
            WHERE d.task_id = tasks.id AND t.status <> 'done') AS recount
          FROM tasks) WHERE unmet_deps <> recount""",
    "an epic counts its tasks in progress": """
        SELECT id, in_progress, recount FROM (
          SELECT id, in_progress, (
            SELECT count(*) FROM tasks WHERE epic_id = epics.id AND status = 'in_progress') AS recount
          FROM epics) WHERE in_progress <> recount""",
    "a lane counts its ready tasks": """
        SELECT id, ready, recount FROM (
          SELECT id, ready, (
            SELECT count(*) FROM tasks
            WHERE lane_id = lanes.id AND status = 'pending' AND unmet_deps = 0 AND gates = 0) AS recount
          FROM lanes) WHERE ready <> recount""",
    "a task stands in the lane of its epic, capabilities and files": """
        SELECT t.id FROM tasks AS t LEFT JOIN lanes AS l ON l.id = t.lane_id
        WHERE (l.epic_id, l.capabilities, l.files) IS NOT (coalesce(t.epic_id, ''), t.capabilities, t.files)""",
    "a parent counts its open children": """
        SELECT id, open_children, recount FROM (
          SELECT id, open_children, (
            SELECT count(*) FROM tasks AS c WHERE c.parent_id = tasks.id AND c.status NOT IN ('done', 'cancelled')
          ) AS recount FROM tasks) WHERE open_children <> recount""",
    "the children gate is shut while a child is open": """
        SELECT id, gates, open_children FROM tasks WHERE ((gates & 4) <> 0) <> (open_children > 0)""",
    "the approval gate is shut until a person approves": """
        SELECT id, gates FROM tasks WHERE ((gates & 2) <> 0) <> (requires_approval = 1 AND approved_at IS NULL)""",
    "the time gate is only shut where there is a time": "SELECT id FROM tasks WHERE gates & 1 AND not_before IS NULL",
    "the kept gate is only shut where a task is kept": """
        SELECT id FROM tasks WHERE gates & 8 AND (kept_for IS NULL OR kept_until IS NULL)""",
    "only what is pending is kept": "SELECT id, status FROM tasks WHERE kept_for IS NOT NULL AND status <> 'pending'",
    "labels are indexed": """
        SELECT t.id, j.value FROM tasks AS t, json_each(t.labels) AS j
        WHERE NOT EXISTS (SELECT 1 FROM task_labels AS l WHERE l.task_id = t.id AND l.label = j.value)
        UNION ALL
        SELECT l.task_id, l.label FROM task_labels AS l
        WHERE NOT EXISTS (SELECT 1 FROM tasks AS t, json_each(t.labels) AS j WHERE t.id = l.task_id AND j.value = l.label)""",
}

LEASES = {
    "work in progress has a holder, a session and a lease": """
        SELECT id FROM tasks WHERE status = 'in_progress'
        AND (assigned_to IS NULL OR session_id IS NULL OR lease_expires_at IS NULL OR lease_token = 0)""",
    "what is not in progress has no lease": """
        SELECT id FROM tasks WHERE status <> 'in_progress' AND (session_id IS NOT NULL OR lease_expires_at IS NOT NULL)""",
    "the session of a holder is on record": """
        SELECT id, session_id FROM tasks
        WHERE status = 'in_progress' AND session_id NOT IN (SELECT session_id FROM sessions)""",
    "an agent is busy when it has work in progress, and names one such task": """
        SELECT agent_id, status, current_task_id FROM agent_pool AS a WHERE (current_task_id IS NOT NULL) <> EXISTS (
          SELECT 1 FROM tasks WHERE assigned_to = a.agent_id AND status = 'in_progress')
        OR current_task_id IS NOT NULL AND NOT EXISTS (
          SELECT 1 FROM tasks WHERE id = a.current_task_id AND assigned_to = a.agent_id AND status = 'in_progress')
        OR status = 'idle' AND current_task_id IS NOT NULL OR status = 'busy' AND current_task_id IS NULL""",
    "a finished task says when, and no other does": """
        SELECT id FROM tasks WHERE (status IN ('done', 'failed', 'cancelled')) <> (finished_at IS NOT NULL)""",
    "only a blocked task waits for others": """
        SELECT task_id FROM task_waits WHERE task_id NOT IN (SELECT id FROM tasks WHERE status = 'blocked')""",
}

RECORDS = {
    "events are numbered without a gap": """
        SELECT count(*), min(seq), max(seq) FROM events HAVING count(*) > 0 AND (min(seq) <> 1 OR max(seq) <> count(*))""",
    "the time of events never goes back": """
        SELECT seq FROM (SELECT seq, at, lag(at) OVER (ORDER BY seq) AS before FROM events) WHERE at < before""",
    "a task knows the hash of its last event": """
        SELECT id FROM tasks WHERE event_head IS NOT (
          SELECT hash FROM events WHERE task_id = tasks.id ORDER BY seq DESC LIMIT 1)""",
    "every task began with its creation": """
        SELECT id FROM tasks WHERE 'task.created' IS NOT (
          SELECT kind FROM events WHERE task_id = tasks.id ORDER BY seq LIMIT 1)""",
    "no event is about a task that is not there": """
        SELECT seq, task_id FROM events WHERE task_id IS NOT NULL AND task_id NOT IN (SELECT id FROM tasks)""",
    "a checkpoint and its event come together": """
        SELECT id FROM checkpoints WHERE 1 <> (
          SELECT count(*) FROM events WHERE kind IN ('task.checkpoint', 'approval.answered', 'review.told')
          AND task_id = checkpoints.task_id
          AND json_extract(data, '$.checkpoint') = checkpoints.id)
        UNION ALL
        SELECT CAST(seq AS TEXT) FROM events WHERE kind = 'task.checkpoint'
        AND json_extract(data, '$.checkpoint') NOT IN (SELECT id FROM checkpoints)""",
    "checkpoints of a task are chained": """
        SELECT id FROM (
          SELECT id, seq, parent_id, lag(id) OVER steps AS before, row_number() OVER steps AS place
          FROM checkpoints WINDOW steps AS (PARTITION BY task_id ORDER BY seq))
        WHERE parent_id IS NOT before OR seq <> place""",
    "a context entry and its event come together": """
        SELECT topic, version FROM context_entries AS c WHERE 1 <> (
          SELECT count(*) FROM events WHERE kind = 'context.written'
          AND json_extract(data, '$.topic') = c.topic AND json_extract(data, '$.version') = c.version)
        UNION ALL
        SELECT json_extract(data, '$.topic'), json_extract(data, '$.version') FROM events AS e
        WHERE kind = 'context.written' AND NOT EXISTS (
          SELECT 1 FROM context_entries AS c
          WHERE c.topic = json_extract(e.data, '$.topic') AND c.version = json_extract(e.data, '$.version'))""",
    "versions of a topic have no gap": """
        SELECT topic, version FROM (
          SELECT topic, version, row_number() OVER (PARTITION BY topic ORDER BY version) AS place FROM context_entries)
        WHERE version <> place""",
    "what can be searched is what is written": """
        SELECT 'context' FROM (SELECT 1) WHERE (SELECT count(*) FROM context_entries)
          <> (SELECT count(*) FROM context_search_docsize)
        UNION ALL
        SELECT 'tasks' FROM (SELECT 1) WHERE (SELECT count(*) FROM tasks) <> (SELECT count(*) FROM task_search_docsize)""",
    "references lead somewhere": """SELECT "table", rowid, parent FROM pragma_foreign_key_check""",
    "the file is sound": "SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
}
