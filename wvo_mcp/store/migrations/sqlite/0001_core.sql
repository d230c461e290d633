-- The core: tasks and what they wait for, who works on them, what happened, what is remembered.
-- People read these tables with the sqlite3 program: names and meanings stay; nothing here is newer than SQLite 3.40.

CREATE TABLE store (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  schema INTEGER NOT NULL,
  boot TEXT NOT NULL DEFAULT '',
  clock_offset_ms INTEGER NOT NULL DEFAULT 0
);
INSERT INTO store (id, schema) VALUES (1, 1);

CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters (name, n) VALUES
  ('pending', 0), ('in_progress', 0), ('in_review', 0), ('awaiting_approval', 0),
  ('blocked', 0), ('done', 0), ('failed', 0), ('cancelled', 0), ('ready', 0);

CREATE TABLE epics (
  id TEXT PRIMARY KEY,
  title TEXT NOT NULL,
  wip_limit INTEGER,
  in_progress INTEGER NOT NULL DEFAULT 0,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL
);

CREATE TABLE milestones (
  id TEXT PRIMARY KEY,
  epic_id TEXT,
  title TEXT NOT NULL,
  due_at TEXT,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL
);

-- Tasks that the same circumstances shut out: same epic, same capabilities, same files.
CREATE TABLE lanes (
  id INTEGER PRIMARY KEY,
  epic_id TEXT NOT NULL,
  capabilities TEXT NOT NULL,
  files TEXT NOT NULL,
  ready INTEGER NOT NULL DEFAULT 0,
  UNIQUE (epic_id, capabilities, files)
);
CREATE INDEX lanes_ready ON lanes (id) WHERE ready > 0;

CREATE TABLE tasks (
  id TEXT PRIMARY KEY,
  seq INTEGER NOT NULL UNIQUE,
  epic_id TEXT,
  milestone_id TEXT,
  parent_id TEXT,
  title TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  type TEXT NOT NULL DEFAULT 'other',
  status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN
    ('pending', 'in_progress', 'in_review', 'awaiting_approval', 'blocked', 'done', 'failed', 'cancelled')),
  priority TEXT NOT NULL DEFAULT 'medium',
  complexity INTEGER NOT NULL DEFAULT 5 CHECK (complexity BETWEEN 1 AND 10),
  business_value REAL,
  score REAL NOT NULL DEFAULT 0,
  unlock_count INTEGER NOT NULL DEFAULT 0,  -- open tasks that wait for this one, directly or not; counted up to 1023
  unlock_stale INTEGER NOT NULL DEFAULT 0,  -- 1: the leader has to recount
  over_open INTEGER NOT NULL DEFAULT 0,     -- 1: done, although something that it depends on may not be
  unmet_deps INTEGER NOT NULL DEFAULT 0 CHECK (unmet_deps >= 0),
  open_children INTEGER NOT NULL DEFAULT 0 CHECK (open_children >= 0),
  gates INTEGER NOT NULL DEFAULT 0,         -- 1 not_before, 2 approval, 4 children
  lane_id INTEGER NOT NULL,
  labels TEXT NOT NULL DEFAULT '[]',
  files TEXT NOT NULL DEFAULT '[]',
  capabilities TEXT NOT NULL DEFAULT '[]',
  acceptance TEXT NOT NULL DEFAULT '[]',
  requires_approval INTEGER NOT NULL DEFAULT 0,
  approved_at TEXT,
  not_before TEXT,
  assigned_to TEXT,
  session_id TEXT,
  lease_token INTEGER NOT NULL DEFAULT 0,
  lease_expires_at TEXT,
  lease_seconds INTEGER,
  progress INTEGER,
  attempts INTEGER NOT NULL DEFAULT 0,
  expiries INTEGER NOT NULL DEFAULT 0,
  max_attempts INTEGER NOT NULL DEFAULT 3,
  origin TEXT NOT NULL DEFAULT 'agent',
  blocked_reason TEXT,
  last_error TEXT,
  metadata TEXT NOT NULL DEFAULT '{}',
  version INTEGER NOT NULL DEFAULT 1,
  event_head TEXT NOT NULL DEFAULT '',      -- hash of the task's last event
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  started_at TEXT,
  finished_at TEXT
);
CREATE INDEX tasks_ready ON tasks (score DESC, created_at, id) WHERE status = 'pending' AND unmet_deps = 0;
CREATE INDEX tasks_waiting ON tasks (score DESC, created_at, id) WHERE status = 'pending' AND unmet_deps > 0;
CREATE INDEX tasks_lane ON tasks (lane_id, score DESC, created_at, id)
  WHERE status = 'pending' AND unmet_deps = 0 AND gates = 0;
