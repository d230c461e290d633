-- What may be claimed says for people what it belongs to and why it stands where it does; what waits for approval is found by an index.

CREATE INDEX tasks_unapproved ON tasks (seq) WHERE status = 'pending' AND (gates & 2) = 2;

DROP VIEW ready_tasks;
CREATE VIEW ready_tasks AS
SELECT id, title, score, epic_id AS epic, priority, milestone_id AS milestone, complexity,
  printf(
    '(%.2f of its own + %.2f for its date and what it opens) / %.2f points + %.2f for its path',
    coalesce(business_value, CASE priority WHEN 'critical' THEN 15 WHEN 'high' THEN 10 WHEN 'medium' THEN 5 ELSE 1 END),
    max(0.0, bundle_value
      - coalesce(business_value, CASE priority WHEN 'critical' THEN 15 WHEN 'high' THEN 10 WHEN 'medium' THEN 5 ELSE 1 END)),
    bundle_size,
    max(0.0, score - bundle_value / bundle_size)
  ) AS why
FROM tasks
WHERE status = 'pending' AND unmet_deps = 0
  AND (gates = 0 OR (gates = 1 AND not_before <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
  AND (epic_id IS NULL OR (SELECT wip_limit IS NULL OR in_progress < wip_limit FROM epics WHERE epics.id = tasks.epic_id))
ORDER BY score DESC, seq;
