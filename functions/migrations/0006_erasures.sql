-- When a tenant's deletion began: its keys count for nothing from then on, and its row goes last.
ALTER TABLE tenants ADD COLUMN deleting_ms INTEGER;
-- Digests that have lost a version: until the sweep has found nothing of them left, in storage and on every backend.
CREATE TABLE erasures (
  digest TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  due_ms INTEGER NOT NULL
);
