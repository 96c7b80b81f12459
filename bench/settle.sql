-- name: mark
-- Something to switch away from: a log file without content is not left.
SELECT pg_logical_emit_message(false, 'bench', 'settle');

-- name: switch
SELECT pg_switch_wal();

-- name: checkpoint
CHECKPOINT;
