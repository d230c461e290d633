-- Heartbeats of tasks and events without a task are removed after 30 days; `chain.pruned` stands for them. All others stay.

DROP TRIGGER events_remain;
CREATE TRIGGER events_remain BEFORE DELETE ON events WHEN OLD.task_id IS NOT NULL AND OLD.kind <> 'task.heartbeat'
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
