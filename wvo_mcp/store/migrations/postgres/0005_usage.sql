-- An attempt is one of the provider that does the work, not of the one that was advised: the agent's own, or the one that a
-- report names; NULL while that is not known.
ALTER TABLE task_routes ADD COLUMN worked TEXT COLLATE "C";
ALTER TABLE task_routes ADD COLUMN worked_tier TEXT COLLATE "C";

CREATE OR REPLACE FUNCTION route_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'UPDATE' THEN
    UPDATE provider_reserved
    SET tokens = tokens - OLD.reserved, attempts = attempts - CASE WHEN OLD.ended_at IS NULL THEN 1 ELSE 0 END
    WHERE provider = OLD.provider AND tier = OLD.tier;
  END IF;
  INSERT INTO provider_reserved (provider, tier, tokens, attempts)
  VALUES (NEW.provider, NEW.tier, NEW.reserved, CASE WHEN NEW.ended_at IS NULL THEN 1 ELSE 0 END)
  ON CONFLICT (provider, tier) DO UPDATE
  SET tokens = provider_reserved.tokens + excluded.tokens, attempts = provider_reserved.attempts + excluded.attempts;
  IF NEW.worked IS NOT NULL AND (TG_OP = 'INSERT' OR OLD.lease_token <> NEW.lease_token
    OR OLD.worked IS DISTINCT FROM NEW.worked OR (OLD.tier <> NEW.tier AND NEW.worked = NEW.provider)) THEN
    INSERT INTO usage_days (day, provider, tier, attempts) VALUES (substr(NEW.at, 1, 10), NEW.worked, NEW.worked_tier, 1)
    ON CONFLICT (day, provider, tier) DO UPDATE SET attempts = usage_days.attempts + 1;
  END IF;
  RETURN NULL;
END $$;

-- Messages of transcripts that were counted, each once; `ends`: so many bytes of the transcript are read with it.
CREATE TABLE usage_messages (
  message_id TEXT COLLATE "C" PRIMARY KEY,
  transcript TEXT COLLATE "C" NOT NULL,
  ends BIGINT NOT NULL,
  at TEXT COLLATE "C" NOT NULL
);
CREATE INDEX usage_messages_read ON usage_messages (transcript, ends);
