-- Files of the base model for browsers that were sent here, and when one is erased that no manifest names by then.
CREATE TABLE browser_files (
  digest TEXT PRIMARY KEY,
  due_ms INTEGER NOT NULL
);
CREATE INDEX browser_files_due ON browser_files (due_ms);
