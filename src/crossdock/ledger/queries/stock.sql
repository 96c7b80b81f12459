-- name: lock_places
-- The rows of a report, locked in the one order; what the next statement reads is then all that was written. Places that
-- are only now heard of come first: two writers of the same new place wait for each other there. One that the other
-- wrote is not seen here, and not counted.
WITH ensured AS (
    INSERT INTO stock (sku, location, on_hand, source, as_of, reported_at)
    SELECT DISTINCT sku, location, 0, '', '-infinity'::timestamptz, $3::timestamptz
    FROM unnest($1::text[], $2::text[]) AS g (sku, location)
    WHERE NOT EXISTS (SELECT FROM stock s WHERE s.sku = g.sku AND s.location = g.location)
    ORDER BY sku, location
    ON CONFLICT DO NOTHING
    RETURNING sku
), locked AS (
    SELECT s.sku FROM stock s WHERE (s.sku, s.location) IN (SELECT * FROM unnest($1::text[], $2::text[]))
    ORDER BY s.sku, s.location FOR UPDATE
)
SELECT (SELECT count(*) FROM ensured) + (SELECT count(*) FROM locked);

-- name: place_balances
-- Owners' balances, one a place. An older one never replaces a newer one; what it does not contain is added to it.
WITH rule AS (
    SELECT * FROM unnest($10::text[], $11::text[], $12::boolean[], $13::interval[]) AS r (location, source, told, skew)
), given AS (
    SELECT g.*, coalesce(r.told, false) AS told, coalesce(r.skew, interval '0') AS skew
    FROM unnest($1::text[], $2::text[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[], $7::text[],
                $8::timestamptz[])
      AS g (sku, location, on_hand, quality_hold, damaged, in_transit, source, as_of)
    LEFT JOIN rule r ON r.location = g.location AND r.source = g.source
), fresh AS (
    SELECT g.*, coalesce((
        SELECT sum(m.quantity) FROM stock_movements m
        WHERE m.sku = g.sku AND m.location = g.location AND greatest(m.at, m.happened_at) > g.as_of - g.skew
          AND is_missing(m.kind, m.quantity, m.at, m.happened_at, g.as_of, g.told, g.skew)
    ), 0) AS moved
    FROM given g JOIN stock s ON s.sku = g.sku AND s.location = g.location AND s.as_of <= g.as_of
), taken AS (
    UPDATE stock s SET reported = f.on_hand, on_hand = f.on_hand + f.moved, quality_hold = f.quality_hold,
      damaged = f.damaged, in_transit = f.in_transit, source = f.source, as_of = f.as_of, reported_at = $9
    FROM fresh f WHERE s.sku = f.sku AND s.location = f.location
    RETURNING s.sku, s.location
), cleared AS (
    -- Lots of places that have a new balance.
    DELETE FROM stock_lots l USING taken t WHERE l.sku = t.sku AND l.location = t.location
)
SELECT sku, location FROM taken;

-- name: place_missing
-- After a complete report: what it did not name is not there. Only what no younger balance has told is touched.
SELECT sku, location FROM stock
WHERE location = ANY ($1::text[]) AND source = $2 AND as_of < $3 AND (reported <> 0 OR on_hand <> 0);

-- name: place_lots
-- Lots as the newest balance of their place told them; the earlier ones are cleared before.
INSERT INTO stock_lots (sku, location, lot, serial, quantity, expires_on, as_of)
SELECT sku, location, lot, serial, sum(quantity), min(expires_on), max(as_of)
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::numeric[], $6::date[], $7::timestamptz[])
  AS g (sku, location, lot, serial, quantity, expires_on, as_of)
GROUP BY sku, location, lot, serial
ON CONFLICT (sku, location, lot, serial) DO UPDATE SET quantity = EXCLUDED.quantity, expires_on = EXCLUDED.expires_on,
  as_of = EXCLUDED.as_of
WHERE stock_lots.as_of <= EXCLUDED.as_of;