CREATE INDEX tasks_timed ON tasks (not_before) WHERE status = 'pending' AND (gates & 1) = 1;
CREATE INDEX tasks_leases ON tasks (lease_expires_at) WHERE status = 'in_progress';
CREATE INDEX tasks_held_session ON tasks (session_id) WHERE status = 'in_progress';
CREATE INDEX tasks_held_agent ON tasks (assigned_to) WHERE status = 'in_progress';
CREATE INDEX tasks_scopes ON tasks (id) WHERE status = 'in_progress' AND files <> '[]';
CREATE INDEX tasks_status ON tasks (status, seq);
CREATE INDEX tasks_epic ON tasks (epic_id, seq) WHERE epic_id IS NOT NULL;
CREATE INDEX tasks_milestone ON tasks (milestone_id, id) WHERE milestone_id IS NOT NULL;
CREATE INDEX tasks_parent ON tasks (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX tasks_assigned ON tasks (assigned_to, seq) WHERE assigned_to IS NOT NULL;
CREATE INDEX tasks_stale ON tasks (id) WHERE unlock_stale = 1;

CREATE TABLE task_labels (
  label TEXT NOT NULL, seq INTEGER NOT NULL, task_id TEXT NOT NULL,
  PRIMARY KEY (label, seq)
) WITHOUT ROWID;

CREATE TABLE task_dependencies (
  task_id TEXT NOT NULL REFERENCES tasks (id),
  depends_on_task_id TEXT NOT NULL REFERENCES tasks (id),
  PRIMARY KEY (task_id, depends_on_task_id)
) WITHOUT ROWID;
CREATE INDEX task_dependents ON task_dependencies (depends_on_task_id, task_id);

-- What a blocked task waits for before it returns to pending by itself.
CREATE TABLE task_waits (
  task_id TEXT NOT NULL, waits_for_task_id TEXT NOT NULL,
  PRIMARY KEY (task_id, waits_for_task_id)
) WITHOUT ROWID;
CREATE INDEX task_waits_for ON task_waits (waits_for_task_id, task_id);

CREATE TABLE agent_pool (
  agent_id TEXT PRIMARY KEY,
  provider TEXT,
  status TEXT NOT NULL DEFAULT 'idle',
  current_task_id TEXT,
  capabilities TEXT NOT NULL DEFAULT '[]',
  assigned_at TEXT,
  last_seen_at TEXT
);

CREATE TABLE sessions (
  session_id TEXT PRIMARY KEY,
  agent_id TEXT NOT NULL,
  client TEXT,
  pid INTEGER,
  host TEXT,
  durable INTEGER NOT NULL DEFAULT 0,
  started_at TEXT NOT NULL,
  last_call_at TEXT,
  ended_at TEXT
);

CREATE TABLE checkpoints (
  id TEXT PRIMARY KEY,
  task_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  parent_id TEXT,
  agent_id TEXT,
  session_id TEXT,
  summary TEXT NOT NULL,
  next_steps TEXT,
  progress INTEGER,
  files TEXT NOT NULL DEFAULT '[]',
  created_at TEXT NOT NULL,
  UNIQUE (task_id, seq)
);

CREATE TABLE context_entries (
  id INTEGER PRIMARY KEY,
  topic TEXT NOT NULL,
  version INTEGER NOT NULL,
  content TEXT NOT NULL,
  tags TEXT NOT NULL DEFAULT '[]',
  scope TEXT NOT NULL DEFAULT 'project',
  task_id TEXT,
  epic_id TEXT,
  agent_id TEXT,
  created_at TEXT NOT NULL,
  UNIQUE (topic, version)
);
CREATE INDEX context_task ON context_entries (task_id, id) WHERE task_id IS NOT NULL;
CREATE INDEX context_epic ON context_entries (epic_id, id) WHERE epic_id IS NOT NULL;
CREATE VIRTUAL TABLE context_search USING fts5 (topic, content, tags, content='context_entries', content_rowid='id');
CREATE TRIGGER context_indexed AFTER INSERT ON context_entries BEGIN
  INSERT INTO context_search (rowid, topic, content, tags) VALUES (NEW.id, NEW.topic, NEW.content, NEW.tags);
END;

CREATE VIRTUAL TABLE task_search USING fts5 (id, title, description, content='tasks', content_rowid='seq');
CREATE TRIGGER task_indexed AFTER INSERT ON tasks BEGIN
  INSERT INTO task_search (rowid, id, title, description) VALUES (NEW.seq, NEW.id, NEW.title, NEW.description);
END;
CREATE TRIGGER task_reindexed AFTER UPDATE OF title, description ON tasks
WHEN NEW.title IS NOT OLD.title OR NEW.description IS NOT OLD.description BEGIN
  INSERT INTO task_search (task_search, rowid, id, title, description)
  VALUES ('delete', OLD.seq, OLD.id, OLD.title, OLD.description);
  INSERT INTO task_search (rowid, id, title, description) VALUES (NEW.seq, NEW.id, NEW.title, NEW.description);
END;

CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  at TEXT NOT NULL,
  kind TEXT NOT NULL,
  task_id TEXT,
  agent_id TEXT,
  session_id TEXT,
  data TEXT NOT NULL DEFAULT '{}',
  prev_hash TEXT NOT NULL,
  hash TEXT NOT NULL
);
CREATE INDEX events_task ON events (task_id, seq);
CREATE INDEX events_kind ON events (kind, seq);
CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_remain BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER checkpoints_stay BEFORE UPDATE ON checkpoints BEGIN SELECT RAISE(ABORT, 'checkpoints are append-only'); END;
CREATE TRIGGER checkpoints_remain BEFORE DELETE ON checkpoints BEGIN SELECT RAISE(ABORT, 'checkpoints are append-only'); END;
CREATE TRIGGER context_stays BEFORE UPDATE ON context_entries BEGIN SELECT RAISE(ABORT, 'context is append-only'); END;
CREATE TRIGGER context_remains BEFORE DELETE ON context_entries BEGIN SELECT RAISE(ABORT, 'context is append-only'); END;
CREATE TRIGGER tasks_remain BEFORE DELETE ON tasks BEGIN SELECT RAISE(ABORT, 'tasks are cancelled, never deleted'); END;

