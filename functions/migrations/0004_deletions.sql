-- Digests whose objects are being deleted at this moment: nobody may publish the same bytes meanwhile.
CREATE TABLE deletions (
  digest TEXT PRIMARY KEY,
  at_ms INTEGER NOT NULL
);
