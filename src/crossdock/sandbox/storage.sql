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
CREATE TABLE IF NOT EXISTS listing (
    sku        TEXT PRIMARY KEY,
    unit       TEXT NOT NULL,
    shown      TEXT NOT NULL,
    changed_by TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS promised (
    sku          TEXT NOT NULL,
    number       TEXT NOT NULL,
    quantity     TEXT NOT NULL,
    confirmed_at REAL,
    PRIMARY KEY (sku, number)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS promised_by_number ON promised (number);

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

-- name: place_listing
INSERT INTO listing (sku, unit, shown, changed_by) VALUES (?, ?, ?, ?)
ON CONFLICT (sku) DO UPDATE SET unit = excluded.unit, shown = excluded.shown, changed_by = excluded.changed_by;

-- name: read_listings
SELECT sku, unit, shown, changed_by FROM listing WHERE sku IN (SELECT value FROM json_each(?));

-- name: list_listings
SELECT sku, unit, shown, changed_by FROM listing WHERE sku > ? ORDER BY sku LIMIT ?;

-- name: place_promised
INSERT INTO promised (sku, number, quantity) VALUES (?, ?, ?);

-- name: confirm_promised
UPDATE promised SET confirmed_at = ? WHERE number = ? AND confirmed_at IS NULL;

-- name: release_promised
DELETE FROM promised WHERE number = ?;

-- name: read_unconfirmed
SELECT sku, quantity FROM promised WHERE number = ? AND confirmed_at IS NULL;

-- name: read_promised
SELECT sku, quantity, confirmed_at FROM promised
WHERE sku IN (SELECT value FROM json_each(?)) AND (confirmed_at IS NULL OR confirmed_at > ?);
