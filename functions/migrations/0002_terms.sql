-- What was agreed with a tenant: limits (NULL: none), how it pays, and prices in billionths of the currency for each token.
ALTER TABLE tenants ADD COLUMN requests_per_minute INTEGER;
ALTER TABLE tenants ADD COLUMN tokens_per_minute INTEGER;
ALTER TABLE tenants ADD COLUMN billing TEXT NOT NULL DEFAULT 'postpaid';
ALTER TABLE tenants ADD COLUMN prompt_price_nano INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN cached_price_nano INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN completion_price_nano INTEGER NOT NULL DEFAULT 0;

-- `cold`: the adapter's bytes had to be pushed to the backend first.
ALTER TABLE usage ADD COLUMN cold INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN price_nano INTEGER NOT NULL DEFAULT 0;
