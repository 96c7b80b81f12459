-- name: mark
-- Where the log and the inbox stand: they move whenever an order does. Both are read from the end of an index.
SELECT (SELECT max(sequence) FROM events) AS events, (SELECT max(fact_id) FROM facts) AS facts
