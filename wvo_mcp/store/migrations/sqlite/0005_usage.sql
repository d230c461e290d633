-- An attempt is one of the provider that does the work, not of the one that was advised: the agent's own, or the one that a
-- report names; NULL while that is not known.
ALTER TABLE task_routes ADD COLUMN worked TEXT;
ALTER TABLE task_routes ADD COLUMN worked_tier TEXT;

DROP TRIGGER route_taken;
CREATE TRIGGER route_taken AFTER INSERT ON task_routes BEGIN
  INSERT INTO provider_reserved (provider, tier, tokens, attempts) VALUES (NEW.provider, NEW.tier, NEW.reserved, 1)
  ON CONFLICT (provider, tier) DO UPDATE SET tokens = tokens + excluded.tokens, attempts = attempts + 1;
  INSERT INTO usage_days (day, provider, tier, attempts)
  SELECT substr(NEW.at, 1, 10), NEW.worked, NEW.worked_tier, 1 WHERE NEW.worked IS NOT NULL
  ON CONFLICT (day, provider, tier) DO UPDATE SET attempts = attempts + 1;
END;
DROP TRIGGER route_changed;
CREATE TRIGGER route_changed AFTER UPDATE OF reserved, provider, tier, ended_at, lease_token ON task_routes BEGIN
  UPDATE provider_reserved SET tokens = tokens - OLD.reserved, attempts = attempts - (OLD.ended_at IS NULL)
  WHERE provider = OLD.provider AND tier = OLD.tier;
  INSERT INTO provider_reserved (provider, tier, tokens, attempts)
  VALUES (NEW.provider, NEW.tier, NEW.reserved, NEW.ended_at IS NULL)
  ON CONFLICT (provider, tier) DO UPDATE SET tokens = tokens + excluded.tokens, attempts = attempts + excluded.attempts;
  INSERT INTO usage_days (day, provider, tier, attempts)
  SELECT substr(NEW.at, 1, 10), NEW.worked, NEW.worked_tier, 1
  WHERE NEW.worked IS NOT NULL AND (OLD.lease_token <> NEW.lease_token OR OLD.worked IS NOT NEW.worked
    OR (OLD.tier <> NEW.tier AND NEW.worked = NEW.provider))
  ON CONFLICT (day, provider, tier) DO UPDATE SET attempts = attempts + 1;
END;

-- Messages of transcripts that were counted, each once; `ends`: so many bytes of the transcript are read with it.
CREATE TABLE usage_messages (
  message_id TEXT PRIMARY KEY,
  transcript TEXT NOT NULL,
  ends INTEGER NOT NULL,
  at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX usage_messages_read ON usage_messages (transcript, ends);
