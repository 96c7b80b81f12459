-- name: orders_by_state
-- Open states exactly; finished states up to a bound, so that the cost does not grow with history.
SELECT open_state.state, counted.count, true AS exact
FROM unnest($1::text[]) AS open_state (state)
CROSS JOIN LATERAL (SELECT count(*) FROM order_progress p WHERE p.state = open_state.state) AS counted
UNION ALL
SELECT finished.state, least(counted.count, $3::bigint), counted.count <= $3::bigint
FROM unnest($2::text[]) AS finished (state)
CROSS JOIN LATERAL (
    SELECT count(*) FROM (
        SELECT FROM order_progress p WHERE p.state = finished.state ORDER BY p.order_id DESC LIMIT $3::bigint + 1
    ) AS bounded
) AS counted

-- name: inbox
-- Facts that are not applied yet.
SELECT (SELECT count(*) FROM facts WHERE state = 'waiting')
         + (SELECT count(*) FROM facts WHERE state = 'untranslated') AS waiting,
       (SELECT count(*) FROM facts WHERE state = 'early') AS early,
       (SELECT count(*) FROM facts WHERE state = 'quarantined') AS quarantined,
       (SELECT min(received_at) FROM facts WHERE state = 'waiting') AS oldest_waiting_at

-- name: oldest_waiting_step
-- The step that could be sent and was laid first.
SELECT o.number AS order_number, s.name, s.connection, s.state, s.created_at AS since
FROM steps s
JOIN orders o ON o.order_id = s.order_id
WHERE s.state IN ('ready', 'in_doubt')
ORDER BY s.created_at
LIMIT 1

-- name: waiting_for_erp
-- Orders that are accepted and that an ERP has not taken yet, and shipments that it has not booked and invoiced.
SELECT s.connection, count(*) FILTER (WHERE s.operation = 'erp.place_order') AS orders,
       count(*) FILTER (WHERE s.operation = 'erp.ship') AS shipments, min(s.created_at) AS since
FROM (
    SELECT connection, operation, created_at FROM steps
    WHERE state IN ('ready', 'in_doubt') AND connection IN (SELECT connection FROM connections)
      AND operation IN ('erp.place_order', 'erp.ship')
    UNION ALL
    -- Being sent: no more than the workers have in hand.
    SELECT connection, operation, created_at FROM steps
    WHERE state = 'sending' AND leased_until > '-infinity' AND operation IN ('erp.place_order', 'erp.ship')
) AS s
GROUP BY s.connection
ORDER BY s.connection

-- name: unpublished_shipments
-- Shipments that the channel has not been told of, oldest first, with the number of all of them.
SELECT o.number AS order_number, late.name AS step, late.connection, late.state, late.created_at AS since, late.total
FROM (
    SELECT *, count(*) OVER () AS total
    FROM (
        SELECT order_id, name, connection, state, created_at FROM steps
        WHERE state IN ('ready', 'in_doubt') AND operation = 'channel.ship'
        UNION ALL
        SELECT order_id, name, connection, state, created_at FROM steps
        WHERE state = 'waiting' AND operation = 'channel.ship'
        UNION ALL
        SELECT order_id, name, connection, state, created_at FROM steps
        WHERE state = 'quarantined' AND operation = 'channel.ship'
    ) AS open_steps
    ORDER BY created_at LIMIT $1
) AS late
JOIN orders o ON o.order_id = late.order_id
ORDER BY late.created_at

-- name: processes
-- Which processes were seen lately. One that has gone is left out once another has begun in its place: the same but for
-- the process number that its name ends with.
SELECT process, kind, started_at, seen_at FROM processes p
WHERE NOT EXISTS (
    SELECT FROM processes q
    WHERE q.kind = p.kind AND q.started_at > p.seen_at
      AND regexp_replace(q.process, '[0-9]+$', '') = regexp_replace(p.process, '[0-9]+$', '')
)
ORDER BY kind, process LIMIT 200

-- name: accepted_by_minute
-- Orders accepted by minute, without an index on the time: order ids grow with time, so each minute's first id is found by
-- halving the primary key, and the orders between two of them are counted in the index.
WITH RECURSIVE bounds AS (
    SELECT coalesce(min(order_id), 0) AS low, coalesce(max(order_id), 0) + 1 AS high FROM orders
),
search AS (
    SELECT m.at, m.position, b.low, b.high, 0 AS depth
    FROM unnest($1::timestamptz[]) WITH ORDINALITY AS m (at, position) CROSS JOIN bounds b
    UNION ALL
    SELECT s.at, s.position,
           CASE WHEN probe.accepted_at < s.at THEN (s.low + s.high) / 2 + 1 ELSE s.low END,
           CASE WHEN probe.accepted_at < s.at THEN s.high ELSE (s.low + s.high) / 2 END,
           s.depth + 1
    FROM search s
    LEFT JOIN LATERAL (
        SELECT o.accepted_at FROM orders o WHERE o.order_id >= (s.low + s.high) / 2 ORDER BY o.order_id LIMIT 1
    ) AS probe ON true
    WHERE s.low < s.high AND s.depth < 64
),
firsts AS (
    SELECT DISTINCT ON (position) position, at, low FROM search ORDER BY position, depth DESC
)
SELECT f.at, (
    SELECT count(*) FROM orders o
    WHERE o.order_id >= f.low
      AND o.order_id < coalesce((SELECT n.low FROM firsts n WHERE n.position = f.position + 1), 9223372036854775807)
) AS accepted
FROM firsts f
ORDER BY f.position

-- name: wrong_labels
-- Packages that lately left with a label that is no SSCC, by warehouse.
SELECT s.connection, s.warehouse, count(*) AS packages, min(p.sscc) AS example, min(o.number) AS order_number
FROM shipment_packages p JOIN shipments s ON s.shipment = p.shipment AND s.order_id = p.order_id
JOIN orders o ON o.order_id = p.order_id
WHERE p.label_wrong_at > $1 GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 20;

-- name: troubled_stock
-- Sources of balances that are late, or of which a report waits for a person: there are few sources.
SELECT source, location, received_at, stale_since, held_since, held_reason
FROM stock_sources WHERE stale_since IS NOT NULL OR held_since IS NOT NULL ORDER BY source, location LIMIT 100;
