-- name: plan_for_these_values
-- Filters that are not given vanish only when the plan is made for the values at hand.
SET LOCAL plan_cache_mode = force_custom_plan

-- name: resolve_text
-- What a text that somebody typed may be: one of our or a partner's numbers, a customer, a SKU. Each an index lookup.
SELECT
    (SELECT array_agg(DISTINCT found.order_id) FROM (
        SELECT $2::bigint AS order_id WHERE $2::bigint IS NOT NULL
        UNION ALL (SELECT order_id FROM orders WHERE channel_number = $1::text LIMIT 50)
        UNION ALL (SELECT order_id FROM steps WHERE external_id = $1 LIMIT 50)
        UNION ALL (SELECT order_id FROM invoices WHERE number = $1 LIMIT 50)
        UNION ALL (SELECT order_id FROM shipments WHERE shipment = $1 LIMIT 50)
        UNION ALL (SELECT order_id FROM shipment_packages WHERE tracking = $1 LIMIT 50)
        UNION ALL (SELECT order_id FROM shipment_packages WHERE sscc = $1 LIMIT 50)
    ) AS found) AS order_ids,
    (SELECT array_agg(matching.code) FROM (
        SELECT code FROM customers
        WHERE code = $1 OR code = upper($1) OR (length($1) >= 2 AND name ILIKE $3)
        ORDER BY code LIMIT 10
    ) AS matching) AS customers,
    (SELECT sku FROM products WHERE sku IN ($1, upper($1)) ORDER BY sku <> $1 LIMIT 1) AS sku

-- name: search
-- A page of orders, newest first; a filter that is NULL is not applied.
SELECT
    o.order_id, o.number, o.channel, o.channel_number, o.customer, coalesce(c.name, '') AS customer_name,
    o.order_type, o.region, o.currency, o.net, o.line_count, p.state,
    coalesce(p.hold_cause, '') AS hold_cause, coalesce(p.hold_owner, '') AS hold_owner, p.steps_open,
    o.placed_at, o.accepted_at
FROM orders o
JOIN order_progress p ON p.order_id = o.order_id
LEFT JOIN customers c ON c.code = o.customer
WHERE ($1::bigint IS NULL OR o.order_id < $1)
  AND ($2::text IS NULL OR p.state = $2)
  AND ($3::text IS NULL OR (o.customer = $3 AND o.customer <> ''))
  AND ($4::text IS NULL OR (o.channel = $4 AND p.channel = $4))
  AND ($5::text[] IS NULL OR o.channel = ANY ($5))
  AND ($6::text IS NULL OR p.hold_cause = $6)
  AND ($7::text IS NULL OR EXISTS (SELECT FROM reservations r WHERE r.order_id = o.order_id AND r.sku = $7)
       -- A kit's line holds its components, not itself.
       OR (EXISTS (SELECT FROM products k WHERE k.sku = $7 AND k.components IS NOT NULL)
           AND EXISTS (SELECT FROM json_array_elements(o.body -> 'lines') AS l WHERE l ->> 'sku' = $7)))
  AND ($8::timestamptz IS NULL OR o.placed_at >= $8)
  AND ($9::bigint[] IS NULL OR o.order_id = ANY ($9))
  AND ($10::bigint IS NULL OR o.order_id >= $10)
ORDER BY o.order_id DESC
LIMIT $11

-- name: orders_of_sku
-- The orders with a SKU, newest first, up to a bound; of a SKU that is no kit the index alone answers.
SELECT DISTINCT order_id FROM (
    (SELECT order_id FROM reservations WHERE sku = $1 ORDER BY order_id DESC LIMIT $2)
    UNION ALL
    -- A kit is found by its first component.
    (SELECT r.order_id FROM products k JOIN reservations r ON r.sku = k.components[1] JOIN orders o USING (order_id)
     WHERE k.sku = $1 AND k.components IS NOT NULL
       AND EXISTS (SELECT FROM json_array_elements(o.body -> 'lines') AS l WHERE l ->> 'sku' = $1)
     ORDER BY r.order_id DESC LIMIT $2)
) AS newest