CREATE TABLE alerts (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  severity TEXT NOT NULL,
  task_id TEXT,
  message TEXT NOT NULL,
  raised_at TEXT NOT NULL,
  acknowledged_at TEXT,
  resolved_at TEXT
);
CREATE UNIQUE INDEX alerts_open ON alerts (kind, coalesce(task_id, '')) WHERE resolved_at IS NULL;

CREATE TABLE requests (
  agent_id TEXT NOT NULL, tool TEXT NOT NULL, request_id TEXT NOT NULL,
  input_hash TEXT NOT NULL, result TEXT NOT NULL, created_at TEXT NOT NULL,
  PRIMARY KEY (agent_id, tool, request_id)
) WITHOUT ROWID;
CREATE INDEX requests_age ON requests (created_at);

CREATE TABLE lease_writes (
  task_id TEXT NOT NULL, lease_token INTEGER NOT NULL, tool TEXT NOT NULL, input_hash TEXT NOT NULL,
  session_id TEXT NOT NULL, agent_id TEXT NOT NULL, result TEXT NOT NULL, created_at TEXT NOT NULL,
  PRIMARY KEY (task_id, lease_token, tool, input_hash)
) WITHOUT ROWID;
CREATE INDEX lease_writes_age ON lease_writes (created_at);

