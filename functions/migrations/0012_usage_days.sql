-- Usage records that are no longer kept one by one: their sums. `started_ms` is the beginning of their day, or of their tenant
-- where it was created later that day; '' stands for no adapter.
CREATE TABLE usage_days (
  tenant TEXT NOT NULL,
  started_ms INTEGER NOT NULL,
  adapter TEXT NOT NULL,
  digest TEXT NOT NULL,
  key_id TEXT NOT NULL,
  base TEXT NOT NULL,
  outcome TEXT NOT NULL,
  requests INTEGER NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  cold_requests INTEGER NOT NULL,
  price_nano INTEGER NOT NULL,
  PRIMARY KEY (tenant, started_ms, adapter, digest, key_id, base, outcome)
) WITHOUT ROWID;
