-- name: mark
-- Where the log and the inbox stand: they move whenever an order does; and the stream of promises, which moves with stock.
-- All are read from the end of an index.
SELECT (SELECT max(sequence) FROM events) AS events, (SELECT max(fact_id) FROM facts) AS facts,
       (SELECT max(position) FROM stock_stream) AS stock, (SELECT max(drift_id) FROM stock_drift) AS drift
