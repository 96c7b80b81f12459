-- name: products
-- $3 is a product as JSON, in which NUMBER stands for its number.
INSERT INTO products (sku, name, status, body, source, reported_at, changed)
SELECT 'SKU-' || n, 'Product ' || n, 'active', replace($3, 'NUMBER', n::text)::json, 'erp', $4,
       (SELECT version FROM reference_version)
FROM generate_series($1::integer, $2::integer) AS n;

-- name: stock
INSERT INTO stock (sku, location, on_hand, reported, source, as_of, reported_at)
SELECT 'SKU-' || n, location, 100 + n % 900, 100 + n % 900, 'wms', $3, $3
FROM generate_series($1::integer, $2::integer) AS n CROSS JOIN unnest(ARRAY['BHX', 'HAM']) AS location;

-- name: heard
-- The source of all that spoke just now: nothing is late.
INSERT INTO stock_sources (source, location, as_of, received_at, row_count)
SELECT 'wms', location, $1, $1, $2 FROM unnest(ARRAY['BHX', 'HAM']) AS location;

-- name: forget_changes
-- What filling changed is told to nobody.
TRUNCATE stock_changes;

-- name: settle
VACUUM (ANALYZE) products, stock;

-- name: count_reserved
SELECT coalesce(sum(reserved), 0) FROM stock WHERE sku = $1;

-- name: bare_row
-- The least that sells the last unit once.
CREATE TABLE bare_stock (sku text PRIMARY KEY, quantity bigint NOT NULL) WITH (fillfactor = 50);

-- name: bare_fill
INSERT INTO bare_stock VALUES ('HOT', $1);

-- name: bare_take
UPDATE bare_stock SET quantity = quantity - 1 WHERE sku = 'HOT' AND quantity >= 1;

-- name: bare_left
SELECT quantity FROM bare_stock WHERE sku = 'HOT';

-- name: told
-- Every channel was told all there is, an hour ago.
INSERT INTO publications (channel, sku, unit, wanted, wanted_at, owner_at, computed_at, acknowledged,
                          acknowledged_version, acknowledged_at, sent_version)
SELECT $1, sku, 'C62', sum(on_hand), now() - interval '1 hour', now() - interval '1 hour', now() - interval '1 hour',
       sum(on_hand), 1, now() - interval '1 hour', 1
FROM stock GROUP BY sku;

-- name: settle_told
VACUUM (ANALYZE) publications, stock;
