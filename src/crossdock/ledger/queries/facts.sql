-- name: insert_facts
-- Keep facts that are new by (connection, kind, business key, version).
INSERT INTO facts (connection, kind, business_key, version, subject, state, body, raw, occurred_at, received_at, due_at,
                   traceparent)
SELECT connection, kind, business_key, version, subject, 'waiting', body, raw, occurred_at, $10, $10, traceparent
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::json[], $7::bytea[], $8::timestamptz[],
            $9::text[])
  AS f (connection, kind, business_key, version, subject, body, raw, occurred_at, traceparent)
ON CONFLICT DO NOTHING;

-- name: insert_untranslated
-- A payload that could not be translated: kept as it came, and parked for a person.
INSERT INTO facts (connection, kind, business_key, version, subject, state, body, raw, received_at, due_at, traceparent,
                   cause, message, owner, next_action)
VALUES ($1, $2, $3, $4, $5, 'quarantined', $6, $7, $8, $8, $9, $10, $11, $12, $13)
ON CONFLICT DO NOTHING;

-- name: read_untranslated
-- Parked payloads that somebody replays.
SELECT fact_id, connection, body, coalesce(raw, '') AS raw FROM facts
WHERE state = 'untranslated' AND connection = ANY ($1::text[]) AND due_at <= $2
ORDER BY fact_id LIMIT $3;

-- name: claim_facts
-- The oldest waiting facts but those about stock, locked until this transaction ends.
SELECT fact_id, connection, kind, business_key, subject, body, attempt, received_at, traceparent
FROM facts
WHERE state = 'waiting' AND due_at <= $1 AND kind NOT IN ('balances.reported', 'stock.moved', 'supply.reported')
ORDER BY due_at, fact_id LIMIT $2 FOR UPDATE SKIP LOCKED;

-- name: claim_stock_facts
-- The oldest waiting facts about stock, locked until this transaction ends: orders never wait for them.
SELECT fact_id, connection, kind, business_key, subject, body, attempt, received_at, traceparent
FROM facts
WHERE state = 'waiting' AND due_at <= $1 AND kind IN ('balances.reported', 'stock.moved', 'supply.reported')
ORDER BY due_at, fact_id LIMIT $2 FOR UPDATE SKIP LOCKED;

-- name: mark_applied
-- Decided: applied, or ignored because there was nothing to do.
UPDATE facts f SET state = a.state, order_id = coalesce(a.order_id, f.order_id), cause = NULL, message = NULL,
                   owner = NULL, next_action = NULL
FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS a (fact_id, order_id, state)
WHERE f.fact_id = a.fact_id;

-- name: mark_early
-- Their order has not arrived yet.
UPDATE facts SET state = 'early', due_at = $2 WHERE fact_id = ANY ($1::bigint[]);

-- name: quarantine_fact
-- It cannot go on by itself: cause, owner and next action for a person.
UPDATE facts SET state = 'quarantined', attempt = attempt + 1, cause = $2, message = $3, owner = $4, next_action = $5,
                 refused_version = NULL
WHERE fact_id = $1;

-- name: postpone_fact
-- Try again later.
UPDATE facts SET attempt = attempt + 1, due_at = $2 WHERE fact_id = $1;

-- name: find_by_channel
-- Orders by channel and the channel's number.
SELECT o.channel, o.channel_number, o.order_id
FROM orders o JOIN unnest($1::text[], $2::text[]) AS a (channel, channel_number)
  ON o.channel_number = a.channel_number AND o.channel = a.channel;

-- name: find_by_tracking
-- Orders by a package's tracking number.
SELECT tracking, order_id FROM shipment_packages WHERE tracking = ANY ($1::text[]);

-- name: forget_state_facts
-- Applied reports of state that newer ones have long replaced. Their condition is that of the index.
DELETE FROM facts WHERE fact_id IN (
    SELECT fact_id FROM facts
    WHERE state IN ('applied', 'ignored') AND order_id IS NULL
      AND kind IN ('product.published', 'customer.published', 'price.published', 'balances.reported')
      AND received_at < $1
    ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED
);

-- name: wake_overtaken
-- Facts that one worker found early while another was just accepting their order: that one could not wake them yet.
UPDATE facts f SET state = 'waiting', due_at = $1
FROM unnest($2::text[], $3::text[]) AS c (connection, channel)
WHERE f.state = 'early' AND f.connection = c.connection
  AND EXISTS (SELECT FROM orders o WHERE o.channel_number = f.subject AND o.channel = c.channel);

-- name: expire_early
-- Facts whose order never came are shown to a person.
UPDATE facts SET state = 'quarantined', cause = 'order_missing', owner = 'customer service',
                 message = 'This refers to an order that never arrived.',
                 next_action = 'Look the order up at the sender; replay this once the order is here.'
WHERE state = 'early' AND due_at <= $1;
