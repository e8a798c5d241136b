-- What of a receipt does not fit into one row of 2 MB: its second piece and those after it, in order.
CREATE TABLE receipt_rest (
  tenant TEXT NOT NULL,
  erased_ms INTEGER NOT NULL,
  piece INTEGER NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (tenant, erased_ms, piece)
);
