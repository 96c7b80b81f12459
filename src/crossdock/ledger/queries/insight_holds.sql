-- name: hold_groups
-- Held orders by cause, with one hold as the example.
SELECT p.hold_cause AS cause, coalesce(min(p.hold_owner), '') AS owner, count(*) AS count,
       coalesce(min(p.held_since), min(p.decided_at)) AS oldest_at,
       (SELECT e.progress -> 'hold' FROM order_progress e
        WHERE e.hold_cause = p.hold_cause ORDER BY e.order_id LIMIT 1) AS hold
FROM order_progress p
WHERE p.hold_cause IS NOT NULL
  AND ($1::text[] IS NULL OR EXISTS (SELECT FROM orders o WHERE o.order_id = p.order_id AND o.channel = ANY ($1)))
GROUP BY p.hold_cause
ORDER BY count(*) DESC, p.hold_cause

-- name: holds
-- A page of held orders, oldest first.
SELECT o.order_id, o.number, o.channel, o.channel_number, o.customer, coalesce(c.name, '') AS customer_name,
       o.currency, o.net, coalesce(p.held_since, p.decided_at) AS held_since,
       coalesce(p.progress -> 'hold', json_build_object('cause', p.hold_cause, 'owner', coalesce(p.hold_owner, ''),
           'next_action', '', 'since', p.decided_at)) AS hold
FROM order_progress p
JOIN orders o ON o.order_id = p.order_id
LEFT JOIN customers c ON c.code = o.customer
WHERE p.hold_cause IS NOT NULL
  AND ($1::text IS NULL OR p.hold_cause = $1)
  AND ($2::text[] IS NULL OR o.channel = ANY ($2))
  AND ($3::bigint IS NULL OR p.order_id > $3)
ORDER BY p.order_id
LIMIT $4

-- name: held_order_ids
-- The orders held for one cause, for a bulk action.
SELECT order_id FROM order_progress WHERE hold_cause = $1 ORDER BY order_id LIMIT $2

-- name: quarantine_groups
-- Parked facts and steps by connection and cause.
SELECT 'fact' AS what, connection, kind AS subject_kind, coalesce(cause, '') AS cause, coalesce(min(message), '') AS message,
       coalesce(min(next_action), '') AS next_action, count(*) AS count, min(received_at) AS oldest_at
FROM facts WHERE state = 'quarantined' GROUP BY connection, kind, coalesce(cause, '')
UNION ALL
SELECT 'step', connection, operation, coalesce(error_code, ''), coalesce(min(error_message), ''),
       coalesce(min(next_action), ''), count(*), min(created_at)
FROM steps WHERE state = 'quarantined' GROUP BY connection, operation, coalesce(error_code, '')
ORDER BY count DESC, connection, subject_kind

-- name: quarantined_facts
-- A page of quarantined facts, oldest first.
SELECT fact_id, connection, kind, business_key, subject, coalesce(cause, '') AS cause, coalesce(message, '') AS message,
       coalesce(owner, '') AS owner, coalesce(next_action, '') AS next_action, received_at, attempt, order_id
FROM facts
WHERE state = 'quarantined'
  AND ($1::text IS NULL OR connection = $1)
  AND ($2::text IS NULL OR cause = $2)
  AND ($3::text IS NULL OR kind = $3)
  AND ($4::bigint IS NULL OR fact_id > $4)
ORDER BY fact_id
LIMIT $5

-- name: quarantined_steps
-- A page of quarantined steps, oldest orders first.
SELECT s.order_id, o.number, s.name, s.connection, s.operation, coalesce(s.error_code, '') AS cause,
       coalesce(s.error_message, '') AS message, coalesce(s.next_action, '') AS next_action, s.attempt,
       s.created_at AS since
FROM steps s
JOIN orders o ON o.order_id = s.order_id
WHERE s.state = 'quarantined'
  AND ($1::text IS NULL OR s.connection = $1)
  AND ($2::text IS NULL OR s.error_code = $2)
  AND ($3::text IS NULL OR s.operation = $3)
  AND ($4::bigint IS NULL OR (s.order_id, s.name) > ($4, $5::text))
ORDER BY s.order_id, s.name
LIMIT $6

-- name: fact_payload
-- The payload as received; the body itself where it came as just that.
SELECT coalesce(raw, convert_to(body::text, 'UTF8')) AS payload FROM facts WHERE fact_id = $1
