-- The base model as browsers may download it (a manifest, by the base's fingerprint): no row, no download.
CREATE TABLE browser_models (
  base TEXT PRIMARY KEY,
  manifest TEXT NOT NULL,
  updated_ms INTEGER NOT NULL
);
-- Whether an adapter's delta may be handed to browsers: the operator's decision.
ALTER TABLE aliases ADD COLUMN may_leave INTEGER NOT NULL DEFAULT 0;
