-- For the sweep: of all versions only those whose bytes have not arrived.
CREATE INDEX versions_claimed ON versions (created_ms) WHERE ready = 0;
