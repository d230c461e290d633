-- Who set a block (holder, person, review, merge, policy, approval): agents lift only what holders set. NULL: not blocked.
ALTER TABLE tasks ADD COLUMN block_author TEXT COLLATE "C";
UPDATE tasks SET block_author = CASE
  WHEN blocked_reason = 'the roadmap says so' THEN 'person'
  WHEN expiries >= 10 THEN 'policy'
  WHEN requires_approval = 1 AND EXISTS (SELECT 1 FROM events WHERE task_id = tasks.id AND kind = 'task.denied') THEN 'approval'
  -- Commands that a person typed were of agents named by the shell's process; those of agents by a session.
  WHEN EXISTS (
    SELECT 1 FROM events
    WHERE seq = (SELECT max(seq) FROM events WHERE task_id = tasks.id AND kind = 'task.blocked')
      AND agent_id ~ '^cli-[0-9]+-[0-9]+$'
  ) THEN 'person'
  ELSE 'holder'
END
WHERE status = 'blocked';
