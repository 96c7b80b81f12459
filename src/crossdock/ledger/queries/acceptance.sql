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

-- name: read_figures
-- What a batch is decided on, as it stands: numbers for its orders, the reference version that the cached master data
-- must have, credit figures, and availability at every location; and whether anything was already said about these
-- orders, so that it must be looked at closely. One row, for each row of an answer costs both sides; lists come as JSON,
-- for an array is planned value by value.
SELECT (SELECT array_agg(nextval('order_numbers')) FROM generate_series(1, $1::integer)) AS numbers,
       (SELECT version FROM reference_version) AS version,
       (SELECT json_agg(json_build_array(customer, open_orders, open_invoices)) FROM accounts
        WHERE customer = ANY (ARRAY (SELECT json_array_elements_text($2::json)))) AS accounts,
       (SELECT json_agg(json_build_array(sku, location, on_hand - quality_hold - damaged - reserved)) FROM stock
        WHERE sku = ANY (ARRAY (SELECT json_array_elements_text($3::json)))) AS stock,
       EXISTS (
           SELECT FROM facts
           WHERE connection = ANY (ARRAY (SELECT json_array_elements_text($4::json))) AND kind = 'order.placed'
             AND business_key = ANY (ARRAY (SELECT json_array_elements_text($5::json)))
       ) OR EXISTS (
           SELECT FROM facts
           WHERE connection = ANY (ARRAY (SELECT json_array_elements_text($4::json)))
             AND idempotency_key = ANY (ARRAY (SELECT json_array_elements_text($6::json)))
       ) AS is_any_known;

-- name: answer_facts
-- Orders that came through the inbox: the fact is applied (or ignored) with its answer.
UPDATE facts f SET state = a.state, order_id = a.order_id, answer = a.answer, cause = NULL, message = NULL
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::json[]) AS a (fact_id, state, order_id, answer)
WHERE f.fact_id = a.fact_id;

