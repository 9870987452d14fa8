-- SQLite compares texts byte by byte; PostgreSQL does as the database's language does, unless told. A request is looked up by
-- the beginning of its id, so ids have to be in the order of their bytes.
ALTER TABLE usage_records ALTER COLUMN request_id TYPE TEXT COLLATE "C";
ALTER TABLE explanations ALTER COLUMN request_id TYPE TEXT COLLATE "C";
