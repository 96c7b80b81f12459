-- name: find_holds
-- Holds that these channels already asked for under these references.
SELECT h.hold_id, h.channel, h.reference, h.body FROM stock_holds h
JOIN unnest($1::text[], $2::text[]) AS a (channel, reference) ON h.channel = a.channel AND h.reference = a.reference;

-- name: insert_holds
-- New holds; a reference of a channel exists once. The stock that they hold is written as reservations.
INSERT INTO stock_holds (hold_id, reservation, channel, reference, state, created_at, expires_at, body)
SELECT hold_id, reservation, channel, reference, 'reserved', $7, expires_at, body
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::json[])
  AS h (hold_id, reservation, channel, reference, expires_at, body);

-- name: read_hold
-- One hold, and what of its order is still open and not in the owner's books.
SELECT h.reservation, h.channel, h.state, h.created_at, h.expires_at, h.ended_at, h.body, o.number,
       coalesce((
         SELECT sum(r.quantity - r.shipped - r.released - r.committed) FROM reservations r WHERE r.order_id = h.order_id
       ), 0) AS uncontained
FROM stock_holds h LEFT JOIN orders o ON o.order_id = h.order_id
WHERE h.reservation = $1;

-- name: lock_holds
-- Holds that orders refer to, locked in one order, before accounts and stock are.
SELECT hold_id, reservation, channel, state, order_id FROM stock_holds
WHERE reservation = ANY ($1::text[]) ORDER BY hold_id FOR UPDATE;

-- name: claim_expired
-- Holds whose time is over; those that an order is redeeming just now are left to it.
SELECT hold_id FROM stock_holds WHERE state = 'reserved' AND expires_at <= $1
ORDER BY hold_id LIMIT $2 FOR UPDATE SKIP LOCKED;

-- name: read_held
-- What holds have set aside.
SELECT order_id, sku, location, sum(quantity - shipped - released) AS quantity FROM reservations
WHERE order_id = ANY ($1::bigint[]) GROUP BY order_id, sku, location;

-- name: give_back
-- What holds have set aside is free again; their rows of stock are locked.
WITH gone AS (
    DELETE FROM reservations WHERE order_id = ANY ($1::bigint[])
    RETURNING sku, location, quantity - shipped - released AS quantity
)
UPDATE stock s SET reserved = s.reserved - g.quantity
FROM (SELECT sku, location, sum(quantity) AS quantity FROM gone GROUP BY sku, location) AS g
WHERE s.sku = g.sku AND s.location = g.location;

-- name: end_holds
-- Holds come to their end: committed to an order, released, or expired.
UPDATE stock_holds h SET state = e.state, order_id = e.order_id, ended_at = $4
FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS e (hold_id, state, order_id)
WHERE h.hold_id = e.hold_id AND h.state = 'reserved';

-- name: forget_holds
-- Holds that ended long ago.
DELETE FROM stock_holds WHERE hold_id IN (
    SELECT hold_id FROM stock_holds WHERE ended_at < $1 ORDER BY ended_at LIMIT $2
);
