-- name: find_earlier
-- What was already said about these placed orders: by idempotency key, and by the channel's number. The answer to one
-- that was accepted stands in its order.
SELECT f.connection, f.business_key, f.idempotency_key, f.body_hash, f.answer, f.order_id, o.body AS order_body
FROM facts f
JOIN unnest($1::text[], $2::text[]) AS a (connection, business_key)
  ON f.connection = a.connection AND f.business_key = a.business_key
LEFT JOIN orders o ON o.order_id = f.order_id AND f.answer IS NULL
WHERE f.kind = 'order.placed'
UNION ALL
SELECT f.connection, f.business_key, f.idempotency_key, f.body_hash, f.answer, f.order_id, o.body
FROM facts f
JOIN unnest($1::text[], $3::text[]) AS a (connection, idempotency_key)
  ON f.connection = a.connection AND f.idempotency_key = a.idempotency_key
LEFT JOIN orders o ON o.order_id = f.order_id AND f.answer IS NULL;

-- name: find_orders
-- Orders that these channels already placed under these numbers.
SELECT o.channel, o.channel_number, o.order_id
FROM orders o JOIN unnest($1::text[], $2::text[]) AS a (channel, channel_number)
  ON o.channel_number = a.channel_number AND o.channel = a.channel;

-- name: take_numbers
-- Order numbers for a batch, and the reference version that the cached master data must have.
SELECT (SELECT array_agg(nextval('order_numbers')) FROM generate_series(1, $1::integer)) AS numbers,
       (SELECT version FROM reference_version) AS version;

-- name: lock_accounts
-- Credit figures of the customers in a batch; locked in one order, so that two batches cannot pass each other.
SELECT customer, open_orders, open_invoices FROM accounts WHERE customer = ANY ($1::text[]) ORDER BY customer FOR UPDATE;

-- name: lock_stock
-- Availability of the SKUs in a batch at every location; locked in one order.
SELECT sku, location, on_hand - quality_hold - damaged - reserved AS available
FROM stock WHERE sku = ANY ($1::text[]) ORDER BY sku, location FOR UPDATE;

-- name: lock_places
-- Availability of SKUs at locations, no more of them than a batch takes from; locked in the same order.
SELECT s.sku, s.location, s.on_hand - s.quality_hold - s.damaged - s.reserved AS available
FROM stock s JOIN unnest($1::text[], $2::text[]) AS p (sku, location) ON s.sku = p.sku AND s.location = p.location
ORDER BY s.sku, s.location FOR UPDATE OF s;

-- name: read_accounts
-- Credit figures of the customers in a batch, as they stand.
SELECT customer, open_orders, open_invoices FROM accounts WHERE customer = ANY ($1::text[]);

-- name: read_stock
-- Availability of the SKUs in a batch at every location, as it stands.
SELECT sku, location, on_hand - quality_hold - damaged - reserved AS available
FROM stock WHERE sku = ANY ($1::text[]);

-- name: insert_facts
-- Orders that came straight to us: the fact is kept with its answer. A key that exists already is left out.
INSERT INTO facts (connection, kind, business_key, version, subject, state, order_id, idempotency_key, body_hash, body,
                   answer, occurred_at, received_at, due_at, traceparent)
SELECT connection, 'order.placed', business_key, version, business_key, 'applied', order_id, idempotency_key,
       decode(version, 'hex'), body::json, answer::json, occurred_at, $2, $2, coalesce(traceparent, '')
FROM json_to_recordset($1::json)
  -- Texts, for what others wrote may hold \u0000, which would end the whole document.
  AS f (connection text, business_key text, version text, order_id bigint, idempotency_key text, body text, answer text,
        occurred_at timestamptz, traceparent text)
ON CONFLICT DO NOTHING;

