-- Scores by bundles and longest paths; ties go by the order of creation.

DROP VIEW ready_tasks;
DROP INDEX tasks_ready;
DROP INDEX tasks_waiting;
DROP INDEX tasks_lane;
DROP INDEX tasks_stale;
ALTER TABLE tasks DROP COLUMN unlock_count;
ALTER TABLE tasks DROP COLUMN over_open;
-- bundle: what the task and the best of what it opens are worth, and the points of work in that; heard: the same as the tasks
-- that it waits for know it; tail: points of the longest path that begins with it.
ALTER TABLE tasks ADD COLUMN bundle_value DOUBLE PRECISION NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN bundle_size DOUBLE PRECISION NOT NULL DEFAULT 1;
ALTER TABLE tasks ADD COLUMN heard_value DOUBLE PRECISION NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN heard_size DOUBLE PRECISION NOT NULL DEFAULT 1;
ALTER TABLE tasks ADD COLUMN tail BIGINT NOT NULL DEFAULT 0;
CREATE INDEX tasks_ready ON tasks (score DESC, seq) WHERE status = 'pending' AND unmet_deps = 0;
CREATE INDEX tasks_waiting ON tasks (score DESC, seq) WHERE status = 'pending' AND unmet_deps > 0;
CREATE INDEX tasks_lane ON tasks (lane_id, score DESC, seq) WHERE status = 'pending' AND unmet_deps = 0 AND gates = 0;
CREATE INDEX tasks_stale ON tasks (seq) WHERE unlock_stale = 1;
-- What the leader has not reached yet counts with its own work only.
UPDATE tasks SET unlock_stale = (status NOT IN ('done', 'cancelled'))::INT,
  bundle_size = complexity, heard_size = complexity, tail = complexity,
  bundle_value = coalesce(business_value, CASE priority WHEN 'critical' THEN 15 WHEN 'high' THEN 10 WHEN 'medium' THEN 5 ELSE 1 END),
  heard_value = coalesce(business_value, CASE priority WHEN 'critical' THEN 15 WHEN 'high' THEN 10 WHEN 'medium' THEN 5 ELSE 1 END);

-- Of the waiting task, where a crowd waits for the same one: what its bundle is worth for each point, and its tail.
ALTER TABLE task_dependencies ADD COLUMN ratio DOUBLE PRECISION;
ALTER TABLE task_dependencies ADD COLUMN tail BIGINT;
CREATE INDEX task_dependents_ratio ON task_dependencies (depends_on_task_id, ratio DESC) WHERE ratio IS NOT NULL;
CREATE INDEX task_dependents_tail ON task_dependencies (depends_on_task_id, tail DESC) WHERE ratio IS NOT NULL;
-- The graph is the same where only those change.
DROP TRIGGER edges_counted ON task_dependencies;
CREATE TRIGGER edges_counted AFTER INSERT OR DELETE OR UPDATE OF task_id, depends_on_task_id ON task_dependencies
FOR EACH ROW EXECUTE FUNCTION edges_counted();

-- The path's q is 2 ** (path_step / 2); scores follow it up to the seq `rescored`, all of them where that is -1.
ALTER TABLE store ADD COLUMN path_step BIGINT NOT NULL DEFAULT -1000;
ALTER TABLE store ADD COLUMN rescored BIGINT NOT NULL DEFAULT -1;

-- The complexity of all open tasks.
INSERT INTO counters (name, n)
SELECT 'open_size', coalesce(sum(complexity), 0) FROM tasks WHERE status NOT IN ('done', 'cancelled');
CREATE FUNCTION task_sized() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  was CONSTANT BIGINT := CASE WHEN TG_OP = 'INSERT' OR OLD.status IN ('done', 'cancelled') THEN 0 ELSE OLD.complexity END;
  is_now CONSTANT BIGINT := CASE WHEN NEW.status IN ('done', 'cancelled') THEN 0 ELSE NEW.complexity END;
BEGIN
  UPDATE counters SET n = n + is_now - was WHERE name = 'open_size';
  RETURN NULL;
END $$;
CREATE TRIGGER task_sized AFTER INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION task_sized();
CREATE TRIGGER task_resized AFTER UPDATE OF status, complexity ON tasks FOR EACH ROW
WHEN ((OLD.status IN ('done', 'cancelled')) <> (NEW.status IN ('done', 'cancelled')) OR NEW.complexity <> OLD.complexity)
EXECUTE FUNCTION task_sized();

CREATE VIEW ready_tasks AS
SELECT id, title, score
FROM tasks
WHERE status = 'pending' AND unmet_deps = 0
  AND (gates = 0 OR (gates = 1
    AND not_before <= to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))
  AND (epic_id IS NULL OR (SELECT wip_limit IS NULL OR in_progress < wip_limit FROM epics WHERE epics.id = tasks.epic_id))
ORDER BY score DESC, seq;
