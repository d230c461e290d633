-- Work is checked: reviews, reservations of files, runs of orchestrate.

-- One row for each reviewer of a commit; those of a round are asked together and decided together.
CREATE TABLE reviews (
  review_id TEXT PRIMARY KEY,            -- R-12
  seq INTEGER NOT NULL UNIQUE,
  task_id TEXT NOT NULL,
  round INTEGER NOT NULL,                -- of the task, from 1
  entry_id TEXT,                         -- the submission that waits for it
  commit_sha TEXT NOT NULL,              -- empty: nothing was submitted
  base_sha TEXT,
  holds INTEGER NOT NULL DEFAULT 0,      -- 1: the work goes on only when it is decided
  author TEXT NOT NULL,
  author_session TEXT,
  author_provider TEXT,
  provider TEXT,                         -- who is to do it; NULL: whoever takes it
  candidates TEXT NOT NULL DEFAULT '[]', -- JSON: providers that it may be asked of, best first
  reviewer TEXT,
  reviewer_session TEXT,
  "trigger" TEXT NOT NULL CHECK ("trigger" IN ('milestone', 'blocker', 'request', 'human', 'silence')),
  question TEXT,                         -- what to look at, in the words of who asked
  state TEXT NOT NULL CHECK (state IN ('asked', 'running', 'answered', 'lost')),
  verdict TEXT CHECK (verdict IN ('approved', 'concerns', 'blocker')),
  summary TEXT,
  issues TEXT NOT NULL DEFAULT '[]',     -- JSON: {path, line, problem, suggestion} each
  decision TEXT CHECK (decision IN ('continue', 'warn', 'pause', 'stop')),
  explanation TEXT,                      -- of the decision, a sentence
  tries INTEGER NOT NULL DEFAULT 0,
  lease_token INTEGER NOT NULL DEFAULT 0,
  deadline TEXT,                         -- of one that runs
  artefact TEXT,                         -- the file with what was asked and answered
  asked_by TEXT NOT NULL,
  asked_at TEXT NOT NULL,
  answered_at TEXT
);
CREATE INDEX reviews_open ON reviews (seq) WHERE state IN ('asked', 'running');
CREATE INDEX reviews_task ON reviews (task_id, round);
CREATE INDEX reviews_warned ON reviews (seq) WHERE decision = 'warn' AND holds = 1;

-- NULL: none is asked. What waits stays queued.
ALTER TABLE merge_entries ADD COLUMN review TEXT CHECK (review IN ('waits', 'passed'));

-- Of a program that reviews: such a row holds no task.
ALTER TABLE workers ADD COLUMN review_id TEXT;

-- A glob that an agent keeps for itself, or shares with other readers, until it ends.
CREATE TABLE file_reservations (
  reservation_id TEXT PRIMARY KEY,       -- F-12
  seq INTEGER NOT NULL UNIQUE,
  agent_id TEXT NOT NULL,
  task_id TEXT,
  lease_token INTEGER,                   -- it ends with this lease
  pattern TEXT NOT NULL,
  beginning TEXT NOT NULL,                -- of the pattern, before its first wildcard; found by it
  mode TEXT NOT NULL CHECK (mode IN ('exclusive', 'shared')),
  created_at TEXT NOT NULL,
  expires_at TEXT NOT NULL,
  ended_at TEXT
);
CREATE INDEX file_reservations_live ON file_reservations (expires_at) WHERE ended_at IS NULL;
CREATE INDEX file_reservations_beginning ON file_reservations (beginning) WHERE ended_at IS NULL;
CREATE INDEX file_reservations_agent ON file_reservations (agent_id) WHERE ended_at IS NULL;
CREATE INDEX file_reservations_task ON file_reservations (task_id) WHERE ended_at IS NULL AND task_id IS NOT NULL;

-- Whoever holds the task is who it is for.
ALTER TABLE messages ADD COLUMN to_task TEXT;
-- The session that was shown it: another one of the same agent may not have seen it.
ALTER TABLE messages ADD COLUMN delivered_to TEXT;
CREATE INDEX messages_task ON messages (task_id) WHERE acked_at IS NULL AND task_id IS NOT NULL;
CREATE INDEX messages_addressed ON messages (to_task) WHERE acked_at IS NULL AND to_task IS NOT NULL;
CREATE INDEX messages_sent ON messages (from_agent) WHERE acked_at IS NULL;
CREATE INDEX messages_to ON messages (to_agent, seq);

-- What an agent said of itself.
ALTER TABLE agent_pool ADD COLUMN role TEXT;
ALTER TABLE agent_pool ADD COLUMN about TEXT;

-- What an approval that belongs to no task is about (budget/provider/claude/hour): one is open at a time.
ALTER TABLE approvals ADD COLUMN topic TEXT;
CREATE INDEX approvals_topic ON approvals (topic, seq) WHERE topic IS NOT NULL;

-- Runs of `wvo-mcp orchestrate`: how far each has come.
CREATE TABLE orchestrations (
  orchestration_id TEXT PRIMARY KEY,     -- O-3
  seq INTEGER NOT NULL UNIQUE,
  goal TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('planning', 'planned', 'running', 'done', 'failed', 'stopped')),
  tier INTEGER,                          -- of those who can work, 1 to 5
  plan TEXT,                             -- JSON
  plan_hash TEXT,
  facts TEXT NOT NULL DEFAULT '{}',      -- JSON: who plans, builds and reviews, costs, recoveries, why it ended
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL
);
