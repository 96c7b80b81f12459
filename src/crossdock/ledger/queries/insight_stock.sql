-- name: sources
-- Who reports stock of which place, how fresh it is, and what is held.
SELECT s.source, s.location, s.as_of, greatest(s.received_at, f.read_at) AS heard_at, s.rhythm_seconds, s.row_count,
       s.stale_since, s.held_since, s.held_reason
FROM stock_sources s
LEFT JOIN feeds f ON f.connection = s.source AND f.feed = 'stock' AND f.failures = 0
ORDER BY s.source, s.location LIMIT 500

-- name: held_facts
-- Reports that wait for a person because they are too wild to be true.
SELECT h.fact_id, f.connection, h.reason, h.held_at, f.business_key
FROM stock_held_facts h JOIN facts f ON f.fact_id = h.fact_id
WHERE f.state = 'quarantined' ORDER BY h.held_at DESC LIMIT 100

-- name: lanes
-- Each channel that is told stock: what waits (counted up to a bound), what is parked, how it is.
SELECT l.channel, l.last_ok_at, l.last_error, l.failures, l.blocked_until, l.feed IS NOT NULL AS fed,
       (SELECT count(*) FROM (
           SELECT FROM publications p WHERE p.channel = l.channel AND p.wanted_version > p.acknowledged_version
             AND NOT p.parked LIMIT 10001) AS w) AS waiting,
       (SELECT min(p.wanted_at) FROM (
           SELECT wanted_at FROM publications q WHERE q.channel = l.channel AND q.wanted_version > q.acknowledged_version
             AND NOT q.parked ORDER BY q.urgency, q.wanted_at LIMIT 1) AS p) AS oldest_at,
       (SELECT count(*) FROM (SELECT FROM publications p WHERE p.channel = l.channel AND p.parked LIMIT 10001) AS k)
           AS parked
FROM publication_lanes l ORDER BY l.channel

-- name: parked_groups
-- What channels did not take, by cause.
SELECT channel, coalesce(error_code, '') AS code, count(*) AS count, min(sku) AS example, min(error_message) AS message
FROM (SELECT channel, error_code, sku, error_message FROM publications WHERE parked LIMIT 20000) AS p
GROUP BY channel, error_code ORDER BY count(*) DESC, channel LIMIT 50

-- name: places
-- A page of places by SKU; `$1` begins the SKU.
SELECT s.sku, p.name, p.body ->> 'base_unit' AS unit, s.location, s.source, s.on_hand, s.quality_hold + s.damaged AS kept,
       s.reserved, s.in_transit, s.as_of, q.stale_since IS NOT NULL AS stale
FROM (
    SELECT * FROM stock
    WHERE ($1::text = '' OR sku >= $1 AND sku < $1 || U&'\+10FFFF') AND ($2::text = '' OR (sku, location) > ($2, $3))
    ORDER BY sku, location LIMIT $4
) AS s
LEFT JOIN products p ON p.sku = s.sku
LEFT JOIN stock_sources q ON q.source = s.source AND q.location = s.location
ORDER BY s.sku, s.location

-- name: places_at
-- The same at one location. The page is cut before it is joined, or all products up to it would be read.
SELECT s.sku, p.name, p.body ->> 'base_unit' AS unit, s.location, s.source, s.on_hand, s.quality_hold + s.damaged AS kept,
       s.reserved, s.in_transit, s.as_of, q.stale_since IS NOT NULL AS stale
FROM (
    SELECT * FROM stock
    WHERE location = $2 AND sku >= $1 AND ($1::text = '' OR sku < $1 || U&'\+10FFFF') AND sku > $3::text
    ORDER BY location, sku LIMIT $4
) AS s
LEFT JOIN products p ON p.sku = s.sku
LEFT JOIN stock_sources q ON q.source = s.source AND q.location = s.location
ORDER BY s.sku

-- name: published
-- A page of what a channel is told.
SELECT c.channel, c.sku, p.name, c.unit, c.wanted, c.acknowledged, c.acknowledged_at, c.wanted_at,
       c.wanted_version > c.acknowledged_version AS waiting, c.parked, c.error_code, c.error_message, c.attempt,
       c.due_at, c.promise_on
FROM (
    SELECT * FROM publications
    WHERE channel = $1 AND ($2::text = '' OR sku >= $2 AND sku < $2 || U&'\+10FFFF') AND sku > $3::text
      AND (NOT $4::boolean OR parked)
    ORDER BY sku LIMIT $5
) AS c LEFT JOIN products p ON p.sku = c.sku
ORDER BY c.sku

