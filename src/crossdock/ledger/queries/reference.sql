-- name: find_changed
-- At most $2 of the products that changed after a reference version, or of which a price agreement did.
SELECT sku FROM products WHERE changed > $1 UNION SELECT sku FROM price_agreements WHERE changed > $1 LIMIT $2;

-- name: read_products
-- The asked products with their price agreements.
SELECT p.body, (SELECT json_agg(a.body ORDER BY a.agreement) FROM price_agreements a WHERE a.sku = p.sku) AS agreements
FROM products p WHERE p.sku = ANY ($1::text[]);

-- name: read_codes
-- Which product has these GTINs.
SELECT gtin, sku FROM product_codes WHERE gtin = ANY ($1::text[]);

-- name: read_changed_customers
-- Customers that changed after a reference version.
SELECT body, changed FROM customers WHERE changed > $1;
