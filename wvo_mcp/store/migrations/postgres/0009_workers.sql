-- Workers, their places, what they ask of people, and what they submit.
-- The same tables and columns as on SQLite, and the same meanings.

-- A task may be kept for an agent (and ids that continue it with a dot) until a time: a claim by others is refused as `kept`.
-- While it is, `gates` has the bit 8.
ALTER TABLE tasks ADD COLUMN kept_for TEXT COLLATE "C";
ALTER TABLE tasks ADD COLUMN kept_until TEXT COLLATE "C";
CREATE INDEX tasks_kept ON tasks (kept_until) WHERE status = 'pending' AND (gates & 8) = 8;

DROP VIEW ready_tasks;
CREATE VIEW ready_tasks AS
SELECT id, title, score, epic_id AS epic, priority, milestone_id AS milestone, complexity,
  format(
    '(%s of its own + %s for its date and what it opens) / %s points + %s for its path',
    round(own::numeric, 2),
    round(greatest(0, bundle_value - own)::numeric, 2),
    round(bundle_size::numeric, 2),
    round(greatest(0, score - bundle_value / bundle_size)::numeric, 2)
  ) AS why
FROM tasks, LATERAL (
  SELECT coalesce(business_value, CASE priority WHEN 'critical' THEN 15 WHEN 'high' THEN 10 WHEN 'medium' THEN 5 ELSE 1 END) AS own
) AS worth
WHERE status = 'pending' AND unmet_deps = 0
  AND (gates = 0 OR ((gates & ~9) = 0
    AND ((gates & 1) = 0 OR not_before <= to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
    AND ((gates & 8) = 0 OR kept_until <= to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))))
  AND (epic_id IS NULL OR (SELECT wip_limit IS NULL OR in_progress < wip_limit FROM epics WHERE epics.id = tasks.epic_id))
ORDER BY score DESC, seq;

-- One row for each launch of a worker; `key_hash` admits its connection while the lease `lease_token` lasts. `since`: of the state.
CREATE TABLE workers (
  worker_id TEXT COLLATE "C" PRIMARY KEY,            -- w-12
  seq BIGINT NOT NULL UNIQUE,
  task_id TEXT COLLATE "C" NOT NULL,
  lease_token BIGINT NOT NULL,
  agent_id TEXT COLLATE "C" NOT NULL,                -- auto-HOST.N
  run_id TEXT COLLATE "C" NOT NULL,                  -- the autopilot that launched it
  provider TEXT COLLATE "C" NOT NULL,
  tier TEXT COLLATE "C" NOT NULL,
  model TEXT COLLATE "C" NOT NULL,
  host TEXT COLLATE "C" NOT NULL,
  pid BIGINT,                           -- of the warden
  pid_started TEXT COLLATE "C",                      -- with it a pid is never mistaken
  client_session TEXT COLLATE "C",
  workspace TEXT COLLATE "C",
  key_hash TEXT COLLATE "C",
  state TEXT COLLATE "C" NOT NULL CHECK (state IN ('starting', 'working', 'idle', 'stuck', 'limited', 'waiting_approval', 'paused', 'stopping', 'ended')),
  reason TEXT COLLATE "C",
  since TEXT COLLATE "C" NOT NULL,
  last_act TEXT COLLATE "C",
  resets_at TEXT COLLATE "C",                        -- of a limit
  started_at TEXT COLLATE "C" NOT NULL,
  ended_at TEXT COLLATE "C",
  exit_code BIGINT,
  outcome TEXT COLLATE "C" CHECK (outcome IN ('completed', 'failed', 'released', 'limited', 'stopped', 'killed', 'crashed')),
  reserved_usd DOUBLE PRECISION NOT NULL DEFAULT 0,
  tokens_in BIGINT NOT NULL DEFAULT 0,
  tokens_out BIGINT NOT NULL DEFAULT 0,
  cost_usd DOUBLE PRECISION NOT NULL DEFAULT 0,
  memory_mb BIGINT,
  cpu_percent DOUBLE PRECISION,
  log TEXT COLLATE "C"
);
CREATE INDEX workers_open ON workers (host, state) WHERE ended_at IS NULL;
CREATE INDEX workers_task ON workers (task_id, seq);
CREATE UNIQUE INDEX workers_key ON workers (key_hash) WHERE key_hash IS NOT NULL;