-- name: answer_facts
-- Orders that came through the inbox: the fact is applied (or ignored) with its answer.
UPDATE facts f SET state = a.state, order_id = a.order_id, answer = a.answer, cause = NULL, message = NULL
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::json[]) AS a (fact_id, state, order_id, answer)
WHERE f.fact_id = a.fact_id;

-- name: insert_orders
-- The accepted (or held) orders with their first progress; a channel's number exists once.
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset($1::json)
      AS o (order_id bigint, number text, channel text, channel_number text, customer text, order_type text, region text,
            currency text, net numeric, line_count integer, plan text, placed_at timestamptz, traceparent text, body json,
            state text, event_count integer, steps_open integer, hold_cause text, hold_owner text, progress json)
), placed AS (
    INSERT INTO orders (order_id, number, channel, channel_number, customer, order_type, region, currency, net,
                        line_count, plan, placed_at, accepted_at, traceparent, body)
    SELECT order_id, number, channel, channel_number, customer, order_type, region, currency, net, line_count, plan,
           placed_at, $2, coalesce(traceparent, ''), body FROM given
)
INSERT INTO order_progress (order_id, state, version, event_count, steps_open, hold_cause, hold_owner, held_since,
                            decided_at, progress, channel)
SELECT order_id, state, 1, event_count, steps_open, hold_cause, hold_owner,
       CASE WHEN hold_cause IS NOT NULL THEN $2::timestamptz END, $2, progress, channel FROM given;

-- name: insert_reservations
-- What the accepted orders hold, and the same subtracted from availability.
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset($1::json)
      AS r (order_id bigint, line text, location text, sku text, quantity numeric)
), held AS (
    INSERT INTO reservations (order_id, line, location, sku, quantity)
    SELECT order_id, line, location, sku, quantity FROM given
    ON CONFLICT (order_id, line, location, sku) DO UPDATE
      SET quantity = reservations.quantity + EXCLUDED.quantity
)
UPDATE stock s SET reserved = s.reserved + g.quantity
FROM (SELECT sku, location, sum(quantity) AS quantity FROM given WHERE location <> '' GROUP BY sku, location) AS g
WHERE s.sku = g.sku AND s.location = g.location;

-- name: take_credit
-- What the accepted orders add to their accounts' open orders.
UPDATE accounts a SET open_orders = a.open_orders + g.amount
FROM (SELECT customer, sum(amount) AS amount FROM unnest($1::text[], $2::numeric[]) AS t (customer, amount)
      GROUP BY customer) AS g
WHERE a.customer = g.customer;

-- name: insert_steps
-- The laid steps; those without needs can begin at once. Without ON CONFLICT, which would write each row twice into the
-- log: that a name is taken is an error anyway.
INSERT INTO steps (order_id, name, connection, operation, state, needs, payload, created_at, due_at)
SELECT order_id, name, connection, operation, CASE WHEN needs IS NULL THEN 'ready' ELSE 'waiting' END,
       coalesce(needs, '{}'), payload, $2, $2
FROM json_to_recordset($1::json)
  AS s (order_id bigint, name text, connection text, operation text, needs text[], payload json);

-- name: insert_events
-- What happened, gapless per order.
INSERT INTO events (order_id, version, type, at, body)
SELECT order_id, version, type, $2, body
FROM json_to_recordset($1::json) AS e (order_id bigint, version integer, type text, body json);

-- name: wake_early
-- Facts that came before their order can now be decided.
UPDATE facts f SET state = 'waiting', due_at = $3
FROM unnest($1::text[], $2::text[]) AS a (connection, subject)
WHERE f.state = 'early' AND f.connection = a.connection AND f.subject = a.subject;

-- name: read_changed_products
-- Master data that changed after a reference version.
SELECT body, changed FROM products WHERE changed > $1;

-- name: read_changed_agreements
-- Price agreements that changed after a reference version.
SELECT body, changed FROM price_agreements WHERE changed > $1;

-- name: read_changed_customers
-- Customers that changed after a reference version.
SELECT body, changed FROM customers WHERE changed > $1;
