-- name: schema
CREATE TABLE IF NOT EXISTS write_log (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    at           TEXT NOT NULL,
    kind         TEXT NOT NULL,
    business_key TEXT NOT NULL,
    document     BLOB NOT NULL
);
CREATE TRIGGER IF NOT EXISTS write_log_is_never_changed BEFORE UPDATE ON write_log
    BEGIN SELECT RAISE(ABORT, 'the write log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS write_log_is_never_deleted BEFORE DELETE ON write_log
    BEGIN SELECT RAISE(ABORT, 'the write log is append-only'); END;
CREATE TABLE IF NOT EXISTS document (
    kind     TEXT NOT NULL,
    key      TEXT NOT NULL,
    parent   TEXT NOT NULL,
    position INTEGER NOT NULL,
    body     BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS document_by_position ON document (kind, position);
CREATE INDEX IF NOT EXISTS document_by_parent ON document (kind, parent, position);
CREATE TABLE IF NOT EXISTS series (
    name TEXT PRIMARY KEY,
    last INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    id           TEXT PRIMARY KEY,
    topic        TEXT NOT NULL,
    body         BLOB NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    due_at       REAL NOT NULL,
    state        TEXT NOT NULL DEFAULT 'waiting'
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (due_at) WHERE state = 'waiting';

-- name: append_log
INSERT INTO write_log (at, kind, business_key, document) VALUES (?, ?, ?, ?);

-- name: read_log
SELECT sequence, at, kind, business_key, document FROM write_log WHERE sequence > ? ORDER BY sequence LIMIT ?;

-- name: next_number
INSERT INTO series (name, last) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET last = last + 1 RETURNING last;

-- name: place_document
INSERT INTO document (kind, key, parent, position, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (kind, key) DO UPDATE SET parent = excluded.parent, position = excluded.position, body = excluded.body;

-- name: read_document
SELECT body FROM document WHERE kind = ? AND key = ?;

-- name: read_children
SELECT body FROM document WHERE kind = ? AND parent = ? ORDER BY position LIMIT ?;

-- name: read_changes
SELECT position, body FROM document WHERE kind = ? AND position > ? ORDER BY position LIMIT ?;

-- name: read_by_key
SELECT key, body FROM document WHERE kind = ? AND parent = ? AND key > ? ORDER BY key LIMIT ?;

-- name: queue_message
INSERT INTO outbox (id, topic, body, due_at) VALUES (?, ?, ?, ?);

-- name: due_messages
SELECT id, topic, body, attempts FROM outbox WHERE state = 'waiting' AND due_at <= ? ORDER BY due_at LIMIT ?;

-- name: next_due
SELECT min(due_at) FROM outbox WHERE state = 'waiting';

-- name: close_message
UPDATE outbox SET attempts = attempts + 1, state = ? WHERE id = ?;

-- name: postpone_message
UPDATE outbox SET attempts = attempts + 1, due_at = ? WHERE id = ?;

-- name: count_messages
SELECT state, count(*) FROM outbox GROUP BY state;
