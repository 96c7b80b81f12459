-- name: choose_source
-- The newest finished order is the pattern of all copies.
CREATE TABLE bench_source AS SELECT max(order_id) AS order_id FROM order_progress WHERE state = 'completed';

-- name: advance_numbers
-- New orders get numbers beyond the copies.
SELECT setval('order_numbers', 20000000);

-- name: orders
-- Copies $1 to $2 with numbers, customers and channels of their own; one in fifty was cancelled.
INSERT INTO orders (order_id, number, channel, channel_number, customer, order_type, region, currency, net, line_count,
                    plan, placed_at, accepted_at, traceparent, body)
SELECT 100000 + n, 'CD' || lpad((100000 + n)::text, 8, '0'), (ARRAY ['shop', 'shop', 'portal', 'bazaar'])[1 + n % 4],
       'F-' || n, 'B' || n % 200, order_type, region, currency, net, line_count, plan, placed_at, accepted_at, traceparent,
       body
FROM orders NATURAL JOIN bench_source, generate_series($1::integer, $2::integer) AS n;

-- name: progress
-- How far the copies came.
INSERT INTO order_progress (order_id, state, version, event_count, steps_open, decided_at, progress, channel)
SELECT 100000 + n, CASE WHEN n % 50 = 0 THEN 'cancelled' ELSE state END, version, event_count, steps_open, decided_at,
       progress, (ARRAY ['shop', 'shop', 'portal', 'bazaar'])[1 + n % 4]
FROM order_progress NATURAL JOIN bench_source, generate_series($1::integer, $2::integer) AS n;

-- name: facts
-- What arrived for each.
INSERT INTO facts (connection, kind, business_key, version, subject, state, order_id, idempotency_key, body_hash, body, raw,
                   answer, occurred_at, received_at, due_at)
SELECT connection, kind, 'F-' || n, version, 'F-' || n, state, 100000 + n, 'F-' || n, body_hash, body, raw, answer,
       occurred_at, received_at, due_at
FROM facts NATURAL JOIN bench_source, generate_series($1::integer, $2::integer) AS n WHERE kind = 'order.placed';

-- name: reservations
-- What each held, of products of its own.
INSERT INTO reservations (order_id, line, location, sku, quantity, shipped, released)
SELECT 100000 + n, line, location, 'SKU-' || (n * 7 + line::integer * 401) % 2000, quantity, shipped, released
FROM reservations NATURAL JOIN bench_source, generate_series($1::integer, $2::integer) AS n;

-- name: steps
-- What was done for each.
INSERT INTO steps (order_id, name, connection, operation, state, attempt, needs, created_at, due_at, started_at, done_at,
                   external_id, payload, result, exchanges)
SELECT 100000 + n, name, connection, operation, state, attempt, needs, created_at, due_at, started_at, done_at,
       external_id || '-' || n, payload, result, exchanges
FROM steps NATURAL JOIN bench_source, generate_series($1::integer, $2::integer) AS n;

-- name: events
-- What happened to each.
INSERT INTO events (order_id, version, type, at, body)
SELECT 100000 + n, version, type, at, body
FROM events NATURAL JOIN bench_source, generate_series($1::integer, $2::integer) AS n;

-- name: shipments
-- One shipment each.
INSERT INTO shipments (shipment, connection, order_id, warehouse, shipped_at, received_at, part)
SELECT 'FS-' || n, 'wms', 100000 + n, 'HAM', accepted_at, accepted_at, $3::json
FROM orders NATURAL JOIN bench_source, generate_series($1::integer, $2::integer) AS n;

-- name: settle
-- As autovacuum would leave it.
VACUUM ANALYZE;

-- name: write_out
-- What the filling has left for the next checkpoint is not the measured orders' to pay for.
CHECKPOINT;