-- name: place_reports
-- What somebody else said, or what was held: shown with its difference to what we believe, never applied.
INSERT INTO stock_reports (sku, location, source, on_hand, quality_hold, damaged, in_transit, as_of, received_at,
                           standing, difference)
SELECT g.sku, g.location, g.source, g.on_hand, g.quality_hold, g.damaged, g.in_transit, g.as_of, $9, g.standing,
       g.on_hand - coalesce(s.on_hand, 0)
FROM (
    SELECT DISTINCT ON (sku, location, source) *
    FROM unnest($1::text[], $2::text[], $3::text[], $4::numeric[], $5::numeric[], $6::numeric[], $7::numeric[],
                $8::timestamptz[], $10::text[])
      AS u (sku, location, source, on_hand, quality_hold, damaged, in_transit, as_of, standing)
    ORDER BY sku, location, source, as_of DESC
) AS g
LEFT JOIN stock s ON s.sku = g.sku AND s.location = g.location
ON CONFLICT (sku, location, source) DO UPDATE SET on_hand = EXCLUDED.on_hand, quality_hold = EXCLUDED.quality_hold,
  damaged = EXCLUDED.damaged, in_transit = EXCLUDED.in_transit, as_of = EXCLUDED.as_of,
  received_at = EXCLUDED.received_at, standing = EXCLUDED.standing, difference = EXCLUDED.difference
WHERE stock_reports.as_of <= EXCLUDED.as_of;

-- name: forget_reports
-- A source whose word is taken now no longer stands beside what we believe.
DELETE FROM stock_reports r USING unnest($1::text[], $2::text[], $3::text[]) AS g (sku, location, source)
WHERE r.sku = g.sku AND r.location = g.location AND r.source = g.source;

-- name: insert_movements
-- Movements reported by owners, each once; those that the balance lacks change what is there.
WITH rule AS (
    SELECT * FROM unnest($8::text[], $9::text[], $10::boolean[], $11::interval[]) AS r (location, source, told, skew)
), fresh AS (
    INSERT INTO stock_movements (connection, key, sku, location, quantity, kind, happened_at, at, received_at)
    SELECT connection, key, sku, location, quantity, kind, at, at, $12
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::numeric[], $6::text[], $7::timestamptz[])
      AS g (connection, key, sku, location, quantity, kind, at)
    ON CONFLICT DO NOTHING
    RETURNING *
), change AS (
    SELECT m.sku, m.location, sum(m.quantity) AS quantity
    FROM fresh m JOIN stock s ON s.sku = m.sku AND s.location = m.location
    LEFT JOIN rule r ON r.location = s.location AND r.source = s.source
    WHERE is_missing(m.kind, m.quantity, m.at, m.happened_at, s.as_of, coalesce(r.told, false),
                     coalesce(r.skew, interval '0'))
    GROUP BY m.sku, m.location
), moved AS (
    UPDATE stock s SET on_hand = s.on_hand + c.quantity FROM change c
    WHERE s.sku = c.sku AND s.location = c.location
)
SELECT count(*) FROM fresh;

-- name: place_supply
-- What purchase orders will still bring; an older report never replaces a newer one.
INSERT INTO inbound_supply (purchase_order, line, sku, location, quantity, expected_on, source, as_of)
SELECT DISTINCT ON (purchase_order, line, source) purchase_order, line, sku, location, quantity, expected_on, source,
       as_of
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::numeric[], $6::date[], $7::text[], $8::timestamptz[])
  AS g (purchase_order, line, sku, location, quantity, expected_on, source, as_of)
ORDER BY purchase_order, line, source, as_of DESC
ON CONFLICT (purchase_order, line, source) DO UPDATE SET sku = EXCLUDED.sku, location = EXCLUDED.location,
  quantity = EXCLUDED.quantity, expected_on = EXCLUDED.expected_on, as_of = EXCLUDED.as_of
WHERE inbound_supply.as_of <= EXCLUDED.as_of;

