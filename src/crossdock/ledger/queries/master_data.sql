-- name: take_version
-- The next reference version; the row lock makes versions commit in order.
UPDATE reference_version SET version = version + 1 RETURNING version;

-- name: place_products
-- Products as reported, the newest wins.
INSERT INTO products (sku, name, status, body, source, reported_at, changed)
SELECT sku, name, status, body, source, $6, $7
FROM unnest($1::text[], $2::text[], $3::text[], $4::json[], $5::text[]) AS p (sku, name, status, body, source)
ON CONFLICT (sku) DO UPDATE SET name = EXCLUDED.name, status = EXCLUDED.status, body = EXCLUDED.body,
  source = EXCLUDED.source, reported_at = EXCLUDED.reported_at, changed = EXCLUDED.changed;

-- name: place_codes
-- GTINs of packs.
INSERT INTO product_codes (gtin, sku, unit)
SELECT gtin, sku, unit FROM unnest($1::text[], $2::text[], $3::text[]) AS c (gtin, sku, unit)
ON CONFLICT (gtin) DO UPDATE SET sku = EXCLUDED.sku, unit = EXCLUDED.unit;

-- name: place_agreements
-- Contract prices as reported.
INSERT INTO price_agreements (agreement, sku, body, source, reported_at, changed)
SELECT agreement, sku, body, source, $5, $6
FROM unnest($1::text[], $2::text[], $3::json[], $4::text[]) AS p (agreement, sku, body, source)
ON CONFLICT (agreement) DO UPDATE SET sku = EXCLUDED.sku, body = EXCLUDED.body, source = EXCLUDED.source,
  reported_at = EXCLUDED.reported_at, changed = EXCLUDED.changed;

-- name: place_customers
-- Business accounts as reported.
INSERT INTO customers (code, name, status, body, source, reported_at, changed)
SELECT code, name, status, body, source, $6, $7
FROM unnest($1::text[], $2::text[], $3::text[], $4::json[], $5::text[]) AS c (code, name, status, body, source)
ON CONFLICT (code) DO UPDATE SET name = EXCLUDED.name, status = EXCLUDED.status, body = EXCLUDED.body,
  source = EXCLUDED.source, reported_at = EXCLUDED.reported_at, changed = EXCLUDED.changed;

-- name: place_accounts
-- What the ERP says is owed at a time, plus our invoices that are younger than that.
INSERT INTO accounts (customer, open_invoices)
SELECT a.customer, a.receivable + coalesce((
    SELECT sum(i.net + i.tax) FROM invoices i WHERE i.customer = a.customer AND i.customer <> '' AND i.posted_at > a.as_of
  ), 0)
FROM unnest($1::text[], $2::numeric[], $3::timestamptz[]) AS a (customer, receivable, as_of)
ON CONFLICT (customer) DO UPDATE SET open_invoices = EXCLUDED.open_invoices;
