-- Heartbeats of tasks and events without a task are removed after 30 days; `chain.pruned` stands for them. All others stay.

DROP TRIGGER events_stay ON events;
CREATE TRIGGER events_stay BEFORE UPDATE ON events FOR EACH ROW EXECUTE FUNCTION refused('events are append-only');
CREATE TRIGGER events_last BEFORE DELETE ON events FOR EACH ROW
WHEN (OLD.task_id IS NOT NULL AND OLD.kind <> 'task.heartbeat') EXECUTE FUNCTION refused('events are append-only');