-- name: ship_stock
-- Goods left: the departure is remembered and, where the balance lacks it, on hand falls; as much of the reservation as
-- there was is used up. What the owner's books had as an order already leaves those books' commitment, not twice.
WITH rule AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::boolean[], $5::interval[]) AS r (location, source, told, skew)
), given AS (
    SELECT order_id, line, location, sku, sum(quantity) AS quantity, min(shipment) AS shipment, min(at) AS at,
           min(connection) AS connection, min(told_by) AS told_by
    FROM json_to_recordset($1::json)
      AS e (order_id bigint, line text, location text, sku text, quantity numeric, shipment text, at timestamptz,
            connection text, told_by text)
    GROUP BY order_id, line, location, sku
), held AS (
    SELECT g.*, least(g.quantity, coalesce(r.committed, 0)) AS booked,
           least(g.quantity - least(g.quantity, coalesce(r.committed, 0)),
                 coalesce(r.quantity - r.shipped - r.released - r.committed, 0)) AS freed
    FROM given g LEFT JOIN reservations r USING (order_id, line, location, sku)
), used AS (
    UPDATE reservations r SET shipped = r.shipped + h.freed + h.booked, committed = r.committed - h.booked
    FROM held h WHERE r.order_id = h.order_id AND r.line = h.line AND r.location = h.location AND r.sku = h.sku
), departed AS (
    SELECT order_id, location, sku, shipment, connection, told_by, at, sum(quantity) AS quantity, sum(booked) AS booked
    FROM held GROUP BY order_id, location, sku, shipment, connection, told_by, at
), books AS (
    SELECT DISTINCT ON (m.order_id, m.sku, m.location) m.connection, m.key, m.sku, m.location, m.at, m.order_id, d.booked
    FROM departed d JOIN stock_movements m ON m.order_id = d.order_id AND m.sku = d.sku AND m.location = d.location
    WHERE d.booked > 0 AND m.kind = 'commitment' AND m.quantity < 0
    ORDER BY m.order_id, m.sku, m.location, m.at DESC
), carved AS (
    UPDATE stock_movements m SET quantity = m.quantity + b.booked FROM books b
    WHERE m.connection = b.connection AND m.key = b.key AND m.sku = b.sku AND m.location = b.location
), left_behind AS (
    INSERT INTO stock_movements (connection, key, sku, location, quantity, kind, happened_at, at, order_id, received_at)
    SELECT d.connection, d.shipment, d.sku, d.location, d.booked - d.quantity, 'departure', d.at,
           CASE WHEN d.told_by = '' THEN d.at ELSE coalesce((
               SELECT max(t.done_at) FROM steps t
               WHERE t.order_id = d.order_id AND t.operation = d.told_by AND t.state = 'done' AND t.name NOT LIKE '%:%'
           ), 'infinity'::timestamptz) END, d.order_id, $6::timestamptz
    FROM departed d WHERE d.quantity > d.booked
    UNION ALL
    SELECT d.connection, d.shipment || '/committed', d.sku, d.location, -b.booked, 'departure', d.at, b.at, d.order_id,
           $6::timestamptz
    FROM departed d JOIN books b USING (order_id, sku, location)
    ON CONFLICT DO NOTHING
    RETURNING kind, sku, location, quantity, at, happened_at
), change AS (
    SELECT sku, location, quantity, kind, at, happened_at FROM left_behind
    UNION ALL
    SELECT sku, location, booked, 'departure', at, 'infinity'::timestamptz FROM books
), counted AS (
    SELECT c.sku, c.location, sum(c.quantity) AS quantity
    FROM change c JOIN stock s ON s.sku = c.sku AND s.location = c.location
    LEFT JOIN rule r ON r.location = s.location AND r.source = s.source
    -- What is carved out of a commitment has the commitment's sign for the watermark.
    WHERE is_missing(c.kind, -abs(c.quantity), c.at, c.happened_at, s.as_of, coalesce(r.told, false),
                     coalesce(r.skew, interval '0'))
    GROUP BY c.sku, c.location
)
UPDATE stock s SET on_hand = s.on_hand + coalesce(c.quantity, 0), reserved = s.reserved - h.freed
FROM (SELECT sku, location, sum(freed) AS freed FROM held GROUP BY sku, location) AS h
LEFT JOIN counted c USING (sku, location)
WHERE s.sku = h.sku AND s.location = h.location;