CREATE TABLE leaders (
  role TEXT PRIMARY KEY, session_id TEXT, token INTEGER NOT NULL, expires_at TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE roadmap_entries (task_id TEXT PRIMARY KEY, entry TEXT NOT NULL) WITHOUT ROWID;

-- Kept counters: they follow from every change of a task, whoever makes it.
CREATE TRIGGER task_counted AFTER INSERT ON tasks BEGIN
  UPDATE counters SET n = n + 1 WHERE name = NEW.status;
  UPDATE counters SET n = n + 1 WHERE name = 'ready' AND NEW.status = 'pending' AND NEW.unmet_deps = 0;
  UPDATE lanes SET ready = ready + 1
  WHERE id = NEW.lane_id AND NEW.status = 'pending' AND NEW.unmet_deps = 0 AND NEW.gates = 0;
  UPDATE tasks SET open_children = open_children + 1, gates = gates | 4
  WHERE id = NEW.parent_id AND NEW.status NOT IN ('done', 'cancelled');
  UPDATE epics SET in_progress = in_progress + 1 WHERE id = NEW.epic_id AND NEW.status = 'in_progress';
END;
CREATE TRIGGER task_moved AFTER UPDATE OF status ON tasks WHEN NEW.status <> OLD.status BEGIN
  UPDATE counters SET n = n - 1 WHERE name = OLD.status;
  UPDATE counters SET n = n + 1 WHERE name = NEW.status;
END;
CREATE TRIGGER task_held AFTER UPDATE OF status, epic_id ON tasks
WHEN (OLD.status = 'in_progress' OR NEW.status = 'in_progress')
  AND (NEW.status <> OLD.status OR NEW.epic_id IS NOT OLD.epic_id) BEGIN
  UPDATE epics SET in_progress = in_progress - 1 WHERE id = OLD.epic_id AND OLD.status = 'in_progress';
  UPDATE epics SET in_progress = in_progress + 1 WHERE id = NEW.epic_id AND NEW.status = 'in_progress';
END;
CREATE TRIGGER task_queued AFTER UPDATE OF status, unmet_deps ON tasks
WHEN (NEW.status = 'pending' AND NEW.unmet_deps = 0) <> (OLD.status = 'pending' AND OLD.unmet_deps = 0) BEGIN
  UPDATE counters SET n = n + iif(NEW.status = 'pending' AND NEW.unmet_deps = 0, 1, -1) WHERE name = 'ready';
END;
CREATE TRIGGER task_laned AFTER UPDATE OF status, unmet_deps, gates, lane_id ON tasks
WHEN (NEW.status = 'pending' AND NEW.unmet_deps = 0 AND NEW.gates = 0)
  <> (OLD.status = 'pending' AND OLD.unmet_deps = 0 AND OLD.gates = 0) OR NEW.lane_id <> OLD.lane_id BEGIN
  UPDATE lanes SET ready = ready - 1
  WHERE id = OLD.lane_id AND OLD.status = 'pending' AND OLD.unmet_deps = 0 AND OLD.gates = 0;
  UPDATE lanes SET ready = ready + 1
  WHERE id = NEW.lane_id AND NEW.status = 'pending' AND NEW.unmet_deps = 0 AND NEW.gates = 0;
END;
CREATE TRIGGER child_moved AFTER UPDATE OF status, parent_id ON tasks
WHEN (OLD.status IN ('done', 'cancelled')) <> (NEW.status IN ('done', 'cancelled')) OR NEW.parent_id IS NOT OLD.parent_id
BEGIN
  UPDATE tasks SET open_children = open_children - 1, gates = iif(open_children = 1, gates & ~4, gates)
  WHERE id = OLD.parent_id AND OLD.status NOT IN ('done', 'cancelled');
  UPDATE tasks SET open_children = open_children + 1, gates = gates | 4
  WHERE id = NEW.parent_id AND NEW.status NOT IN ('done', 'cancelled');
END;

CREATE VIEW ready_tasks AS
SELECT id, title, score
FROM tasks
WHERE status = 'pending' AND unmet_deps = 0
  AND (gates = 0 OR (gates = 1 AND not_before <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
  AND (epic_id IS NULL OR (SELECT wip_limit IS NULL OR in_progress < wip_limit FROM epics WHERE epics.id = tasks.epic_id))
ORDER BY score DESC, created_at, id;