-- name: first_accepted_since
-- The first order accepted since a time, found by halving the primary key: order ids grow with time.
WITH RECURSIVE search AS (
    SELECT coalesce(min(order_id), 0) AS low, coalesce(max(order_id), 0) + 1 AS high, 0 AS depth FROM orders
    UNION ALL
    SELECT CASE WHEN probe.accepted_at < $1::timestamptz THEN (s.low + s.high) / 2 + 1 ELSE s.low END,
           CASE WHEN probe.accepted_at < $1::timestamptz THEN s.high ELSE (s.low + s.high) / 2 END,
           s.depth + 1
    FROM search s
    LEFT JOIN LATERAL (
        SELECT o.accepted_at FROM orders o WHERE o.order_id >= (s.low + s.high) / 2 ORDER BY o.order_id LIMIT 1
    ) AS probe ON true
    WHERE s.low < s.high AND s.depth < 64
)
SELECT low FROM search ORDER BY depth DESC LIMIT 1

-- name: order_whole
-- One order as accepted and how far it came, if the asker may see its channel.
SELECT o.body, p.progress, p.steps_open, p.decided_at, coalesce(c.name, '') AS customer_name
FROM orders o
JOIN order_progress p ON p.order_id = o.order_id
LEFT JOIN customers c ON c.code = o.customer
WHERE o.order_id = $1 AND ($2::text[] IS NULL OR o.channel = ANY ($2))

-- name: order_shipments
-- The shipments of one order in the order in which they left.
SELECT s.shipment, s.connection, s.order_id, o.number AS order_number, o.channel, o.channel_number, s.warehouse,
       s.shipped_at, s.received_at, s.part, s.delivered_at
FROM shipments s
JOIN orders o ON o.order_id = s.order_id
WHERE s.order_id = $1
ORDER BY s.shipped_at, s.shipment
LIMIT 500

-- name: order_invoices
-- The invoices of one order.
SELECT number, shipment, currency, net, tax, posted_at FROM invoices WHERE order_id = $1 ORDER BY posted_at LIMIT 500

-- name: order_payments
-- The payments of one order.
SELECT kind, reference, currency, amount, external_id, at FROM payments WHERE order_id = $1 ORDER BY at LIMIT 500

-- name: shipments
-- A page of shipments, newest orders first.
SELECT s.shipment, s.connection, s.order_id, o.number AS order_number, o.channel, o.channel_number, s.warehouse,
       s.shipped_at, s.received_at, s.part, s.delivered_at
FROM shipments s
JOIN orders o ON o.order_id = s.order_id
WHERE ($1::bigint IS NULL OR s.order_id = $1)
  AND ($2::text[] IS NULL OR o.channel = ANY ($2))
  AND ($3::bigint IS NULL OR (s.order_id <= $3 AND (s.order_id < $3 OR (s.shipment, s.connection) > ($4::text, $5::text))))
ORDER BY s.order_id DESC, s.shipment, s.connection
LIMIT $6

-- name: waiting_for_erp
-- Which of these orders the ERP has not taken yet.
SELECT order_id, connection, created_at AS since
FROM steps
WHERE order_id = ANY ($1::bigint[]) AND operation = 'erp.place_order' AND state IN ('ready', 'sending', 'in_doubt')

-- name: channels
-- The channels that orders came from: one index probe for each, however many orders.
WITH RECURSIVE found AS (
    (SELECT channel FROM orders ORDER BY channel LIMIT 1)
    UNION ALL
    SELECT (SELECT o.channel FROM orders o WHERE o.channel > f.channel ORDER BY o.channel LIMIT 1)
    FROM found f WHERE f.channel IS NOT NULL
)
SELECT channel FROM found WHERE channel IS NOT NULL LIMIT 200
