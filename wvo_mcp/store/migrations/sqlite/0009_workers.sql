-- Workers, their places, what they ask of people, and what they submit.

-- A task may be kept for an agent (and ids that continue it with a dot) until a time: a claim by others is refused as `kept`.
-- While it is, `gates` has the bit 8.
ALTER TABLE tasks ADD COLUMN kept_for TEXT;
ALTER TABLE tasks ADD COLUMN kept_until TEXT;
CREATE INDEX tasks_kept ON tasks (kept_until) WHERE status = 'pending' AND (gates & 8) = 8;

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
  AND (gates = 0 OR ((gates & ~9) = 0
    AND ((gates & 1) = 0 OR not_before <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    AND ((gates & 8) = 0 OR kept_until <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))))
  AND (epic_id IS NULL OR (SELECT wip_limit IS NULL OR in_progress < wip_limit FROM epics WHERE epics.id = tasks.epic_id))
ORDER BY score DESC, seq;

-- One row for each launch of a worker; `key_hash` admits its connection while the lease `lease_token` lasts. `since`: of the state.
CREATE TABLE workers (
  worker_id TEXT PRIMARY KEY,            -- w-12
  seq INTEGER NOT NULL UNIQUE,
  task_id TEXT NOT NULL,
  lease_token INTEGER NOT NULL,
  agent_id TEXT NOT NULL,                -- auto-HOST.N
  run_id TEXT NOT NULL,                  -- the autopilot that launched it
  provider TEXT NOT NULL,
  tier TEXT NOT NULL,
  model TEXT NOT NULL,
  host TEXT NOT NULL,
  pid INTEGER,                           -- of the warden
  pid_started TEXT,                      -- with it a pid is never mistaken
  client_session TEXT,
  workspace TEXT,
  key_hash TEXT,
  state TEXT NOT NULL CHECK (state IN ('starting', 'working', 'idle', 'stuck', 'limited', 'waiting_approval', 'paused', 'stopping', 'ended')),
  reason TEXT,
  since TEXT NOT NULL,
  last_act TEXT,
  resets_at TEXT,                        -- of a limit
  started_at TEXT NOT NULL,
  ended_at TEXT,
  exit_code INTEGER,
  outcome TEXT CHECK (outcome IN ('completed', 'failed', 'released', 'limited', 'stopped', 'killed', 'crashed')),
  reserved_usd REAL NOT NULL DEFAULT 0,
  tokens_in INTEGER NOT NULL DEFAULT 0,
  tokens_out INTEGER NOT NULL DEFAULT 0,
  cost_usd REAL NOT NULL DEFAULT 0,
  memory_mb INTEGER,
  cpu_percent REAL,
  log TEXT
);
CREATE INDEX workers_open ON workers (host, state) WHERE ended_at IS NULL;
CREATE INDEX workers_task ON workers (task_id, seq);
CREATE UNIQUE INDEX workers_key ON workers (key_hash) WHERE key_hash IS NOT NULL;

CREATE TABLE workspaces (
  workspace_id TEXT PRIMARY KEY,
  task_id TEXT NOT NULL,
  lease_token INTEGER NOT NULL,          -- the lease that opened or took it over
  host TEXT NOT NULL,
  path TEXT NOT NULL,
  branch TEXT,
  target TEXT,
  base_sha TEXT,
  mode TEXT NOT NULL CHECK (mode IN ('worktree', 'shadow', 'folder')),
  state TEXT NOT NULL CHECK (state IN ('making', 'open', 'closed', 'removing', 'removed', 'failed')),
  bytes INTEGER NOT NULL DEFAULT 0,
  facts TEXT NOT NULL DEFAULT '{}',     -- JSON: the repository at launch, what was copied, conflicts, why it was left
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL
);
CREATE INDEX workspaces_task ON workspaces (task_id, created_at);

CREATE TABLE merge_entries (
  entry_id TEXT PRIMARY KEY,
  seq INTEGER NOT NULL UNIQUE,
  task_id TEXT NOT NULL,
  number INTEGER NOT NULL,               -- N of refs/wvo/submit/TASK/N
  repository TEXT NOT NULL,
  host TEXT NOT NULL,
  path TEXT NOT NULL,
  target TEXT NOT NULL,
  commit_sha TEXT NOT NULL,
  base_sha TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('queued', 'building', 'verifying', 'landing', 'merged', 'conflict', 'red', 'parked', 'withdrawn')),
  attempts INTEGER NOT NULL DEFAULT 0,
  candidate_sha TEXT,
  landed_sha TEXT,
  verified TEXT,
  drift TEXT NOT NULL DEFAULT '[]',       -- JSON: changed paths that the task did not claim
  reason TEXT,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  UNIQUE (task_id, number)
);
CREATE INDEX merge_entries_open ON merge_entries (repository, state) WHERE state NOT IN ('merged', 'withdrawn');

-- `subject` is what is approved, as JSON; `subject_hash` binds the decision to it.
CREATE TABLE approvals (
  approval_id TEXT PRIMARY KEY,          -- A-17
  seq INTEGER NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN ('task', 'command', 'merge', 'flow_step', 'budget')),
  task_id TEXT,
  subject TEXT NOT NULL,
  subject_hash TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'expired', 'used', 'void')),
  asked_by TEXT NOT NULL,
  asked_session TEXT NOT NULL,
  decided_by TEXT,
  reason TEXT,
  created_at TEXT NOT NULL,
  decided_at TEXT,
  expires_at TEXT
);
CREATE INDEX approvals_open ON approvals (expires_at) WHERE state = 'pending';
CREATE INDEX approvals_task ON approvals (task_id, seq);
CREATE INDEX approvals_subject ON approvals (subject_hash) WHERE state = 'approved';
-- What required an approval before this table was there.
INSERT INTO approvals (approval_id, seq, kind, task_id, subject, subject_hash, state, asked_by, asked_session, created_at)
SELECT 'A-' || row_number() OVER (ORDER BY seq), row_number() OVER (ORDER BY seq), 'task', id, json_object('task_id', id, 'title', title), '',
  'pending', '', '', updated_at
FROM tasks
WHERE requires_approval = 1 AND approved_at IS NULL
  AND (status = 'pending' OR (status = 'blocked' AND coalesce(block_author, '') <> 'approval'));

-- What the policy refused or watched.
CREATE TABLE violations (
  seq INTEGER PRIMARY KEY,
  at TEXT NOT NULL,
  task_id TEXT,
  worker_id TEXT,
  agent_id TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('command', 'path', 'tool', 'repository')),
  verdict TEXT NOT NULL,
  rule TEXT NOT NULL,
  subject TEXT NOT NULL
);
CREATE INDEX violations_task ON violations (task_id, seq);

-- The last number that was given to a submission of the task; a number is never given twice.
CREATE TABLE submission_numbers (
  task_id TEXT PRIMARY KEY,
  number INTEGER NOT NULL
);
