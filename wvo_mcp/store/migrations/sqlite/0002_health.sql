-- It watches itself: what the health loop saw and learned, alerts with their delivery, jobs, the prefetch queue, traces.

-- `evidence` is JSON, what the judgement rests on; `times`: raised so often while it was open.
ALTER TABLE alerts ADD COLUMN evidence TEXT NOT NULL DEFAULT '{}';
ALTER TABLE alerts ADD COLUMN times INTEGER NOT NULL DEFAULT 1;
ALTER TABLE alerts ADD COLUMN last_seen_at TEXT;
ALTER TABLE alerts ADD COLUMN acknowledged_by TEXT;
ALTER TABLE alerts ADD COLUMN remedy_failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE alerts ADD COLUMN escalated_at TEXT;
CREATE INDEX alerts_age ON alerts (resolved_at, id);

-- What people are to hear, written with the change that it tells of; and how far each channel has come with it.
CREATE TABLE alert_news (
  id INTEGER PRIMARY KEY,
  alert_id INTEGER NOT NULL,
  change TEXT NOT NULL CHECK (change IN ('raised', 'escalated', 'resolved')),
  at TEXT NOT NULL
);
CREATE TABLE alert_deliveries (
  news_id INTEGER NOT NULL,
  channel TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  next_at TEXT,
  delivered_at TEXT,
  given_up_at TEXT,
  last_error TEXT,
  PRIMARY KEY (news_id, channel)
) WITHOUT ROWID;

-- A storm of alerts: who was told of this one before, and what is still to be told.
CREATE INDEX alert_news_of ON alert_news (alert_id, id);
CREATE INDEX alert_deliveries_due ON alert_deliveries (channel, news_id) WHERE next_at IS NOT NULL;

-- Whether an agent is connected is asked for by its name.
CREATE INDEX sessions_open ON sessions (agent_id) WHERE ended_at IS NULL;

CREATE TABLE health_samples (
  seq INTEGER PRIMARY KEY,
  at TEXT NOT NULL,
  metrics TEXT NOT NULL  -- JSON: one entry of the report's metricsHistory
);

-- Completions by minute, rolled up from the events; `first_seq` finds the events of a minute again.
CREATE TABLE throughput (
  minute TEXT PRIMARY KEY, first_seq INTEGER NOT NULL, completed INTEGER NOT NULL
) WITHOUT ROWID;
-- And by hour, with how many health cycles looked and how many of them saw work: what is usual is learned from these.
CREATE TABLE throughput_hours (
  hour TEXT PRIMARY KEY, completed INTEGER NOT NULL, cycles INTEGER NOT NULL DEFAULT 0, working INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Every change of an edge, whoever makes it, so that the graph is walked for cycles only when there is a reason.
CREATE TABLE edges (id INTEGER PRIMARY KEY CHECK (id = 1), n INTEGER NOT NULL, changes INTEGER NOT NULL);
INSERT INTO edges (id, n, changes) SELECT 1, count(*), count(*) FROM task_dependencies;
CREATE TRIGGER edge_added AFTER INSERT ON task_dependencies BEGIN
  UPDATE edges SET n = n + 1, changes = changes + 1;
END;
CREATE TRIGGER edge_removed AFTER DELETE ON task_dependencies BEGIN
  UPDATE edges SET n = n - 1, changes = changes + 1;
END;
CREATE TRIGGER edge_turned AFTER UPDATE ON task_dependencies BEGIN
  UPDATE edges SET changes = changes + 1;
END;

-- What is known of each provider's room: `state` as of a circuit breaker.
CREATE TABLE provider_states (
  provider TEXT PRIMARY KEY,
  state TEXT NOT NULL DEFAULT 'closed' CHECK (state IN ('closed', 'open', 'half_open')),
  used REAL NOT NULL DEFAULT 0,
  capacity REAL,
  resets_at TEXT,
  reason TEXT,
  updated_at TEXT NOT NULL
) WITHOUT ROWID;

-- Ready work at hand, kept by the leader, each for an agent where one fits.
CREATE TABLE prefetch_queue (
  task_id TEXT PRIMARY KEY, position INTEGER NOT NULL, agent_id TEXT, reason TEXT NOT NULL DEFAULT '', queued_at TEXT NOT NULL
) WITHOUT ROWID;

-- Work that takes longer than a call: the handle is given at once, and polled.
CREATE TABLE jobs (
  id TEXT PRIMARY KEY,
  tool TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  session_id TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'succeeded', 'failed')),
  progress REAL NOT NULL DEFAULT 0,  -- 0 to 1
  note TEXT NOT NULL DEFAULT '',
  input TEXT NOT NULL,
  result TEXT,
  error TEXT,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  finished_at TEXT
);
CREATE INDEX jobs_age ON jobs (created_at);

-- The trace that a claim began, so that whoever ends the task, in whichever process, ends the same trace.
CREATE TABLE task_traces (
  task_id TEXT PRIMARY KEY, lease_token INTEGER NOT NULL, traceparent TEXT NOT NULL, started_at TEXT NOT NULL
) WITHOUT ROWID;
