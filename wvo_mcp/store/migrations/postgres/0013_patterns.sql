-- What went wrong before, and what was done about it.

CREATE TABLE error_patterns (
  pattern_id TEXT COLLATE "C" PRIMARY KEY,            -- P-12
  seq BIGINT NOT NULL UNIQUE,
  signature_key TEXT COLLATE "C" NOT NULL UNIQUE,     -- of the words of its lines
  signature TEXT COLLATE "C" NOT NULL,                -- lines, most telling first, without paths, numbers, names and secrets
  frames TEXT COLLATE "C" NOT NULL DEFAULT '',        -- names of functions, with spaces between
  category TEXT COLLATE "C" NOT NULL CHECK (category IN ('success', 'failure', 'meta')),
  cause TEXT COLLATE "C",
  solution TEXT COLLATE "C",                          -- NULL: nobody knows one
  source TEXT COLLATE "C" NOT NULL CHECK (source IN ('outcome', 'review', 'research', 'person')),
  origin TEXT COLLATE "C",                            -- the project that it was imported from
  frequency BIGINT NOT NULL DEFAULT 1,
  worked DOUBLE PRECISION NOT NULL DEFAULT 0,         -- faded sum of tries that helped
  failed DOUBLE PRECISION NOT NULL DEFAULT 0,
  files TEXT COLLATE "C" NOT NULL DEFAULT '[]',       -- JSON: paths it was met in
  agent_id TEXT COLLATE "C" NOT NULL,                 -- who wrote the solution, or met it first
  created_at TEXT COLLATE "C" NOT NULL,
  used_at TEXT COLLATE "C" NOT NULL,
  kept_until TEXT COLLATE "C" NOT NULL                -- then it is forgotten, unless it is used before
);
CREATE INDEX error_patterns_kept ON error_patterns (kept_until, seq);

-- Inverted index: the words of a pattern, and the hashes of its lines (=...).
CREATE TABLE pattern_terms (
  term TEXT COLLATE "C" NOT NULL,
  pattern BIGINT NOT NULL,                  -- seq
  PRIMARY KEY (term, pattern)
);
CREATE INDEX pattern_terms_pattern ON pattern_terms (pattern);

-- In how many patterns a word is; the empty word is in all of them.
CREATE TABLE pattern_term_counts (
  term TEXT COLLATE "C" PRIMARY KEY,
  patterns BIGINT NOT NULL
);

-- A task met a pattern, or was offered it.
CREATE TABLE pattern_uses (
  task_id TEXT COLLATE "C" NOT NULL,
  pattern_id TEXT COLLATE "C" NOT NULL,
  failed_as TEXT COLLATE "C" NOT NULL,                -- the pattern of the error that it was offered for
  at TEXT COLLATE "C" NOT NULL,
  times BIGINT NOT NULL DEFAULT 1,          -- the task met it
  share DOUBLE PRECISION NOT NULL DEFAULT 1,          -- of the credit, when several were offered together
  outcome TEXT COLLATE "C" CHECK (outcome IN ('worked', 'failed')),
  PRIMARY KEY (task_id, pattern_id)
);
CREATE INDEX pattern_uses_pattern ON pattern_uses (pattern_id, at);
