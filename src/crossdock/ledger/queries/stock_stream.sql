-- name: bounds
-- The oldest and the newest position that is kept.
SELECT coalesce(min(position), 0) AS first, coalesce(max(position), 0) AS last FROM stock_stream;

-- name: read
-- What changed after a position.
SELECT position, sku FROM stock_stream WHERE position > $1 ORDER BY position LIMIT $2;

-- name: find_kits
-- The kits of which any of these SKUs is a component.
SELECT sku FROM products WHERE components && $1::text[];

-- name: trim
-- Only the newest are kept.
DELETE FROM stock_stream WHERE position <= (SELECT max(position) FROM stock_stream) - $1::bigint;
