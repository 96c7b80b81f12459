-- name: read_left
-- The asked products with what is left at each location, for those who need no terms; how the channel lists them; the
-- sources of balances that are late.
SELECT p.sku, p.body, l.unit, l.listed,
       (SELECT json_agg(json_build_array(f.source, f.location, f.received_at))
        FROM stock_sources f WHERE f.stale_since IS NOT NULL) AS stale,
       s.location, s.source, greatest(s.as_of, 'epoch') AS as_of,
       s.on_hand - s.quality_hold - s.damaged - s.reserved AS quantity
FROM products p
LEFT JOIN stock s ON s.sku = p.sku
LEFT JOIN listings l ON l.channel = $2 AND l.sku = p.sku
WHERE p.sku = ANY ($1::text[]) ORDER BY p.sku, s.location;

-- name: read_positions
-- The same with every term.
SELECT p.sku, p.body, l.unit, l.listed,
       (SELECT json_agg(json_build_array(f.source, f.location, f.received_at))
        FROM stock_sources f WHERE f.stale_since IS NOT NULL) AS stale,
       s.location, s.source, greatest(s.as_of, 'epoch') AS as_of, s.reported, s.on_hand, s.quality_hold, s.damaged,
       s.reserved
FROM products p
LEFT JOIN stock s ON s.sku = p.sku
LEFT JOIN listings l ON l.channel = $2 AND l.sku = p.sku
WHERE p.sku = ANY ($1::text[]) ORDER BY p.sku, s.location;

-- name: read_listings
-- In which unit the channels sell the asked SKUs, where that is said.
SELECT channel, sku, unit, listed FROM listings WHERE sku = ANY ($1::text[]) AND channel = ANY ($2::text[]);

-- name: read_inbound
-- What purchase orders will bring of the asked SKUs.
SELECT sku, location, quantity, expected_on FROM inbound_supply
WHERE sku = ANY ($1::text[]) AND quantity > 0 ORDER BY sku, expected_on;

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
