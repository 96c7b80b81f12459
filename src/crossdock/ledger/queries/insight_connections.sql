-- name: connections
-- Every connection with its switches and last signs of life.
SELECT connection, system, paused, paused_by, paused_at,
       CASE WHEN isfinite(blocked_until) THEN blocked_until END AS blocked_until,
       calls_per_second, burst, last_ok_at, last_error_at, last_error
FROM connections
ORDER BY connection

-- name: step_counts
-- Open steps by connection, operation and state; one branch for each partial index, so that finished steps are never read.
SELECT connection, operation, state, count(*) AS count, min(created_at) AS oldest_at
FROM steps WHERE state IN ('ready', 'in_doubt') GROUP BY 1, 2, 3
UNION ALL
SELECT connection, operation, state, count(*), min(created_at) FROM steps WHERE state = 'waiting' GROUP BY 1, 2, 3
UNION ALL
SELECT connection, operation, state, count(*), min(created_at) FROM steps WHERE state = 'sending' GROUP BY 1, 2, 3
UNION ALL
SELECT connection, operation, state, count(*), min(created_at) FROM steps WHERE state = 'quarantined' GROUP BY 1, 2, 3
ORDER BY 1, 2, 3

-- name: lanes
-- The breaker of each operation.
SELECT connection, operation, state, failures, opened_at, retry_at, override, override_by
FROM lanes
ORDER BY connection, operation

-- name: feeds
-- Where each polled feed stands.
SELECT connection, feed, interval_seconds, failures, read_at, changed_at,
       coalesce(error_code, '') AS error_code, coalesce(error_message, '') AS error_message
FROM feeds
ORDER BY connection, feed
