-- What went wrong before, and what was done about it.

CREATE TABLE error_patterns (
  pattern_id TEXT PRIMARY KEY,            -- P-12
  seq INTEGER NOT NULL UNIQUE,
  signature_key TEXT NOT NULL UNIQUE,     -- of the words of its lines
  signature TEXT NOT NULL,                -- lines, most telling first, without paths, numbers, names and secrets
  frames TEXT NOT NULL DEFAULT '',        -- names of functions, with spaces between
  category TEXT NOT NULL CHECK (category IN ('success', 'failure', 'meta')),
  cause TEXT,
  solution TEXT,                          -- NULL: nobody knows one
  source TEXT NOT NULL CHECK (source IN ('outcome', 'review', 'research', 'person')),
  origin TEXT,                            -- the project that it was imported from
  frequency INTEGER NOT NULL DEFAULT 1,
  worked REAL NOT NULL DEFAULT 0,         -- faded sum of tries that helped
  failed REAL NOT NULL DEFAULT 0,
  files TEXT NOT NULL DEFAULT '[]',       -- JSON: paths it was met in
  agent_id TEXT NOT NULL,                 -- who wrote the solution, or met it first
  created_at TEXT NOT NULL,
  used_at TEXT NOT NULL,
  kept_until TEXT NOT NULL                -- then it is forgotten, unless it is used before
);
CREATE INDEX error_patterns_kept ON error_patterns (kept_until, seq);

-- Inverted index: the words of a pattern, and the hashes of its lines (=...).
CREATE TABLE pattern_terms (
  term TEXT NOT NULL,
  pattern INTEGER NOT NULL,                  -- seq
  PRIMARY KEY (term, pattern)
) WITHOUT ROWID;
CREATE INDEX pattern_terms_pattern ON pattern_terms (pattern);

-- In how many patterns a word is; the empty word is in all of them.
CREATE TABLE pattern_term_counts (
  term TEXT PRIMARY KEY,
  patterns INTEGER NOT NULL
) WITHOUT ROWID;

-- A task met a pattern, or was offered it.
CREATE TABLE pattern_uses (
  task_id TEXT NOT NULL,
  pattern_id TEXT NOT NULL,
  failed_as TEXT NOT NULL,                -- the pattern of the error that it was offered for
  at TEXT NOT NULL,
  times INTEGER NOT NULL DEFAULT 1,          -- the task met it
  share REAL NOT NULL DEFAULT 1,          -- of the credit, when several were offered together
  outcome TEXT CHECK (outcome IN ('worked', 'failed')),
  PRIMARY KEY (task_id, pattern_id)
);
CREATE INDEX pattern_uses_pattern ON pattern_uses (pattern_id, at);
