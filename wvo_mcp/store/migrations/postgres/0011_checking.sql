-- Work is checked: reviews, reservations of files, runs of orchestrate.

-- One row for each reviewer of a commit; those of a round are asked together and decided together.
CREATE TABLE reviews (
  review_id TEXT COLLATE "C" PRIMARY KEY,            -- R-12
  seq BIGINT NOT NULL UNIQUE,
  task_id TEXT COLLATE "C" NOT NULL,
  round BIGINT NOT NULL,                -- of the task, from 1
  entry_id TEXT COLLATE "C",                         -- the submission that waits for it
  commit_sha TEXT COLLATE "C" NOT NULL,              -- empty: nothing was submitted
  base_sha TEXT COLLATE "C",
  holds BIGINT NOT NULL DEFAULT 0,       -- 1: the work goes on only when it is decided
  author TEXT COLLATE "C" NOT NULL,
  author_session TEXT COLLATE "C",
  author_provider TEXT COLLATE "C",
  provider TEXT COLLATE "C",                         -- who is to do it; NULL: whoever takes it
  candidates TEXT COLLATE "C" NOT NULL DEFAULT '[]', -- JSON: providers that it may be asked of, best first
  reviewer TEXT COLLATE "C",
  reviewer_session TEXT COLLATE "C",
  "trigger" TEXT COLLATE "C" NOT NULL CHECK ("trigger" IN ('milestone', 'blocker', 'request', 'human', 'silence')),
  question TEXT COLLATE "C",                         -- what to look at, in the words of who asked
  state TEXT COLLATE "C" NOT NULL CHECK (state IN ('asked', 'running', 'answered', 'lost')),
  verdict TEXT COLLATE "C" CHECK (verdict IN ('approved', 'concerns', 'blocker')),
  summary TEXT COLLATE "C",
  issues TEXT COLLATE "C" NOT NULL DEFAULT '[]',     -- JSON: {path, line, problem, suggestion} each
  decision TEXT COLLATE "C" CHECK (decision IN ('continue', 'warn', 'pause', 'stop')),
  explanation TEXT COLLATE "C",                      -- of the decision, a sentence
  tries BIGINT NOT NULL DEFAULT 0,
  lease_token BIGINT NOT NULL DEFAULT 0,
  deadline TEXT COLLATE "C",                         -- of one that runs
  artefact TEXT COLLATE "C",                         -- the file with what was asked and answered
  asked_by TEXT COLLATE "C" NOT NULL,
  asked_at TEXT COLLATE "C" NOT NULL,
  answered_at TEXT COLLATE "C"
);
CREATE INDEX reviews_open ON reviews (seq) WHERE state IN ('asked', 'running');
CREATE INDEX reviews_task ON reviews (task_id, round);
CREATE INDEX reviews_warned ON reviews (seq) WHERE decision = 'warn' AND holds = 1;

-- NULL: none is asked. What waits stays queued.
ALTER TABLE merge_entries ADD COLUMN review TEXT COLLATE "C" CHECK (review IN ('waits', 'passed'));

-- Of a program that reviews: such a row holds no task.
ALTER TABLE workers ADD COLUMN review_id TEXT COLLATE "C";

-- A glob that an agent keeps for itself, or shares with other readers, until it ends.
CREATE TABLE file_reservations (
  reservation_id TEXT COLLATE "C" PRIMARY KEY,       -- F-12
  seq BIGINT NOT NULL UNIQUE,
  agent_id TEXT COLLATE "C" NOT NULL,
  task_id TEXT COLLATE "C",
  lease_token BIGINT,                   -- it ends with this lease
  pattern TEXT COLLATE "C" NOT NULL,
  beginning TEXT COLLATE "C" NOT NULL,                -- of the pattern, before its first wildcard; found by it
  mode TEXT COLLATE "C" NOT NULL CHECK (mode IN ('exclusive', 'shared')),
  created_at TEXT COLLATE "C" NOT NULL,
  expires_at TEXT COLLATE "C" NOT NULL,
  ended_at TEXT COLLATE "C"
);
CREATE INDEX file_reservations_live ON file_reservations (expires_at) WHERE ended_at IS NULL;
CREATE INDEX file_reservations_beginning ON file_reservations (beginning) WHERE ended_at IS NULL;
CREATE INDEX file_reservations_agent ON file_reservations (agent_id) WHERE ended_at IS NULL;
CREATE INDEX file_reservations_task ON file_reservations (task_id) WHERE ended_at IS NULL AND task_id IS NOT NULL;

-- Whoever holds the task is who it is for.
ALTER TABLE messages ADD COLUMN to_task TEXT COLLATE "C";
-- The session that was shown it: another one of the same agent may not have seen it.
ALTER TABLE messages ADD COLUMN delivered_to TEXT COLLATE "C";
CREATE INDEX messages_task ON messages (task_id) WHERE acked_at IS NULL AND task_id IS NOT NULL;
CREATE INDEX messages_addressed ON messages (to_task) WHERE acked_at IS NULL AND to_task IS NOT NULL;
CREATE INDEX messages_sent ON messages (from_agent) WHERE acked_at IS NULL;
CREATE INDEX messages_to ON messages (to_agent, seq);

-- What an agent said of itself.
ALTER TABLE agent_pool ADD COLUMN role TEXT COLLATE "C";
ALTER TABLE agent_pool ADD COLUMN about TEXT COLLATE "C";

-- What an approval that belongs to no task is about (budget/provider/claude/hour): one is open at a time.
ALTER TABLE approvals ADD COLUMN topic TEXT COLLATE "C";
CREATE INDEX approvals_topic ON approvals (topic, seq) WHERE topic IS NOT NULL;

-- Runs of `wvo-mcp orchestrate`: how far each has come.
CREATE TABLE orchestrations (
  orchestration_id TEXT COLLATE "C" PRIMARY KEY,     -- O-3
  seq BIGINT NOT NULL UNIQUE,
  goal TEXT COLLATE "C" NOT NULL,
  state TEXT COLLATE "C" NOT NULL CHECK (state IN ('planning', 'planned', 'running', 'done', 'failed', 'stopped')),
  tier BIGINT,                          -- of those who can work, 1 to 5
  plan TEXT COLLATE "C",                             -- JSON
  plan_hash TEXT COLLATE "C",
  facts TEXT COLLATE "C" NOT NULL DEFAULT '{}',      -- JSON: who plans, builds and reviews, costs, recoveries, why it ended
  created_at TEXT COLLATE "C" NOT NULL,
  updated_at TEXT COLLATE "C" NOT NULL
);
