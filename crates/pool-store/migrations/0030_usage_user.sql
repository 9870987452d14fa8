-- Whose request it was: an id of `users`, who may be gone by now. NULL: nobody's of the directory.
ALTER TABLE usage_records ADD COLUMN user_id TEXT;

CREATE INDEX usage_records_user_at ON usage_records (user_id, at_ms);
