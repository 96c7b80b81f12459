-- name: read_left
-- One reading: the reference version and at most $4 of the products that changed after version $3; the sources of
-- balances that are late; how the channels $2 list the asked SKUs; what is left of them at each location. The SKUs are no
-- constants to the planner, which would weigh each of them against its statistics and take a quarter of the time for it.
SELECT (SELECT version FROM reference_version) AS version,
       (SELECT json_agg(c.sku) FROM (SELECT sku FROM products WHERE changed > $3::bigint LIMIT $4) AS c) AS changed,
       (SELECT json_agg(json_build_array(f.source, f.location, f.received_at))
        FROM stock_sources f WHERE f.stale_since IS NOT NULL) AS stale,
       (SELECT json_agg(json_build_array(l.channel, l.sku, l.unit, l.listed))
        FROM listings l WHERE l.channel = ANY ($2::text[]) AND l.sku = ANY (ARRAY(SELECT unnest($1::text[])))) AS listings,
       (SELECT json_agg(json_build_array(s.sku, s.location, s.source, greatest(s.as_of, 'epoch'),
               s.on_hand - s.quality_hold - s.damaged - s.reserved))
        FROM (SELECT * FROM stock WHERE sku = ANY (ARRAY(SELECT unnest($1::text[]))) ORDER BY sku, location) AS s) AS positions;

-- name: read_positions
-- The same, with every term of what is left.
SELECT (SELECT version FROM reference_version) AS version,
       (SELECT json_agg(c.sku) FROM (SELECT sku FROM products WHERE changed > $3::bigint LIMIT $4) AS c) AS changed,
       (SELECT json_agg(json_build_array(f.source, f.location, f.received_at))
        FROM stock_sources f WHERE f.stale_since IS NOT NULL) AS stale,
       (SELECT json_agg(json_build_array(l.channel, l.sku, l.unit, l.listed))
        FROM listings l WHERE l.channel = ANY ($2::text[]) AND l.sku = ANY (ARRAY(SELECT unnest($1::text[])))) AS listings,
       (SELECT json_agg(json_build_array(s.sku, s.location, s.source, greatest(s.as_of, 'epoch'), s.reported, s.on_hand,
               s.quality_hold, s.damaged, s.reserved))
        FROM (SELECT * FROM stock WHERE sku = ANY (ARRAY(SELECT unnest($1::text[]))) ORDER BY sku, location) AS s) AS positions;

-- name: read_products
-- Products as they are at a reference version.
SELECT sku, body, (SELECT version FROM reference_version) AS version FROM products WHERE sku = ANY ($1::text[]);

-- name: read_inbound
-- What purchase orders will bring of the asked SKUs.
SELECT sku, location, quantity, expected_on FROM inbound_supply
WHERE sku = ANY ($1::text[]) AND quantity > 0 ORDER BY sku, expected_on;

-- name: read_ordered
-- The same of one SKU, by purchase order, as its source tells it.
SELECT purchase_order, location, quantity, expected_on, source, as_of FROM inbound_supply
WHERE sku = $1 AND quantity > 0 ORDER BY expected_on, purchase_order, line LIMIT $2;

-- name: read_waiting
-- What orders wait for of the asked SKUs.
SELECT sku, sum(quantity - shipped - released) AS quantity FROM reservations
WHERE sku = ANY ($1::text[]) AND location = '' AND quantity > shipped + released GROUP BY sku;

-- name: read_speeds
-- How many base units a day the asked SKUs sell.
SELECT sku, per_day FROM sales_speed WHERE sku = ANY ($1::text[]);

-- name: read_group
-- The price group of a customer, by which channels may set terms of their own.
SELECT body ->> 'price_group' AS price_group FROM customers WHERE code = $1;

-- name: read_holders
-- Who holds a SKU: the newest reservations that are neither shipped, contained nor given back.
SELECT r.order_id, r.line, r.location, r.quantity - r.shipped - r.released AS quantity, r.quantity AS asked,
       o.number, o.channel, p.state, h.reservation, h.channel AS hold_channel, h.expires_at
FROM reservations r
LEFT JOIN orders o ON o.order_id = r.order_id
LEFT JOIN order_progress p ON p.order_id = r.order_id
LEFT JOIN stock_holds h ON h.hold_id = r.order_id
WHERE r.sku = $1 AND r.quantity > r.shipped + r.released
ORDER BY r.order_id DESC LIMIT $2;