CREATE TABLE workspaces (
  workspace_id TEXT COLLATE "C" PRIMARY KEY,
  task_id TEXT COLLATE "C" NOT NULL,
  lease_token BIGINT NOT NULL,          -- the lease that opened or took it over
  host TEXT COLLATE "C" NOT NULL,
  path TEXT COLLATE "C" NOT NULL,
  branch TEXT COLLATE "C",
  target TEXT COLLATE "C",
  base_sha TEXT COLLATE "C",
  mode TEXT COLLATE "C" NOT NULL CHECK (mode IN ('worktree', 'shadow', 'folder')),
  state TEXT COLLATE "C" NOT NULL CHECK (state IN ('making', 'open', 'closed', 'removing', 'removed', 'failed')),
  bytes BIGINT NOT NULL DEFAULT 0,
  facts TEXT COLLATE "C" NOT NULL DEFAULT '{}',     -- JSON: the repository at launch, what was copied, conflicts, why it was left
  created_at TEXT COLLATE "C" NOT NULL,
  updated_at TEXT COLLATE "C" NOT NULL
);
CREATE INDEX workspaces_task ON workspaces (task_id, created_at);

CREATE TABLE merge_entries (
  entry_id TEXT COLLATE "C" PRIMARY KEY,
  seq BIGINT NOT NULL UNIQUE,
  task_id TEXT COLLATE "C" NOT NULL,
  number BIGINT NOT NULL,               -- N of refs/wvo/submit/TASK/N
  repository TEXT COLLATE "C" NOT NULL,
  host TEXT COLLATE "C" NOT NULL,
  path TEXT COLLATE "C" NOT NULL,
  target TEXT COLLATE "C" NOT NULL,
  commit_sha TEXT COLLATE "C" NOT NULL,
  base_sha TEXT COLLATE "C" NOT NULL,
  state TEXT COLLATE "C" NOT NULL CHECK (state IN ('queued', 'building', 'verifying', 'landing', 'merged', 'conflict', 'red', 'parked', 'withdrawn')),
  attempts BIGINT NOT NULL DEFAULT 0,
  candidate_sha TEXT COLLATE "C",
  landed_sha TEXT COLLATE "C",
  verified TEXT COLLATE "C",
  drift TEXT COLLATE "C" NOT NULL DEFAULT '[]',       -- JSON: changed paths that the task did not claim
  reason TEXT COLLATE "C",
  created_at TEXT COLLATE "C" NOT NULL,
  updated_at TEXT COLLATE "C" NOT NULL,
  UNIQUE (task_id, number)
);
CREATE INDEX merge_entries_open ON merge_entries (repository, state) WHERE state NOT IN ('merged', 'withdrawn');

-- `subject` is what is approved, as JSON; `subject_hash` binds the decision to it.
CREATE TABLE approvals (
  approval_id TEXT COLLATE "C" PRIMARY KEY,          -- A-17
  seq BIGINT NOT NULL UNIQUE,
  kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('task', 'command', 'merge', 'flow_step', 'budget')),
  task_id TEXT COLLATE "C",
  subject TEXT COLLATE "C" NOT NULL,
  subject_hash TEXT COLLATE "C" NOT NULL,
  state TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'expired', 'used', 'void')),
  asked_by TEXT COLLATE "C" NOT NULL,
  asked_session TEXT COLLATE "C" NOT NULL,
  decided_by TEXT COLLATE "C",
  reason TEXT COLLATE "C",
  created_at TEXT COLLATE "C" NOT NULL,
  decided_at TEXT COLLATE "C",
  expires_at TEXT COLLATE "C"
);
CREATE INDEX approvals_open ON approvals (expires_at) WHERE state = 'pending';
CREATE INDEX approvals_task ON approvals (task_id, seq);
CREATE INDEX approvals_subject ON approvals (subject_hash) WHERE state = 'approved';
-- What required an approval before this table was there.
INSERT INTO approvals (approval_id, seq, kind, task_id, subject, subject_hash, state, asked_by, asked_session, created_at)
SELECT 'A-' || row_number() OVER (ORDER BY seq), row_number() OVER (ORDER BY seq), 'task', id, json_build_object('task_id', id, 'title', title)::text, '',
  'pending', '', '', updated_at
FROM tasks
WHERE requires_approval = 1 AND approved_at IS NULL
  AND (status = 'pending' OR (status = 'blocked' AND coalesce(block_author, '') <> 'approval'));

-- What the policy refused or watched.
CREATE TABLE violations (
  seq BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  at TEXT COLLATE "C" NOT NULL,
  task_id TEXT COLLATE "C",
  worker_id TEXT COLLATE "C",
  agent_id TEXT COLLATE "C" NOT NULL,
  kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('command', 'path', 'tool', 'repository')),
  verdict TEXT COLLATE "C" NOT NULL,
  rule TEXT COLLATE "C" NOT NULL,
  subject TEXT COLLATE "C" NOT NULL
);
CREATE INDEX violations_task ON violations (task_id, seq);

-- The last number that was given to a submission of the task; a number is never given twice.
CREATE TABLE submission_numbers (
  task_id TEXT COLLATE "C" PRIMARY KEY,
  number BIGINT NOT NULL
);
