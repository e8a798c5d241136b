-- The id of the key that a rotation put in this one's place: its expiry is the overlap's end from then on, and no other's.
ALTER TABLE api_keys ADD COLUMN replaced_by TEXT;
