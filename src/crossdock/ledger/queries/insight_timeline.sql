-- name: facts
-- What arrived for an order.
SELECT kind, connection, state, subject, received_at, attempt, coalesce(message, '') AS message,
       coalesce(cause, '') AS cause, coalesce(next_action, '') AS next_action
FROM facts WHERE order_id = $1 ORDER BY received_at LIMIT $2

-- name: events
-- What was decided for an order.
SELECT type, at, body FROM events WHERE order_id = $1 ORDER BY version LIMIT 1000

-- name: steps
-- The plan of an order as it stands, with what went over the wire and when the first attempt was.
SELECT s.name, s.connection, s.operation, s.state, s.needs, s.attempt, s.failures, s.created_at, s.due_at, s.started_at,
       s.done_at, coalesce(s.external_id, '') AS external_id, coalesce(s.error_kind, '') AS error_kind,
       coalesce(s.error_code, '') AS error_code, coalesce(s.error_message, '') AS error_message,
       coalesce(s.next_action, '') AS next_action, s.exchanges,
       (SELECT min(a.started_at) FROM step_attempts a WHERE a.order_id = s.order_id AND a.name = s.name) AS first_attempt_at
FROM steps s
WHERE s.order_id = $1
ORDER BY s.created_at, coalesce(s.done_at, 'infinity'), s.name
LIMIT 1000

-- name: attempts
-- Attempts that did not simply succeed, newest first.
SELECT a.name, coalesce(s.connection, '') AS connection, a.attempt, a.started_at, a.ended_at, a.outcome,
       coalesce(a.error_code, '') AS error_code, coalesce(a.error_message, '') AS error_message, a.exchanges
FROM step_attempts a
LEFT JOIN steps s ON s.order_id = a.order_id AND s.name = a.name
WHERE a.order_id = $1
ORDER BY a.ended_at DESC
LIMIT $2

-- name: documents
-- Shipments, invoices and payments of an order in one shape.
SELECT shipped_at AS at, 'shipment' AS kind, 'Shipped' AS title, connection AS system, shipment AS reference,
       ARRAY['warehouse'] AS labels, ARRAY[warehouse] AS texts
FROM shipments WHERE order_id = $1
UNION ALL
SELECT delivered_at, 'shipment', 'Delivered', connection, shipment, ARRAY['warehouse'], ARRAY[warehouse]
FROM shipments WHERE order_id = $1 AND delivered_at IS NOT NULL
UNION ALL
SELECT posted_at, 'invoice', 'Invoice posted', '', number, ARRAY['shipment', 'net', 'tax'],
       ARRAY[shipment, net::text || ' ' || currency, tax::text || ' ' || currency]
FROM invoices WHERE order_id = $1
UNION ALL
SELECT at, 'payment', 'Payment ' || kind, '', external_id, ARRAY['for', 'amount'],
       ARRAY[reference, amount::text || ' ' || currency]
FROM payments WHERE order_id = $1
ORDER BY at
LIMIT 1000

-- name: actions
-- What operators did to an order, by our number or its id, or to its message before it had a number.
SELECT at, actor, action, detail FROM audit
WHERE subject = ANY (ARRAY[$1, $2] || ARRAY (
    SELECT connection || ' ' || subject FROM facts WHERE order_id = $3 AND kind = 'order.placed' AND subject <> ''
)) ORDER BY audit_id LIMIT 200

-- name: connection_states
-- The connections that an order's open steps go to.
SELECT c.connection, c.paused, c.paused_at, c.last_error_at,
       CASE WHEN isfinite(c.blocked_until) THEN c.blocked_until END AS blocked_until
FROM connections c
WHERE c.connection IN (SELECT s.connection FROM steps s WHERE s.order_id = $1)

-- name: lane_states
-- The breakers on the way of an order's open steps.
SELECT l.connection, l.operation, l.state, l.override, l.opened_at, l.retry_at
FROM lanes l
WHERE (l.connection, l.operation) IN (SELECT s.connection, s.operation FROM steps s WHERE s.order_id = $1)
