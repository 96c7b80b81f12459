-- name: read_placed
-- The facts that placed these orders.
SELECT order_id, connection, body, traceparent FROM facts
WHERE kind = 'order.placed' AND order_id = ANY ($1::bigint[]) AND state = 'applied';

-- name: keep_answer
-- What was answered to an accepted order, before its body is replaced: a repeated request still gets it.
UPDATE facts SET answer = $2 WHERE order_id = $1 AND kind = 'order.placed' AND answer IS NULL;

-- name: replace_body
-- A released order as decided anew; what was accepted stays readable in its events.
UPDATE orders SET body = $2, net = $3, plan = $4 WHERE order_id = $1;

-- name: count_rounds
-- How often this order's plan was laid.
SELECT count(*) FROM events WHERE order_id = $1 AND type IN ('OrderAccepted', 'OrderReleased');

-- name: read_held_for_stock
-- Orders of these channels that are held for stock, oldest first, after one; `covered` where all that they want is free
-- somewhere by now. Whether it lies where they are served from, the rules say.
SELECT h.order_id, NOT EXISTS (
    SELECT FROM (
        SELECT coalesce(c.sku, l.sku) AS sku, sum((l.quantity ->> 'value')::numeric * coalesce(c.quantity, 1)) AS quantity
        FROM json_to_recordset(h.body -> 'lines') AS l (sku text, quantity json, components json)
        LEFT JOIN LATERAL json_to_recordset(coalesce(l.components, '[]')) AS c (sku text, quantity numeric) ON true
        GROUP BY 1
    ) AS wanted
    WHERE wanted.quantity > coalesce((
        SELECT sum(s.on_hand - s.quality_hold - s.damaged - s.reserved) FROM stock s
        WHERE s.sku = wanted.sku AND s.on_hand - s.quality_hold - s.damaged > s.reserved
    ), 0)
) AND NOT EXISTS (
    -- A kit is packed at one place.
    SELECT FROM json_to_recordset(h.body -> 'lines') AS l (quantity json, components json)
    WHERE l.components IS NOT NULL AND (l.quantity ->> 'value')::numeric > coalesce((
        SELECT sum(kits) FROM (
            SELECT min(floor(greatest(coalesce(s.on_hand - s.quality_hold - s.damaged - s.reserved, 0), 0) / c.quantity)) AS kits
            FROM json_to_recordset(l.components) AS c (sku text, quantity numeric)
            CROSS JOIN (SELECT DISTINCT location FROM stock
                        WHERE sku IN (SELECT sku FROM json_to_recordset(l.components) AS d (sku text))) AS p
            LEFT JOIN stock s ON s.sku = c.sku AND s.location = p.location
            GROUP BY p.location
        ) AS packed
    ), 0)
) AS covered
FROM (
    SELECT p.order_id, o.body FROM order_progress p JOIN orders o USING (order_id)
    WHERE p.hold_cause = 'stock_incomplete' AND p.order_id > $2 AND o.channel = ANY ($3::text[])
    ORDER BY p.order_id LIMIT $1
) AS h
ORDER BY h.order_id;
