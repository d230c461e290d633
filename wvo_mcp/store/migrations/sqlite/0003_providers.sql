-- The right model for each task: where each attempt was routed, what it took, which providers fail, what people allowed.

-- The route of the present attempt, or of the last one. `reserved`: tokens of the estimate that no report has settled yet,
-- none once the attempt is over; `unreported`: what counts as used when it ends and nobody reported anything.
CREATE TABLE task_routes (
  task_id TEXT PRIMARY KEY,
  lease_token INTEGER NOT NULL,
  agent_id TEXT NOT NULL,
  provider TEXT NOT NULL,
  tier TEXT NOT NULL,
  model TEXT NOT NULL,
  reason TEXT NOT NULL,
  reserved INTEGER NOT NULL DEFAULT 0,
  reported INTEGER NOT NULL DEFAULT 0,
  unreported INTEGER NOT NULL DEFAULT 0,
  at TEXT NOT NULL,
  ended_at TEXT
) WITHOUT ROWID;
CREATE INDEX task_routes_open ON task_routes (agent_id, reserved) WHERE ended_at IS NULL;

-- Every report of what a model took, in tokens and US dollars; `tokens` is what counts into the budgets.
CREATE TABLE usage (
  id INTEGER PRIMARY KEY,
  at TEXT NOT NULL,
  task_id TEXT,
  lease_token INTEGER,
  agent_id TEXT NOT NULL,
  provider TEXT NOT NULL,
  tier TEXT NOT NULL,
  model TEXT NOT NULL DEFAULT '',
  tokens_in INTEGER NOT NULL DEFAULT 0,
  tokens_out INTEGER NOT NULL DEFAULT 0,
  tokens_cached INTEGER NOT NULL DEFAULT 0,
  tokens INTEGER NOT NULL,
  cost REAL NOT NULL DEFAULT 0,
  source TEXT NOT NULL CHECK (source IN ('report', 'output', 'estimate'))
);
CREATE INDEX usage_agent ON usage (agent_id, at);
CREATE INDEX usage_task ON usage (task_id, at);
CREATE INDEX usage_age ON usage (at);

-- The same by minute and by day (UTC), kept by triggers: windows are sums of few rows.
CREATE TABLE usage_minutes (
  minute TEXT NOT NULL, provider TEXT NOT NULL, tier TEXT NOT NULL, tokens INTEGER NOT NULL,
  PRIMARY KEY (minute, provider, tier)
) WITHOUT ROWID;
CREATE TABLE usage_days (
  day TEXT NOT NULL, provider TEXT NOT NULL, tier TEXT NOT NULL, tokens INTEGER NOT NULL DEFAULT 0,
  cost REAL NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (day, provider, tier)
) WITHOUT ROWID;
-- What is reserved by attempts under way.
CREATE TABLE provider_reserved (
  provider TEXT NOT NULL, tier TEXT NOT NULL, tokens INTEGER NOT NULL, attempts INTEGER NOT NULL,
  PRIMARY KEY (provider, tier)
) WITHOUT ROWID;

CREATE TRIGGER usage_counted AFTER INSERT ON usage BEGIN
  INSERT INTO usage_minutes (minute, provider, tier, tokens)
  VALUES (substr(NEW.at, 1, 16), NEW.provider, NEW.tier, NEW.tokens)
  ON CONFLICT (minute, provider, tier) DO UPDATE SET tokens = tokens + excluded.tokens;
  INSERT INTO usage_days (day, provider, tier, tokens, cost)
  VALUES (substr(NEW.at, 1, 10), NEW.provider, NEW.tier, NEW.tokens, NEW.cost)
  ON CONFLICT (day, provider, tier) DO UPDATE SET tokens = tokens + excluded.tokens, cost = cost + excluded.cost;
