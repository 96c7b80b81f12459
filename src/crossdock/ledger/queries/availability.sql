-- name: read_products
-- Base units of the asked SKUs; an SKU without a row is not sold.
SELECT sku, body ->> 'base_unit' AS unit, status, reported_at FROM products WHERE sku = ANY ($1::text[]);

-- name: reference_version
-- The version that cached master data must have.
SELECT version FROM reference_version;

-- name: read_account
-- A business account with its exposure and the age of what is known of it.
SELECT c.code, c.status, c.body, c.reported_at, c.source, coalesce(a.open_orders, 0) AS open_orders,
       coalesce(a.open_invoices, 0) AS open_invoices
FROM customers c LEFT JOIN accounts a ON a.customer = c.code
WHERE c.code = $1;
