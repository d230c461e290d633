-- Work that lands: results of verification, checkpoints of files, messages. The merge slot is a row of `leaders`.

ALTER TABLE merge_entries ADD COLUMN kind TEXT NOT NULL DEFAULT 'submission' CHECK (kind IN ('submission', 'revert'));
-- Who completed it: it goes back to them.
ALTER TABLE merge_entries ADD COLUMN agent_id TEXT;
-- Of the target, which the candidate was built on.
ALTER TABLE merge_entries ADD COLUMN tip_sha TEXT;
-- JSON: files in conflict, or command, tail and log of a red verification.
ALTER TABLE merge_entries ADD COLUMN findings TEXT NOT NULL DEFAULT '{}';
-- Its address.
ALTER TABLE merge_entries ADD COLUMN pull_request TEXT;
-- Of one that is parked for a cause that may pass.
ALTER TABLE merge_entries ADD COLUMN retry_at TEXT;
CREATE INDEX tasks_in_review ON tasks (id) WHERE status = 'in_review';

-- What the commands said of a tree. `commands_hash` is also of setup and of the names of the environment.
CREATE TABLE verifications (
  tree_sha TEXT NOT NULL,
  commands_hash TEXT NOT NULL,
  passed INTEGER NOT NULL,
  took_ms INTEGER NOT NULL,
  verdict TEXT NOT NULL,                 -- JSON: command, exit_code, tail, log
  created_at TEXT NOT NULL,
  PRIMARY KEY (tree_sha, commands_hash)
);
CREATE INDEX verifications_age ON verifications (created_at);

CREATE TABLE workspace_checkpoints (
  workspace_id TEXT NOT NULL,
  seq INTEGER NOT NULL,                  -- in the workspace, from 1
  task_id TEXT NOT NULL,
  number INTEGER NOT NULL,               -- N of refs/wvo/checkpoint/TASK/N
  task_checkpoint INTEGER,               -- seq of the task's own checkpoint that it was taken with
  commit_sha TEXT NOT NULL,
  tree_sha TEXT NOT NULL,
  "trigger" TEXT NOT NULL CHECK ("trigger" IN ('call', 'interval', 'changes', 'pause', 'complete')),
  files_changed INTEGER NOT NULL,
  violations INTEGER NOT NULL DEFAULT 0,
  findings TEXT NOT NULL DEFAULT '[]',   -- JSON: {severity, rule, path, message} of each violation
  took_ms INTEGER NOT NULL,
  created_at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, seq),
  UNIQUE (task_id, number)
);

CREATE TABLE messages (
  message_id TEXT PRIMARY KEY,           -- n-12
  seq INTEGER NOT NULL UNIQUE,
  from_agent TEXT NOT NULL,
  to_agent TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('note', 'question', 'violation', 'pause', 'resume', 'rollback')),
  body TEXT NOT NULL,
  task_id TEXT,
  needs_answer INTEGER NOT NULL DEFAULT 0,
  answers TEXT,                          -- message_id of what it answers
  delivered_at TEXT,
  deliveries INTEGER NOT NULL DEFAULT 0,
  acked_at TEXT,
  deadline TEXT,
  created_at TEXT NOT NULL
);
CREATE INDEX messages_waiting ON messages (to_agent, seq) WHERE acked_at IS NULL;
CREATE INDEX messages_due ON messages (deadline) WHERE acked_at IS NULL AND deadline IS NOT NULL;
