-- name: schema
-- The least that a durable saga needs: an order with its body, and its deliveries.
CREATE TABLE IF NOT EXISTS saga_orders (
    order_id bigint PRIMARY KEY, number text NOT NULL UNIQUE, state text NOT NULL, open integer NOT NULL, body json NOT NULL
) WITH (fillfactor = 60);
CREATE TABLE IF NOT EXISTS saga_deliveries (
    order_id bigint NOT NULL, place integer NOT NULL, state text NOT NULL, attempt integer NOT NULL DEFAULT 0,
    result json, done_at timestamptz, PRIMARY KEY (order_id, place)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX IF NOT EXISTS saga_deliveries_ready ON saga_deliveries (order_id, place) WHERE state = 'ready';

-- name: accept
-- A batch of orders, each with five deliveries to be made. A number that exists already is left out.
WITH placed AS (
    INSERT INTO saga_orders (order_id, number, state, open, body)
    SELECT order_id, number, 'open', 5, body FROM unnest($1::bigint[], $2::text[], $3::json[]) AS o (order_id, number, body)
    ON CONFLICT (number) DO NOTHING
    RETURNING order_id
)
INSERT INTO saga_deliveries (order_id, place, state)
SELECT order_id, place, 'ready' FROM placed CROSS JOIN generate_series(1, 5) AS place;

-- name: claim
-- Deliveries to be made, marked as sending before they are sent.
UPDATE saga_deliveries d SET state = 'sending', attempt = d.attempt + 1
FROM (
    SELECT order_id, place FROM saga_deliveries WHERE state = 'ready' ORDER BY order_id, place LIMIT $1
    FOR UPDATE SKIP LOCKED
) AS p
WHERE d.order_id = p.order_id AND d.place = p.place
RETURNING d.order_id, d.place;

-- name: record
-- Deliveries that were made; an order whose last one was made is completed.
WITH made AS (
    UPDATE saga_deliveries d SET state = 'done', result = e.result, done_at = now()
    FROM unnest($1::bigint[], $2::integer[], $3::json[]) AS e (order_id, place, result)
    WHERE d.order_id = e.order_id AND d.place = e.place AND d.state = 'sending'
    RETURNING d.order_id
), counted AS (
    SELECT order_id, count(*)::integer AS made FROM made GROUP BY order_id
)
UPDATE saga_orders o SET open = o.open - c.made, state = CASE WHEN o.open = c.made THEN 'completed' ELSE o.state END
FROM counted c WHERE o.order_id = c.order_id
RETURNING (o.state = 'completed')::integer;

-- name: take_again
-- What a worker that is gone had begun: whether it was sent is not known, so it is sent again.
UPDATE saga_deliveries SET state = 'ready' WHERE state = 'sending';

-- name: count_completed
-- Orders of which all was delivered.
SELECT count(*) FROM saga_orders WHERE state = 'completed';