END;
CREATE TRIGGER route_taken AFTER INSERT ON task_routes BEGIN
  INSERT INTO provider_reserved (provider, tier, tokens, attempts) VALUES (NEW.provider, NEW.tier, NEW.reserved, 1)
  ON CONFLICT (provider, tier) DO UPDATE SET tokens = tokens + excluded.tokens, attempts = attempts + 1;
  INSERT INTO usage_days (day, provider, tier, attempts) VALUES (substr(NEW.at, 1, 10), NEW.provider, NEW.tier, 1)
  ON CONFLICT (day, provider, tier) DO UPDATE SET attempts = attempts + 1;
END;
CREATE TRIGGER route_changed AFTER UPDATE OF reserved, provider, tier, ended_at, lease_token ON task_routes BEGIN
  UPDATE provider_reserved SET tokens = tokens - OLD.reserved, attempts = attempts - (OLD.ended_at IS NULL)
  WHERE provider = OLD.provider AND tier = OLD.tier;
  INSERT INTO provider_reserved (provider, tier, tokens, attempts)
  VALUES (NEW.provider, NEW.tier, NEW.reserved, NEW.ended_at IS NULL)
  ON CONFLICT (provider, tier) DO UPDATE SET tokens = tokens + excluded.tokens, attempts = attempts + excluded.attempts;
  INSERT INTO usage_days (day, provider, tier, attempts)
  SELECT substr(NEW.at, 1, 10), NEW.provider, NEW.tier, 1
  WHERE OLD.lease_token <> NEW.lease_token OR OLD.provider <> NEW.provider OR OLD.tier <> NEW.tier
  ON CONFLICT (day, provider, tier) DO UPDATE SET attempts = attempts + 1;
END;
-- However a task leaves its holder, the reservation ends with it; and what it tried out may be tried by others, unless it
-- was done, which speaks for the provider.
CREATE TRIGGER route_left AFTER UPDATE OF status ON tasks
WHEN OLD.status = 'in_progress' AND NEW.status <> 'in_progress' BEGIN
  INSERT INTO usage (at, task_id, lease_token, agent_id, provider, tier, model, tokens, source)
  SELECT NEW.updated_at, task_id, lease_token, agent_id, provider, tier, model, unreported, 'estimate' FROM task_routes
  WHERE task_id = NEW.id AND ended_at IS NULL AND reported = 0 AND unreported > 0;
  UPDATE task_routes SET reserved = 0, ended_at = NEW.updated_at WHERE task_id = NEW.id AND ended_at IS NULL;
  UPDATE breakers SET probe_task = NULL, probe_until = NULL WHERE probe_task = NEW.id AND NEW.status <> 'done';
END;

-- Circuit breakers; tier '' stands for the whole provider. `until`: not tried before; NULL while closed. Half-open, the one
-- probe under way is `probe_task` until `probe_until`.
CREATE TABLE breakers (
  provider TEXT NOT NULL,
  tier TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
  kind TEXT NOT NULL DEFAULT '',
  failures INTEGER NOT NULL DEFAULT 0,
  until TEXT,
  probe_task TEXT,
  probe_until TEXT,
  opened_at TEXT,
  reason TEXT NOT NULL DEFAULT '',
  updated_at TEXT NOT NULL,
  PRIMARY KEY (provider, tier)
) WITHOUT ROWID;
CREATE INDEX breakers_probed ON breakers (probe_task) WHERE probe_task IS NOT NULL;

-- What people allowed on top of the limits of the file. `name`: the provider, provider/tier, agent or task.
CREATE TABLE budget_raises (
  id INTEGER PRIMARY KEY,
  scope TEXT NOT NULL CHECK (scope IN ('provider', 'tier', 'agent', 'task')),
  name TEXT NOT NULL,
  period TEXT NOT NULL CHECK (period IN ('hour', 'day')),
  tokens INTEGER NOT NULL,
  until TEXT NOT NULL,
  by_agent TEXT NOT NULL,
  reason TEXT NOT NULL DEFAULT '',
  at TEXT NOT NULL
);
CREATE INDEX budget_raises_until ON budget_raises (until);
