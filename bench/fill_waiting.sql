-- name: fill
-- $1 accepted orders of $2 steps each that wait for their partners: one is due, the others wait for it. The order and
-- its steps are copies of the newest ones, so that they are as large as real ones.
WITH source AS (
    SELECT o.*, p.state, p.version, p.event_count, p.steps_open, p.decided_at, p.progress
    FROM orders o JOIN order_progress p USING (order_id) ORDER BY o.order_id DESC LIMIT 1
), numbers AS (
    SELECT 1000000 + n AS order_id, n FROM generate_series(1, $1::integer) AS n
), placed AS (
    INSERT INTO orders (order_id, number, channel, channel_number, customer, order_type, region, currency, net,
                        line_count, plan, placed_at, accepted_at, traceparent, body)
    SELECT n.order_id, 'CD' || lpad(n.order_id::text, 8, '0'), s.channel, 'W-' || n.n, s.customer, s.order_type, s.region,
           s.currency, s.net, s.line_count, s.plan, s.placed_at, s.accepted_at, s.traceparent, s.body
    FROM source s CROSS JOIN numbers n
), progressed AS (
    INSERT INTO order_progress (order_id, state, version, event_count, steps_open, decided_at, progress, channel)
    SELECT n.order_id, s.state, s.version, s.event_count, $2, s.decided_at, s.progress, s.channel FROM source s CROSS JOIN numbers n
), step AS (
    SELECT t.* FROM steps t JOIN source s USING (order_id) ORDER BY t.name LIMIT 1
)
INSERT INTO steps (order_id, name, connection, operation, state, needs, created_at, due_at, payload)
SELECT n.order_id, t.operation || ':' || place, t.connection, t.operation,
       CASE WHEN place = 1 THEN 'ready' ELSE 'waiting' END,
       CASE WHEN place = 1 THEN '{}'::text[] ELSE ARRAY [t.operation || ':1'] END, t.created_at, t.due_at, t.payload
FROM step t CROSS JOIN numbers n CROSS JOIN generate_series(1, $2::integer) AS place;

-- name: advance_numbers
-- New orders get numbers beyond the copies.
SELECT setval('order_numbers', 3000000);

-- name: count_waiting
-- How many steps wait.
SELECT count(*) FROM steps WHERE state IN ('ready', 'waiting');

-- name: settle
-- As autovacuum would leave it.
VACUUM ANALYZE;
