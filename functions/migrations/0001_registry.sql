-- Who may call (tenants, keys), what they may use (versions, aliases), and what they used (usage).
CREATE TABLE tenants (
  id TEXT PRIMARY KEY,
  created_ms INTEGER NOT NULL
);

-- A key is stored as its sha256; `prefix` is all that can be shown of it later.
CREATE TABLE api_keys (
  id TEXT PRIMARY KEY,
  hash TEXT NOT NULL UNIQUE,
  prefix TEXT NOT NULL,
  tenant TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  scopes TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER,
  revoked_ms INTEGER
);
CREATE INDEX api_keys_by_tenant ON api_keys (tenant);

-- `ready` = 0 while the bytes are on their way to object storage: such a row only keeps the object from being deleted.
CREATE TABLE versions (
  tenant TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  digest TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  header TEXT NOT NULL,
  report TEXT,
  ready INTEGER NOT NULL DEFAULT 0,
  created_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, name, digest)
);
CREATE INDEX versions_by_digest ON versions (digest);

CREATE TABLE aliases (
  tenant TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  digest TEXT NOT NULL,
  updated_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, name)
);

-- One row for each request that reached a model; copied here from the tenant's meter.
CREATE TABLE usage (
  request_id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  key_id TEXT NOT NULL,
  route TEXT NOT NULL,
  adapter TEXT,
  digest TEXT,
  base TEXT NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  tier TEXT,
  backend TEXT NOT NULL,
  outcome TEXT NOT NULL,
  started_ms INTEGER NOT NULL,
  ttft_ms REAL,
  latency_ms REAL NOT NULL
);
CREATE INDEX usage_by_tenant ON usage (tenant, started_ms);
