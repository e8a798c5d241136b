-- Uploads in parts that have begun: their parts are erased when `due_ms` has come, unless they were published before.
CREATE TABLE uploads (
  tenant TEXT NOT NULL,
  digest TEXT NOT NULL,
  due_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, digest)
);
-- What was erased with each tenant, as JSON; a name that is used again may be deleted again.
CREATE TABLE receipts (
  tenant TEXT NOT NULL,
  erased_ms INTEGER NOT NULL,
  receipt TEXT NOT NULL,
  PRIMARY KEY (tenant, erased_ms)
);