-- name: product
-- What a SKU is.
SELECT sku, name, status, body ->> 'base_unit' AS unit, components IS NOT NULL AS kit FROM products WHERE sku = $1

-- name: published_of
-- What every channel is told of a SKU.
SELECT c.channel, c.sku, '' AS name, c.unit, c.wanted, c.acknowledged, c.acknowledged_at, c.wanted_at,
       c.wanted_version > c.acknowledged_version AS waiting, c.parked, c.error_code, c.error_message, c.attempt,
       c.due_at, c.promise_on
FROM publications c WHERE c.sku = $1 AND c.channel IN (SELECT channel FROM publication_lanes) ORDER BY c.channel

-- name: reports_of
-- What others say of its places.
SELECT location, source, on_hand, as_of, standing, difference FROM stock_reports WHERE sku = $1 ORDER BY location, source

-- name: drift_groups
-- Open differences by cause.
SELECT side, counterpart, cause, max(proposal) AS proposal, count(*) AS count, sum(amount) AS amount,
       max(currency) AS currency, min(found_at) AS oldest_at, count(*) FILTER (WHERE state = 'repairing') AS repairing
FROM (
    SELECT side, counterpart, cause, proposal, amount, currency, found_at, state FROM stock_drift
    WHERE state IN ('open', 'repairing') LIMIT 20000
) AS d
GROUP BY side, counterpart, cause ORDER BY sum(amount) DESC, count(*) DESC

-- name: drift_page
-- A page of open differences, the newest first.
SELECT drift_id, side, counterpart, sku, location, expected, found, cause, amount, currency, proposal, state, found_at,
       seen_at, tries
FROM stock_drift
WHERE state IN ('open', 'repairing') AND ($1::text = '' OR cause = $1) AND ($2::text = '' OR side = $2)
  AND ($3::text = '' OR counterpart = $3) AND ($4::text = '' OR sku = $4) AND ($5::bigint IS NULL OR drift_id < $5)
ORDER BY drift_id DESC LIMIT $6

-- name: count_open
-- How many differences are open, up to a bound.
SELECT count(*) FROM (SELECT FROM stock_drift WHERE state IN ('open', 'repairing') LIMIT 10001) AS d

-- name: latency
-- Times from the owner's commit to the channel's acknowledgment, in doubling buckets of milliseconds.
SELECT channel, bucket, sum(count)::bigint AS count FROM stock_latency WHERE minute >= $1
GROUP BY channel, bucket ORDER BY channel, bucket

-- name: oversold
-- Orders of channels that are told stock: the newest of a time, and those for which not enough was there, which wait for
-- it or were held for it, whatever became of them.
SELECT o.channel, count(*) AS orders,
       count(*) FILTER (
           WHERE EXISTS (SELECT FROM reservations r WHERE r.order_id = o.order_id AND r.location = '')
              OR EXISTS (SELECT FROM events e WHERE e.order_id = o.order_id AND e.type = 'OrderHeld'
                         AND e.body ->> 'cause' = 'stock_incomplete')
       ) AS short
FROM publication_lanes l
CROSS JOIN LATERAL (
    SELECT order_id, channel FROM (
        SELECT order_id, channel, accepted_at FROM orders WHERE channel = l.channel ORDER BY order_id DESC LIMIT 5000
    ) AS newest WHERE accepted_at >= $1
) AS o
GROUP BY o.channel ORDER BY o.channel

-- name: compared
-- How many figures were compared, and how many of them had drifted.
SELECT side, counterpart, sum(compared)::bigint AS compared, sum(drifted)::bigint AS drifted
FROM stock_compared WHERE hour >= $1 GROUP BY side, counterpart ORDER BY side, counterpart

-- name: locations
-- Places of which stock is known.
SELECT DISTINCT location FROM stock_sources ORDER BY location LIMIT 200

-- name: attention
-- What of stock needs somebody.
SELECT (SELECT count(*) FROM stock_sources WHERE stale_since IS NOT NULL) AS stale,
       (SELECT count(*) FROM stock_sources WHERE held_since IS NOT NULL) AS held,
       (SELECT count(*) FROM (SELECT FROM stock_drift WHERE state IN ('open', 'repairing') LIMIT 10001) AS d) AS drift
