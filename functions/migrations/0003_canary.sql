-- A second version that gets `canary_weight` of a name's requests, in thousandths; and the version before, for rollback.
ALTER TABLE aliases ADD COLUMN canary_digest TEXT;
ALTER TABLE aliases ADD COLUMN canary_weight INTEGER NOT NULL DEFAULT 0;
ALTER TABLE aliases ADD COLUMN previous_digest TEXT;
