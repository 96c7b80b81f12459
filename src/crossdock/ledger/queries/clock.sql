-- name: read_time
-- The time by the database's own clock, not that of the transaction's begin.
SELECT clock_timestamp();

-- name: read_beats
-- The processes' last signs of life, dated by the time that they share.
SELECT process, seen_at FROM processes;
