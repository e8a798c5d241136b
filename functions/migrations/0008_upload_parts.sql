-- The highest part that was begun: parts are erased by their numbers, whether or not others are missing between them. Where
-- nobody has said which it is, it may be any of 128.
ALTER TABLE uploads ADD COLUMN last_part INTEGER NOT NULL DEFAULT 128;
