-- name: read_products
-- Base units of the asked SKUs; an SKU without a row is not sold.
SELECT sku, body ->> 'base_unit' AS unit, status, reported_at FROM products WHERE sku = ANY ($1::text[]);

-- name: read_stock
-- What is free of the asked SKUs at each location, with its owner and age.
SELECT sku, location, greatest(on_hand - reserved, 0) AS available, as_of, source
FROM stock WHERE sku = ANY ($1::text[]) ORDER BY sku, location;

-- name: reference_version
-- The version that cached master data must have.
SELECT version FROM reference_version;

-- name: read_account
-- A business account with its exposure and the age of what is known of it.
SELECT c.code, c.status, c.body, c.reported_at, c.source, coalesce(a.open_orders, 0) AS open_orders,
       coalesce(a.open_invoices, 0) AS open_invoices
FROM customers c LEFT JOIN accounts a ON a.customer = c.code
WHERE c.code = $1;