-- name: release_stock
-- Reservations given back, never more than is still held. What stands in the owner's books comes back when the owner
-- has taken it out of them.
WITH rule AS (
    SELECT * FROM unnest($6::text[], $7::text[], $8::boolean[], $9::interval[]) AS r (location, source, told, skew)
), given AS (
    SELECT order_id, line, location, sku, sum(quantity) AS quantity
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::numeric[])
      AS e (order_id, line, location, sku, quantity)
    GROUP BY order_id, line, location, sku
), held AS (
    SELECT r.order_id, r.line, r.location, r.sku,
           least(g.quantity, r.quantity - r.shipped - r.released - r.committed) AS freed,
           least(g.quantity - least(g.quantity, r.quantity - r.shipped - r.released - r.committed), r.committed) AS booked
    FROM reservations r JOIN given g USING (order_id, line, location, sku)
), given_back AS (
    UPDATE reservations r SET released = r.released + h.freed + h.booked, committed = r.committed - h.booked
    FROM held h WHERE r.order_id = h.order_id AND r.line = h.line AND r.location = h.location
      AND r.sku = h.sku AND h.freed + h.booked > 0
), cancelled AS (
    INSERT INTO stock_movements (connection, key, sku, location, quantity, kind, happened_at, at, order_id, received_at)
    SELECT '', 'cancellation:' || order_id || '@' || extract(epoch FROM $10::timestamptz), sku, location, sum(booked),
           'cancellation', 'infinity'::timestamptz, 'infinity'::timestamptz, order_id, $10::timestamptz
    FROM held WHERE booked > 0 GROUP BY order_id, sku, location
    ON CONFLICT (key, sku, location, connection) DO UPDATE SET quantity = stock_movements.quantity + EXCLUDED.quantity
), counted AS (
    SELECT h.sku, h.location, sum(h.booked) AS quantity
    FROM held h JOIN stock s ON s.sku = h.sku AND s.location = h.location
    LEFT JOIN rule r ON r.location = s.location AND r.source = s.source
    WHERE h.booked > 0 AND NOT coalesce(r.told, false)
    GROUP BY h.sku, h.location
)
UPDATE stock s SET reserved = s.reserved - h.freed, on_hand = s.on_hand + coalesce(c.quantity, 0)
FROM (SELECT sku, location, sum(freed) AS freed FROM held WHERE location <> '' GROUP BY sku, location) AS h
LEFT JOIN counted c USING (sku, location)
WHERE s.sku = h.sku AND s.location = h.location;

-- name: find_touched
-- SKUs of orders whose owner was told something, to be locked before they change.
SELECT DISTINCT sku FROM (
    SELECT sku FROM reservations WHERE order_id = ANY ($1::bigint[])
    UNION ALL
    SELECT sku FROM stock_movements WHERE order_id = ANY ($1::bigint[]) AND at = 'infinity'
) AS touched ORDER BY sku;

