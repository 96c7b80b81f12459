-- name: lock
-- Only one process migrates at a time; released when the connection closes.
SELECT pg_advisory_lock($1::bigint);

-- name: create_table
-- The list of what was applied.
CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());

-- name: read_applied
-- Names of the migrations in this database.
SELECT name FROM migrations;

-- name: record_applied
-- One more is done.
INSERT INTO migrations (name) VALUES ($1);