-- name: write_orders
-- All that a batch of placed orders leaves: the facts of those that came straight to us, with their answers; accepted (or
-- held) orders with their first progress, steps and events; early facts that can now be decided; what they hold, the same
-- subtracted from availability, and what they add to their accounts' open orders. A key, a channel's number or a step's
-- name that is taken ends the statement. Bodies come beside the rows: within them they would be taken apart several times.
-- Where the figures are not locked ($11 is false), credit and stock must allow it as they then are; if they do not, the
-- statement fails and nothing is written. They are taken last, accounts before stock, each in one order: who waits for
-- these rows waits for their change and the commit, not for all that is written before. A row is looked at and changed at
-- once.
-- Rows are found by keys that are arrays of one: so no plan is possible that reads a whole table, whatever its size is
-- when the plan is made, which is kept. Reservations are new: ON CONFLICT would write each row twice into the log.
WITH held AS MATERIALIZED (
    SELECT * FROM json_to_recordset($9::json)
      AS r (order_id bigint, line text, location text, sku text, quantity numeric)
), taken AS MATERIALIZED (
    SELECT sku, location, sum(quantity) AS quantity FROM held WHERE location <> ''
    GROUP BY sku, location ORDER BY sku, location
), claimed AS MATERIALIZED (
    SELECT * FROM json_to_recordset($10::json) AS c (customer text, amount numeric, credit_limit numeric)
    ORDER BY customer
), arrived AS (
    INSERT INTO facts (connection, kind, business_key, version, subject, state, order_id, idempotency_key, body_hash,
                       body, answer, occurred_at, received_at, due_at, traceparent)
    SELECT connection, 'order.placed', business_key, version, business_key, 'applied', order_id, idempotency_key,
           decode(version, 'hex'), body, answer::json, occurred_at, $1, $1, coalesce(traceparent, '')
    FROM ROWS FROM (
        json_to_recordset($2::json)
          -- Texts, for what others wrote may hold \u0000, which would end the whole document.
          AS (connection text, business_key text, version text, order_id bigint, idempotency_key text, answer text,
              occurred_at timestamptz, traceparent text),
        unnest($3::json[])
    ) AS f (connection, business_key, version, order_id, idempotency_key, answer, occurred_at, traceparent, body)
    RETURNING 1
), given AS MATERIALIZED (
    SELECT * FROM ROWS FROM (
        json_to_recordset($4::json)
          AS (order_id bigint, number text, channel text, channel_number text, customer text, order_type text,
              region text, currency text, net numeric, line_count integer, plan text, placed_at timestamptz,
              traceparent text, source text, state text, event_count integer, steps_open integer, hold_cause text,
              hold_owner text),
        unnest($5::json[]), unnest($6::json[])
    ) AS o (order_id, number, channel, channel_number, customer, order_type, region, currency, net, line_count, plan,
            placed_at, traceparent, source, state, event_count, steps_open, hold_cause, hold_owner, body, progress)
), placed AS (
    INSERT INTO orders (order_id, number, channel, channel_number, customer, order_type, region, currency, net,
                        line_count, plan, placed_at, accepted_at, traceparent, body)
    SELECT order_id, number, channel, channel_number, customer, order_type, region, currency, net, line_count, plan,
           placed_at, $1, coalesce(traceparent, ''), body FROM given
    RETURNING 1
), begun AS (
    INSERT INTO order_progress (order_id, state, version, event_count, steps_open, hold_cause, hold_owner, held_since,
                                decided_at, progress, channel)
    SELECT order_id, state, 1, event_count, steps_open, hold_cause, hold_owner,
           CASE WHEN hold_cause IS NOT NULL THEN $1::timestamptz END, $1, progress, channel FROM given
    RETURNING 1
), laid AS (
    INSERT INTO steps (order_id, name, connection, operation, state, needs, payload, created_at, due_at)
    SELECT order_id, name, connection, operation, CASE WHEN needs IS NULL THEN 'ready' ELSE 'waiting' END,
           coalesce(needs, '{}'), payload, $1, $1
    FROM json_to_recordset($7::json)
      AS s (order_id bigint, name text, connection text, operation text, needs text[], payload json)
    RETURNING 1
), told AS (
    INSERT INTO events (order_id, version, type, at, body)
    SELECT order_id, version, type, $1, body
    FROM json_to_recordset($8::json) AS e (order_id bigint, version integer, type text, body json)
    RETURNING 1
), awakened AS (
    UPDATE facts f SET state = 'waiting', due_at = $1
    FROM given g
    WHERE f.state = 'early' AND f.connection = ANY (ARRAY[g.source]) AND f.subject = ANY (ARRAY[g.channel_number])
), kept AS (
    INSERT INTO reservations (order_id, line, location, sku, quantity)
    SELECT order_id, line, location, sku, quantity FROM held
    RETURNING 1
), written AS MATERIALIZED (
    -- Counted, so that all of it is written before.
    SELECT (SELECT count(*) FROM arrived) + (SELECT count(*) FROM placed) + (SELECT count(*) FROM begun)
         + (SELECT count(*) FROM laid) + (SELECT count(*) FROM told) + (SELECT count(*) FROM kept) AS row_count
), lent AS (
    UPDATE accounts a SET open_orders = a.open_orders + c.amount FROM claimed c
    WHERE a.customer = ANY (ARRAY[c.customer])
      AND ($11::boolean OR c.credit_limit IS NULL
           OR a.open_orders + a.open_invoices + c.amount <= c.credit_limit)
      AND (SELECT row_count FROM written) >= 0
    RETURNING 1
), reserved AS (
    UPDATE stock s SET reserved = s.reserved + t.quantity FROM taken t
    WHERE s.sku = ANY (ARRAY[t.sku]) AND s.location = ANY (ARRAY[t.location])
      AND ($11::boolean OR s.on_hand - s.quality_hold - s.damaged - s.reserved >= t.quantity)
      AND (SELECT count(*) FROM lent) >= 0
    RETURNING 1
)
SELECT CASE
    WHEN $11::boolean OR (SELECT count(*) FROM lent) = (SELECT count(*) FROM claimed)
     AND (SELECT count(*) FROM reserved) = (SELECT count(*) FROM taken) THEN 'true'
    -- Is no boolean: the statement ends with this text, and nothing of it stays.
    ELSE 'figures moved while they were decided on'
END::boolean AS is_covered;

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
-- What happened, gapless per order, in its order in the log too, however they are joined. Its times never go back, although
-- the clocks of two hosts differ.
INSERT INTO events (order_id, version, type, at, body)
SELECT e.order_id, e.version, e.type, greatest($2, p.decided_at), e.body
FROM json_to_recordset($1::json) AS e (order_id bigint, version integer, type text, body json)
JOIN order_progress p ON p.order_id = e.order_id
ORDER BY e.order_id, e.version;
