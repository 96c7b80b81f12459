-- Finished orders $1 + 1 .. $2 with their progress, reservations and steps, to look at lists with a long history.
-- Run it statement by statement; each takes the same two parameters.

-- name: orders
-- Orders over four channels and 400 customers, five seconds apart up to an hour ago.
INSERT INTO orders (order_id, number, channel, channel_number, customer, order_type, region, currency, net, line_count,
                    plan, placed_at, accepted_at, body)
SELECT n, 'CD' || lpad(n::text, 8, '0'), (ARRAY['shop', 'portal', 'market-nord', 'market-sued'])[n % 4 + 1], 'H-' || n,
       CASE WHEN n % 4 = 1 THEN 'H-' || (n % 400) ELSE '' END, 'consumer', 'EU', 'EUR', (n % 9000)::numeric / 100, 2,
       'consumer', now() - interval '1 hour' - (($2::bigint - n) * interval '5 seconds'),
       now() - interval '1 hour' - (($2::bigint - n) * interval '5 seconds'), '{}'
FROM generate_series($1::bigint + 1, $2::bigint) AS n

-- name: progress
-- All completed but a few cancelled.
INSERT INTO order_progress (order_id, state, version, event_count, steps_open, decided_at, progress, channel)
SELECT n, CASE WHEN n % 50 = 0 THEN 'cancelled' ELSE 'completed' END, 5, 5, 0, now(), '{"state":"completed","lines":{}}',
       (ARRAY['shop', 'portal', 'market-nord', 'market-sued'])[n % 4 + 1]
FROM generate_series($1::bigint + 1, $2::bigint) AS n

-- name: reservations
-- One popular SKU in every third order, 500 others.
INSERT INTO reservations (order_id, line, location, sku, quantity, shipped)
SELECT n, '1', 'HAM', CASE WHEN n % 3 = 0 THEN 'ND-0001' ELSE 'H-' || (n % 500) END, 1, 1
FROM generate_series($1::bigint + 1, $2::bigint) AS n

-- name: steps
-- Two done steps for each order.
INSERT INTO steps (order_id, name, connection, operation, state, needs, created_at, due_at, done_at, external_id, payload)
SELECT n, kind.name, kind.connection, kind.name, 'done', '{}', now(), now(), now(), kind.prefix || n, '{}'
FROM generate_series($1::bigint + 1, $2::bigint) AS n
CROSS JOIN (VALUES ('erp.place_order', 'erp', 'SO-'), ('tax.quote', 'tax', 'TX-')) AS kind (name, connection, prefix)
