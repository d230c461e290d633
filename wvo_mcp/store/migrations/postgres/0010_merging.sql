-- Work that lands: results of verification, checkpoints of files, messages. The merge slot is a row of `leaders`.

ALTER TABLE merge_entries ADD COLUMN kind TEXT COLLATE "C" NOT NULL DEFAULT 'submission' CHECK (kind IN ('submission', 'revert'));
-- Who completed it: it goes back to them.
ALTER TABLE merge_entries ADD COLUMN agent_id TEXT COLLATE "C";
-- Of the target, which the candidate was built on.
ALTER TABLE merge_entries ADD COLUMN tip_sha TEXT COLLATE "C";
-- JSON: files in conflict, or command, tail and log of a red verification.
ALTER TABLE merge_entries ADD COLUMN findings TEXT COLLATE "C" NOT NULL DEFAULT '{}';
-- Its address.
ALTER TABLE merge_entries ADD COLUMN pull_request TEXT COLLATE "C";
-- Of one that is parked for a cause that may pass.
ALTER TABLE merge_entries ADD COLUMN retry_at TEXT COLLATE "C";
CREATE INDEX tasks_in_review ON tasks (id) WHERE status = 'in_review';

-- What the commands said of a tree. `commands_hash` is also of setup and of the names of the environment.
CREATE TABLE verifications (
  tree_sha TEXT COLLATE "C" NOT NULL,
  commands_hash TEXT COLLATE "C" NOT NULL,
  passed BIGINT NOT NULL,
  took_ms BIGINT NOT NULL,
  verdict TEXT COLLATE "C" NOT NULL,                 -- JSON: command, exit_code, tail, log
  created_at TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (tree_sha, commands_hash)
);
CREATE INDEX verifications_age ON verifications (created_at);

CREATE TABLE workspace_checkpoints (
  workspace_id TEXT COLLATE "C" NOT NULL,
  seq BIGINT NOT NULL,                  -- in the workspace, from 1
  task_id TEXT COLLATE "C" NOT NULL,
  number BIGINT NOT NULL,               -- N of refs/wvo/checkpoint/TASK/N
  task_checkpoint BIGINT,               -- seq of the task's own checkpoint that it was taken with
  commit_sha TEXT COLLATE "C" NOT NULL,
  tree_sha TEXT COLLATE "C" NOT NULL,
  "trigger" TEXT COLLATE "C" NOT NULL CHECK ("trigger" IN ('call', 'interval', 'changes', 'pause', 'complete')),
  files_changed BIGINT NOT NULL,
  violations BIGINT NOT NULL DEFAULT 0,
  findings TEXT COLLATE "C" NOT NULL DEFAULT '[]',   -- JSON: {severity, rule, path, message} of each violation
  took_ms BIGINT NOT NULL,
  created_at TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (workspace_id, seq),
  UNIQUE (task_id, number)
);

CREATE TABLE messages (
  message_id TEXT COLLATE "C" PRIMARY KEY,           -- n-12
  seq BIGINT NOT NULL UNIQUE,
  from_agent TEXT COLLATE "C" NOT NULL,
  to_agent TEXT COLLATE "C" NOT NULL,
  kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('note', 'question', 'violation', 'pause', 'resume', 'rollback')),
  body TEXT COLLATE "C" NOT NULL,
  task_id TEXT COLLATE "C",
  needs_answer BIGINT NOT NULL DEFAULT 0,
  answers TEXT COLLATE "C",                          -- message_id of what it answers
  delivered_at TEXT COLLATE "C",
  deliveries BIGINT NOT NULL DEFAULT 0,
  acked_at TEXT COLLATE "C",
  deadline TEXT COLLATE "C",
  created_at TEXT COLLATE "C" NOT NULL
);
CREATE INDEX messages_waiting ON messages (to_agent, seq) WHERE acked_at IS NULL;
CREATE INDEX messages_due ON messages (deadline) WHERE acked_at IS NULL AND deadline IS NOT NULL;
