-- Who may come in over HTTP: tokens, links that are used once, and logins.

CREATE TABLE access_tokens (
  token_id TEXT PRIMARY KEY,             -- 12 hexadecimal digits
  kind TEXT NOT NULL CHECK (kind IN ('token', 'link', 'session')),
  name TEXT NOT NULL,                    -- who comes in with it
  role TEXT NOT NULL CHECK (role IN ('viewer', 'agent', 'operator', 'admin')),
  hash TEXT NOT NULL,                    -- SHA-256 of the secret, which is kept nowhere
  made_by TEXT NOT NULL,
  parent TEXT,                           -- of a session: the token or link that it was made of
  created_at TEXT NOT NULL,
  expires_at TEXT NOT NULL,
  last_used_at TEXT,                     -- within a minute
  used_at TEXT,                          -- of a link: it is used up
  revoked_at TEXT
);
CREATE INDEX access_tokens_parent ON access_tokens (parent) WHERE parent IS NOT NULL;
CREATE INDEX access_tokens_expiry ON access_tokens (expires_at);
