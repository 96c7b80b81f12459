-- name: place_client
-- A client that may call, created or replaced. Its secret is kept as a hash only.
INSERT INTO api_clients (client_id, name, secret_hash, scopes, channels, created_at) VALUES ($1, $1, $2, $3, $4, $5)
ON CONFLICT (client_id) DO UPDATE SET secret_hash = excluded.secret_hash, scopes = excluded.scopes,
  channels = excluded.channels, active = true;

-- name: find_client
-- The client that wants a token.
SELECT client_id, secret_hash, scopes, channels FROM api_clients WHERE client_id = $1 AND active;

-- name: place_token
-- A token begins; those that have ended go on this occasion.
WITH ended AS (DELETE FROM api_tokens WHERE expires_at < $5)
INSERT INTO api_tokens (token_hash, client_id, scopes, expires_at) VALUES ($1, $2, $3, $4);

-- name: find_holder
-- Whose token it is, if it is still good and its client still active. A scope taken from the client is gone.
SELECT c.client_id, t.expires_at, c.channels,
       ARRAY (SELECT unnest(t.scopes) INTERSECT SELECT unnest(c.scopes)) AS scopes
FROM api_tokens t JOIN api_clients c ON c.client_id = t.client_id AND c.active
WHERE t.token_hash = $1 AND t.expires_at > $2;

-- name: record_failure
-- A client could not prove itself; old failures go on this occasion.
WITH old AS (DELETE FROM sign_in_failures WHERE at < $2::timestamptz - interval '1 day')
INSERT INTO sign_in_failures (subject, at) SELECT subject, $2::timestamptz FROM unnest($1::text[]) AS subject;

-- name: read_failures
-- How often these subjects failed since a time, and when first.
SELECT subject, count(*)::integer AS count, min(at) AS oldest_at
FROM sign_in_failures WHERE subject = ANY ($1::text[]) AND at > $2 GROUP BY subject;

-- name: deactivate_client
-- The client may not call any more; its tokens end at once.
WITH ended AS (DELETE FROM api_tokens WHERE client_id = $1)
UPDATE api_clients SET active = false WHERE client_id = $1;

-- name: visible_orders
-- Which of these orders a caller limited to these channels may touch (NULL: all).
SELECT order_id FROM orders WHERE order_id = ANY ($1::bigint[]) AND ($2::text[] IS NULL OR channel = ANY ($2));

-- name: can_accept_orders
-- Whether orders can be accepted: the database takes writes, and there is something to sell.
SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off' AS writable,
       EXISTS (SELECT FROM products) AS products_there;
