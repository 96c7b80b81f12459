-- Copies of the last finished order, as many as asked for, with their own numbers and customers.
SELECT setval('order_numbers', greatest(1000000, nextval('order_numbers')));
CREATE TABLE bench_source AS SELECT max(order_id) AS order_id FROM order_progress WHERE state = 'completed';
INSERT INTO orders
SELECT 10000 + n, 'CD' || lpad((10000 + n)::text, 8, '0'), channel, 'F-' || n, 'B' || n % 200, order_type, region, currency,
       net, line_count, plan, placed_at, accepted_at, traceparent, body
FROM orders NATURAL JOIN bench_source, generate_series(1, $1::integer) AS n;
INSERT INTO order_progress (order_id, state, version, event_count, steps_open, decided_at, progress)
SELECT 10000 + n, state, version, event_count, steps_open, decided_at, progress
FROM order_progress NATURAL JOIN bench_source, generate_series(1, $1::integer) AS n;
INSERT INTO reservations (order_id, line, location, sku, quantity, shipped, released)
SELECT 10000 + n, line, location, sku, quantity, shipped, released
FROM reservations NATURAL JOIN bench_source, generate_series(1, $1::integer) AS n;
INSERT INTO steps (order_id, name, connection, operation, state, attempt, needs, created_at, due_at, started_at, done_at,
                   external_id, payload, result, exchanges)
SELECT 10000 + n, name, connection, operation, state, attempt, needs, created_at, due_at, started_at, done_at,
       external_id || '-' || n, payload, result, exchanges
FROM steps NATURAL JOIN bench_source, generate_series(1, $1::integer) AS n;
INSERT INTO events (order_id, version, type, at, body)
SELECT 10000 + n, version, type, at, body FROM events NATURAL JOIN bench_source, generate_series(1, $1::integer) AS n;
DROP TABLE bench_source;
VACUUM ANALYZE