-- name: commit_reservations
-- The owner took these orders: what is open leaves the reservation and stands as a movement until a balance contains it.
WITH rule AS (
    SELECT * FROM unnest($5::text[], $6::text[], $7::boolean[], $8::interval[]) AS r (location, source, told, skew)
), taken AS (
    SELECT r.order_id, r.line, r.sku, r.location, r.quantity - r.shipped - r.released - r.committed AS quantity,
           g.source, g.at
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::timestamptz[]) AS g (order_id, location, source, at)
    JOIN reservations r ON r.order_id = g.order_id AND r.location = g.location
    WHERE r.quantity > r.shipped + r.released + r.committed
), booked AS (
    UPDATE reservations r SET committed = r.committed + t.quantity
    FROM taken t WHERE r.order_id = t.order_id AND r.line = t.line AND r.location = t.location AND r.sku = t.sku
), noted AS (
    INSERT INTO stock_movements (connection, key, sku, location, quantity, kind, happened_at, at, order_id, received_at)
    SELECT source, 'commitment:' || order_id || '@' || extract(epoch FROM at), sku, location, -sum(quantity),
           'commitment', 'infinity'::timestamptz, at, order_id, $9::timestamptz
    FROM taken GROUP BY order_id, sku, location, source, at
    ON CONFLICT (key, sku, location, connection) DO UPDATE SET quantity = stock_movements.quantity + EXCLUDED.quantity
), counted AS (
    SELECT t.sku, t.location, sum(t.quantity) AS taken,
           sum(t.quantity) FILTER (WHERE is_missing('commitment', -t.quantity, t.at, 'infinity', s.as_of,
                                   coalesce(r.told, false), coalesce(r.skew, interval '0'))) AS lacking
    FROM taken t JOIN stock s ON s.sku = t.sku AND s.location = t.location
    LEFT JOIN rule r ON r.location = s.location AND r.source = s.source
    GROUP BY t.sku, t.location
)
UPDATE stock s SET reserved = s.reserved - c.taken, on_hand = s.on_hand - coalesce(c.lacking, 0)
FROM counted c WHERE s.sku = c.sku AND s.location = c.location;

-- name: acknowledge_movements
-- The owner knows of these now. Where its balance proves to have contained them already, they are not counted twice.
WITH rule AS (
    SELECT * FROM unnest($7::text[], $8::text[], $9::boolean[], $10::interval[]) AS r (location, source, told, skew)
), told AS (
    SELECT m.connection, m.key, m.sku, m.location, m.kind, m.quantity, m.happened_at,
           min(coalesce((SELECT t.created_at FROM steps t WHERE t.order_id = g.order_id AND t.name = g.step), g.at)) AS at
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[])
      AS g (order_id, location, kind, key, at, step)
    JOIN stock_movements m ON m.order_id = g.order_id AND m.location = g.location AND m.kind = g.kind
      AND (g.key = '' OR m.key = g.key OR m.key = g.key || '/committed')
    WHERE m.at = 'infinity'
    GROUP BY m.connection, m.key, m.sku, m.location, m.kind, m.quantity, m.happened_at
), known AS (
    UPDATE stock_movements m SET at = t.at FROM told t
    WHERE m.connection = t.connection AND m.key = t.key AND m.sku = t.sku AND m.location = t.location
), change AS (
    SELECT t.sku, t.location, sum(t.quantity * (
        is_missing(t.kind, t.quantity, t.at, t.happened_at, s.as_of, coalesce(r.told, false), coalesce(r.skew, interval '0'))::integer
        - is_missing(t.kind, t.quantity, 'infinity', t.happened_at, s.as_of, coalesce(r.told, false), coalesce(r.skew, interval '0'))::integer
    )) AS quantity
    FROM told t JOIN stock s ON s.sku = t.sku AND s.location = t.location
    LEFT JOIN rule r ON r.location = s.location AND r.source = s.source
    GROUP BY t.sku, t.location
)
UPDATE stock s SET on_hand = s.on_hand + c.quantity FROM change c
WHERE s.sku = c.sku AND s.location = c.location AND c.quantity <> 0;

-- name: recount
-- Rows that do not agree with their balance and movements; there must be none.
SELECT s.sku, s.location, s.on_hand, r.on_hand AS recounted
FROM recount_stock($1, $2, $3, $4, $5) AS r JOIN stock s ON s.sku = r.sku AND s.location = r.location
WHERE s.on_hand <> r.on_hand ORDER BY 1, 2 LIMIT 100;

-- name: prune_movements
-- Movements that every balance to come contains, long ago; their keys are remembered for `$1`.
DELETE FROM stock_movements m USING stock s
WHERE s.sku = m.sku AND s.location = m.location AND m.received_at < $1
  AND greatest(m.at, m.happened_at) < s.as_of - interval '7 days';
