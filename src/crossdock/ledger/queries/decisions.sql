-- name: lock_progress
-- The progress of orders, locked in one order: decisions about one order happen one after the other.
SELECT order_id, version, event_count, steps_open, progress
FROM order_progress WHERE order_id = ANY ($1::bigint[]) ORDER BY order_id FOR UPDATE;

-- name: read_bodies
-- Accepted orders by id.
SELECT order_id, body FROM orders WHERE order_id = ANY ($1::bigint[]);

-- name: read_step_views
-- All steps of orders, as rules see them.
SELECT order_id, name, connection, operation, state FROM steps WHERE order_id = ANY ($1::bigint[]) ORDER BY order_id, created_at, name;

-- name: lock_step_views
-- The same, for a decision that drops steps: those that could be sent are kept from workers until it is committed. What a
-- worker has claimed since the statement began is as good as sent.
WITH kept AS MATERIALIZED (
    SELECT order_id, name FROM steps WHERE order_id = ANY ($1::bigint[]) AND state = 'ready' ORDER BY order_id, name FOR UPDATE
)
SELECT s.order_id, s.name, s.connection, s.operation,
       CASE WHEN s.state = 'ready' AND k.name IS NULL THEN 'sending' ELSE s.state END AS state
FROM steps s LEFT JOIN kept k ON k.order_id = s.order_id AND k.name = s.name
WHERE s.order_id = ANY ($1::bigint[]) ORDER BY s.order_id, s.created_at, s.name;

-- name: write_progress
-- The new progress; `version` guards against a decision made on an older one.
UPDATE order_progress p
SET state = d.state, version = p.version + 1, event_count = p.event_count + d.events_added,
    steps_open = p.steps_open + d.steps_added, hold_cause = d.hold_cause, hold_owner = d.hold_owner,
    held_since = CASE WHEN d.hold_cause IS NULL THEN NULL ELSE coalesce(p.held_since, $2::timestamptz) END,
    decided_at = greatest(p.decided_at, $2), progress = d.progress
FROM json_to_recordset($1::json)
  AS d (order_id bigint, version integer, state text, events_added integer, steps_added integer, hold_cause text,
        hold_owner text, progress json)
WHERE p.order_id = d.order_id AND p.version = d.version;

-- name: read_releases
-- What warehouses are to be told by releases that have not begun.
SELECT order_id, name, payload FROM steps
WHERE order_id = ANY ($1::bigint[]) AND operation = 'wms.release' AND state IN ('waiting', 'ready');

-- name: revise_steps
-- Steps that have not begun are to do something else.
UPDATE steps s SET payload = r.payload
FROM json_to_recordset($1::json) AS r (order_id bigint, name text, payload json)
WHERE s.order_id = r.order_id AND s.name = r.name AND s.state IN ('waiting', 'ready');

-- name: cancel_steps
-- Drop steps that have not begun; returns how many of each order.
WITH dropped AS (
    UPDATE steps s SET state = 'cancelled', done_at = $3
    FROM unnest($1::bigint[], $2::text[]) AS c (order_id, name)
    WHERE s.order_id = c.order_id AND s.name = c.name AND s.state IN ('waiting', 'ready', 'quarantined')
    RETURNING s.order_id
)
SELECT order_id, count(*)::integer AS dropped FROM dropped GROUP BY order_id;

-- name: subtract_steps_open
-- Steps that were dropped are no longer open.
UPDATE order_progress p SET steps_open = p.steps_open - d.dropped
FROM unnest($1::bigint[], $2::integer[]) AS d (order_id, dropped) WHERE p.order_id = d.order_id;

-- name: unblock_steps
-- Waiting steps whose needs are all done (or dropped) may begin. The orders' progress rows are locked by the caller,
-- so no two transactions can each miss the other's finished step.
UPDATE steps s SET state = 'ready', due_at = $2
WHERE s.order_id = ANY ($1::bigint[]) AND s.state = 'waiting'
  AND NOT EXISTS (
    SELECT FROM steps n
    WHERE n.order_id = s.order_id AND n.name = ANY (s.needs) AND n.state NOT IN ('done', 'cancelled')
  );

-- name: read_settled
-- What is still held for lines that are to hold nothing any more, wherever it is.
SELECT r.order_id, r.line, r.location, r.sku, r.quantity - r.shipped - r.released AS quantity
FROM reservations r JOIN unnest($1::bigint[], $2::text[]) AS e (order_id, line) USING (order_id, line)
WHERE r.quantity > r.shipped + r.released;

-- name: release_credit
-- What left the customers' open orders.
UPDATE accounts a SET open_orders = greatest(a.open_orders - g.amount, 0)
FROM (SELECT customer, sum(amount) AS amount FROM unnest($1::text[], $2::numeric[]) AS t (customer, amount)
      GROUP BY customer) AS g
WHERE a.customer = g.customer;

-- name: insert_shipments
-- Shipments correlated to their orders, with their packages.
WITH shipped AS (
    INSERT INTO shipments (shipment, connection, order_id, warehouse, shipped_at, received_at, part)
    SELECT shipment, connection, order_id, warehouse, shipped_at, $7, part
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::timestamptz[], $6::json[])
      AS s (shipment, connection, order_id, warehouse, shipped_at, part)
    ON CONFLICT DO NOTHING
)
INSERT INTO shipment_packages (tracking, sscc, shipment, order_id, label_wrong_at)
SELECT tracking, sscc, shipment, order_id, CASE WHEN wrong THEN $7::timestamptz END
FROM unnest($8::text[], $9::text[], $10::text[], $11::bigint[], $12::boolean[])
  AS p (tracking, sscc, shipment, order_id, wrong)
ON CONFLICT DO NOTHING;

-- name: insert_invoices
-- Invoices that the ERP posted; the amount moves to the account's open invoices.
WITH posted AS (
    INSERT INTO invoices (order_id, shipment, number, customer, currency, net, tax, posted_at)
    SELECT order_id, shipment, number, customer, currency, net, tax, $8
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::numeric[], $7::numeric[])
      AS i (order_id, shipment, number, customer, currency, net, tax)
    ON CONFLICT DO NOTHING
    RETURNING customer, net + tax AS amount
)
UPDATE accounts a SET open_invoices = a.open_invoices + g.amount
FROM (SELECT customer, sum(amount) AS amount FROM posted GROUP BY customer) AS g WHERE a.customer = g.customer;

-- name: insert_payments
-- Movements of money at the payment provider.
INSERT INTO payments (order_id, kind, reference, currency, amount, external_id, at)
SELECT order_id, kind, reference, currency, amount, external_id, $7
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::numeric[], $6::text[])
  AS p (order_id, kind, reference, currency, amount, external_id)
ON CONFLICT DO NOTHING;

-- name: mark_delivered
-- The carrier delivered these packages.
UPDATE shipments s SET delivered_at = $2
FROM shipment_packages p WHERE p.tracking = ANY ($1::text[]) AND s.shipment = p.shipment AND s.order_id = p.order_id;

-- name: find_waiting_for_supply
-- Orders, oldest first, after one, with lines that wait for goods of which some are free again.
SELECT DISTINCT r.order_id, r.sku
FROM reservations r JOIN order_progress p USING (order_id)
WHERE r.waiting AND r.order_id > $2 AND p.state IN ('accepted', 'shipping')
  AND EXISTS (SELECT FROM stock s WHERE s.sku = r.sku AND s.on_hand - s.quality_hold - s.damaged > s.reserved)
ORDER BY r.order_id LIMIT $1;
