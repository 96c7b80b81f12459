-- name: read_told
-- Figures of a channel with all that may explain a difference. `sold`: base units of the channel's own orders that the
-- figure may not contain, or that the channel keeps back until it hears of their end: accepted within a minute, not
-- confirmed or not cancelled at the channel yet, or never confirmed at all and accepted after it was counted; of a kit, of
-- its components. What was confirmed longer ago explains nothing: the channel was told anew after that.
SELECT p.sku, p.unit, p.wanted, p.acknowledged, p.previous,
       CASE WHEN p.wanted_version > p.acknowledged_version THEN extract(epoch FROM $3::timestamptz - p.wanted_at) END
           AS waiting_seconds,
       CASE WHEN p.parked THEN coalesce(p.error_code, 'parked') ELSE '' END AS parked, p.feed IS NOT NULL AS fed,
       p.acknowledged_at, r.body AS product, coalesce(v.per_day, 0) AS per_day,
       coalesce((
           SELECT sum(w.quantity)
           FROM (
               SELECT order_id, quantity FROM reservations
               WHERE sku = ANY (coalesce(r.components, ARRAY[p.sku])) ORDER BY order_id DESC LIMIT 500
           ) AS w
           JOIN orders o ON o.order_id = w.order_id
           WHERE o.channel = $1 AND (o.accepted_at > $3::timestamptz - interval '60 seconds' OR coalesce((
               SELECT bool_or(t.state NOT IN ('done', 'cancelled', 'failed')) FROM steps t
               WHERE t.order_id = o.order_id AND t.operation IN ('channel.acknowledge', 'channel.cancel')
           ), o.accepted_at > p.computed_at))
       ), 0) AS sold,
       coalesce(l.listed, true) AS listed
FROM publications p
LEFT JOIN products r ON r.sku = p.sku
LEFT JOIN sales_speed v ON v.sku = p.sku
LEFT JOIN listings l ON l.channel = p.channel AND l.sku = p.sku
WHERE p.channel = $1 AND p.sku = ANY ($2::text[]);

-- name: read_held_lines
-- What a channel keeps back for orders that reserve nothing here, in base units: held ones, and those that were refused
-- and wait in quarantine, as connection $2 sent them, by SKU or by GTIN.
WITH pack AS MATERIALIZED (
    SELECT r.sku, p ->> 'unit' AS unit, (p ->> 'base_quantity')::numeric AS size, ltrim(p ->> 'gtin', '0') AS gtin
    FROM products r, json_array_elements(r.body -> 'packs') AS p WHERE r.sku = ANY ($3::text[])
), parked AS MATERIALIZED (
    SELECT line ->> 'sku' AS sku, ltrim(line ->> 'gtin', '0') AS gtin, line -> 'quantity' ->> 'unit' AS unit,
           (line -> 'quantity' ->> 'value')::numeric AS quantity
    FROM facts f, json_array_elements(f.body -> 'lines') AS line
    WHERE f.state = 'quarantined' AND f.kind = 'order.placed' AND f.connection = $2 AND f.answer IS NOT NULL
)
SELECT sku, sum(quantity) AS quantity
FROM (
    SELECT line ->> 'sku' AS sku, (line -> 'quantity' ->> 'value')::numeric AS quantity
    FROM order_progress g JOIN orders o ON o.order_id = g.order_id,
         json_array_elements(o.body -> 'lines') AS line
    WHERE g.hold_cause IS NOT NULL AND g.state = 'held' AND o.channel = $1 AND line ->> 'sku' = ANY ($3::text[])
    UNION ALL
    SELECT k.sku, k.quantity * coalesce(p.size, 1)
    FROM parked k LEFT JOIN pack p ON p.sku = k.sku AND p.unit = k.unit WHERE k.sku = ANY ($3::text[])
    UNION ALL
    SELECT p.sku, k.quantity * coalesce(u.size, p.size)
    FROM parked k JOIN pack p ON p.gtin = k.gtin LEFT JOIN pack u ON u.sku = p.sku AND u.unit = k.unit
    WHERE k.sku IS NULL
) AS kept
GROUP BY sku;

-- name: due_looks
-- Differences of a channel that are looked at again, the one that was seen longest ago first.
SELECT sku FROM stock_drift
WHERE side = 'channel' AND counterpart = $1 AND state IN ('suspect', 'open', 'repairing') AND seen_at < $2
ORDER BY seen_at LIMIT $3;

-- name: read_slice
-- The next figures of a channel after a SKU that have rested for a while; nothing while its partner is paused.
SELECT sku FROM publications
WHERE channel = $1 AND sku > $2 AND acknowledged IS NOT NULL AND NOT parked AND feed IS NULL
  AND wanted_version = acknowledged_version AND acknowledged_at < $3
ORDER BY sku LIMIT $4;

-- name: partner_answers
-- Is the partner neither paused nor asking for a wait?
SELECT EXISTS (SELECT FROM connections WHERE connection = $1 AND NOT paused AND blocked_until <= $2);

-- name: find_late
-- Figures that wait for too long, and parked ones, that are not known as drift.
(SELECT p.sku, p.wanted_at AS at FROM publications p
 WHERE p.channel = $1 AND p.wanted_version > p.acknowledged_version AND NOT p.parked AND p.wanted_at < $2
   AND NOT EXISTS (SELECT FROM stock_drift d WHERE d.side = 'channel' AND d.counterpart = $1 AND d.sku = p.sku
                     AND d.state IN ('suspect', 'open', 'repairing'))
 ORDER BY p.urgency, p.wanted_at LIMIT $3)
UNION ALL
(SELECT p.sku, p.wanted_at FROM publications p
 WHERE p.channel = $1 AND p.parked
   AND NOT EXISTS (SELECT FROM stock_drift d WHERE d.side = 'channel' AND d.counterpart = $1 AND d.sku = p.sku
                     AND d.state IN ('suspect', 'open', 'repairing'))
 LIMIT $3);

-- name: claim_turn
-- The turn to compare with an owner at a place, if it is due; nothing while the owner is paused.
INSERT INTO stock_comparisons AS c (source, location, compared_at)
SELECT $1, $2, $3 WHERE EXISTS (SELECT FROM connections WHERE connection = $1 AND NOT paused AND blocked_until <= $3)
ON CONFLICT (source, location) DO UPDATE SET compared_at = EXCLUDED.compared_at WHERE c.compared_at <= $4
RETURNING slice;

-- name: place_turn
-- Where the comparison stands, and what went wrong.
UPDATE stock_comparisons SET slice = $3, last_error = $4 WHERE source = $1 AND location = $2;

-- name: owner_looks
-- Differences with an owner that are looked at again.
SELECT sku FROM stock_drift
WHERE side = 'owner' AND counterpart = $1 AND location = $2 AND state IN ('suspect', 'open', 'repairing')
  AND cause <> 'unknown_sku' AND seen_at < $3
ORDER BY seen_at LIMIT $4;

-- name: owner_slice
-- The next SKUs at a place.
SELECT sku FROM stock WHERE location = $1 AND sku > $2 ORDER BY sku LIMIT $3;

-- name: read_counted
-- What an owner should say of these SKUs at its place: `expected` is our figure less what moved after its word. In doubt is
-- what the owner was being told while it gave this word, or the one that our figure is made of: an owner that takes a
-- minute to say yes may have had it in its books from the first second.
SELECT g.sku, s.on_hand IS NOT NULL AS stocked, coalesce(s.source, '') AS source, coalesce(s.on_hand, 0) - coalesce(m.missing, 0) AS expected,
       coalesce(m.in_doubt, 0) AS in_doubt, r.body AS product, coalesce(q.stale_since IS NOT NULL, false) AS feed_late,
       greatest(q.received_at, q.as_of) AS heard_at, d.found_at
FROM unnest($3::text[], $4::timestamptz[]) AS g (sku, as_of)
LEFT JOIN stock s ON s.sku = g.sku AND s.location = $2
LEFT JOIN products r ON r.sku = g.sku
LEFT JOIN stock_sources q ON q.source = $1 AND q.location = $2
LEFT JOIN stock_drift d ON d.side = 'owner' AND d.counterpart = $1 AND d.sku = g.sku AND d.location = $2
  AND d.state IN ('suspect', 'open', 'repairing')
LEFT JOIN LATERAL (
    SELECT sum(v.quantity) FILTER (WHERE is_missing(v.kind, v.quantity, v.at, v.happened_at, g.as_of, $5::boolean, $6::interval)) AS missing,
           sum(abs(v.quantity)) FILTER (
               WHERE g.as_of BETWEEN w.since - $6::interval - interval '2 seconds' AND w.until + $6::interval + interval '2 seconds'
                  OR s.as_of BETWEEN w.since - $6::interval - interval '2 seconds' AND w.until + $6::interval + interval '2 seconds'
           ) AS in_doubt
    FROM stock_movements v
    LEFT JOIN LATERAL (
        SELECT min(CASE WHEN t.attempt > 1 THEN t.created_at ELSE t.started_at END) AS started_at FROM steps t
        WHERE $5::boolean AND t.order_id = v.order_id AND t.connection = $1 AND t.started_at IS NOT NULL
          AND split_part(t.name, ':', 2) = CASE WHEN v.kind = 'departure' THEN regexp_replace(v.key, '/committed$', '') ELSE '' END
          AND (v.kind <> 'cancellation' OR t.created_at >= v.received_at)
    ) AS t ON true
    CROSS JOIN LATERAL (
        SELECT CASE WHEN $5::boolean THEN least(t.started_at, v.at) ELSE v.happened_at END AS since,
               CASE WHEN NOT $5::boolean THEN v.happened_at WHEN v.at = 'infinity' AND t.started_at IS NULL THEN NULL
                    ELSE v.at END AS until
    ) AS w
    WHERE v.sku = g.sku AND v.location = $2
      AND greatest(v.at, v.happened_at) > least(g.as_of, s.as_of) - $6::interval - interval '2 seconds'
) AS m ON true;

-- name: find_unknown
-- SKUs that an owner reports at its places and that nobody knows; their rows are parked.
SELECT DISTINCT ON (row ->> 'sku', row ->> 'location') row ->> 'sku' AS sku, row ->> 'location' AS location,
       (row -> 'on_hand' ->> 'value')::numeric AS found
FROM (
    SELECT fact_id, body FROM facts
    WHERE state = 'quarantined' AND connection = $1 AND kind = 'balances.reported' AND cause = 'sku_unknown'
    ORDER BY fact_id DESC LIMIT 100
) AS f, json_array_elements(f.body -> 'balances') AS row
WHERE row ->> 'location' = ANY ($2::text[]) AND NOT EXISTS (SELECT FROM products p WHERE p.sku = row ->> 'sku')
ORDER BY row ->> 'sku', row ->> 'location', f.fact_id DESC
LIMIT 1000;

-- name: close_known
-- SKUs that are known by now.
UPDATE stock_drift d SET state = 'repaired', ended_at = $2
WHERE d.side = 'owner' AND d.counterpart = $1 AND d.cause = 'unknown_sku' AND d.state IN ('suspect', 'open', 'repairing')
  AND EXISTS (SELECT FROM products p WHERE p.sku = d.sku)
RETURNING d.sku;

-- name: place_drift
-- Differences that were found. What is certain, or was the same a while before, is open; what somebody dismissed stays so
-- while it is the same. Returns those that became open.
WITH given AS (
    SELECT * FROM json_to_recordset($4::json) AS g (sku text, location text, expected numeric, found numeric, cause text,
                                                  amount numeric, currency text, proposal text, certain boolean,
                                                  pending boolean)
), placed AS (
    INSERT INTO stock_drift AS d (side, counterpart, sku, location, expected, found, cause, amount, currency, proposal,
                                  state, found_at, seen_at)
    SELECT $1, $2, sku, location, expected, found, cause, amount, currency, proposal,
           CASE WHEN certain THEN 'open' ELSE 'suspect' END, $3, $3
    FROM given g
    WHERE NOT EXISTS (
        SELECT FROM stock_drift e WHERE e.state = 'dismissed' AND e.side = $1 AND e.counterpart = $2 AND e.sku = g.sku
          AND e.location = g.location AND e.cause = g.cause AND e.found IS NOT DISTINCT FROM g.found
          AND e.expected IS NOT DISTINCT FROM g.expected
    )
    ORDER BY sku, location
    ON CONFLICT (side, counterpart, sku, location) WHERE state IN ('suspect', 'open', 'repairing') DO UPDATE
    SET found_at = CASE WHEN d.state = 'suspect' AND (EXCLUDED.found IS DISTINCT FROM d.found
                             OR EXCLUDED.expected IS DISTINCT FROM d.expected) THEN EXCLUDED.found_at ELSE d.found_at END,
        expected = EXCLUDED.expected, found = EXCLUDED.found, amount = EXCLUDED.amount, seen_at = EXCLUDED.seen_at,
        cause = CASE WHEN d.state = 'suspect' OR EXCLUDED.cause <> 'late' THEN EXCLUDED.cause ELSE d.cause END,
        proposal = CASE WHEN d.state = 'suspect' OR EXCLUDED.cause <> 'late' THEN EXCLUDED.proposal ELSE d.proposal END,
        state = CASE WHEN d.state = 'suspect' AND (EXCLUDED.state = 'open' OR EXCLUDED.found IS NOT DISTINCT FROM d.found
                     AND EXCLUDED.expected IS NOT DISTINCT FROM d.expected
                     AND EXCLUDED.seen_at - d.found_at >= $5::interval
                     AND NOT (SELECT g.pending FROM given g WHERE g.sku = d.sku AND g.location = d.location))
                     THEN 'open' ELSE d.state END
    RETURNING d.sku, d.location, d.cause, d.state, d.found_at
)
SELECT sku, location, cause FROM placed WHERE state = 'open';

-- name: close_drift
-- These agree again: what was suspected is forgotten, what was open is over.
WITH agreed AS (
    SELECT drift_id, d.state FROM stock_drift d JOIN unnest($3::text[], $4::text[]) AS g (sku, location) USING (sku, location)
    WHERE d.side = $1 AND d.counterpart = $2 AND d.state IN ('suspect', 'open', 'repairing')
    ORDER BY drift_id FOR UPDATE OF d
), forgotten AS (
    DELETE FROM stock_drift WHERE drift_id IN (SELECT drift_id FROM agreed WHERE state = 'suspect')
)
UPDATE stock_drift SET state = 'repaired', ended_at = $5, seen_at = $5
WHERE drift_id IN (SELECT drift_id FROM agreed WHERE state <> 'suspect')
RETURNING sku;

-- name: count_compared
-- So many figures were compared.
INSERT INTO stock_compared AS c (side, counterpart, hour, compared, drifted)
VALUES ($1, $2, date_trunc('hour', $3::timestamptz), $4, $5)
ON CONFLICT (side, counterpart, hour) DO UPDATE
SET compared = c.compared + EXCLUDED.compared, drifted = c.drifted + EXCLUDED.drifted;

-- name: take_repairs
-- Differences about which something is to be done now: those that a person chose and, where policy repairs by itself, all.
UPDATE stock_drift d SET state = 'repairing', tried_at = $3, tries = d.tries + 1
WHERE d.drift_id = ANY (ARRAY(
    SELECT drift_id FROM stock_drift
    WHERE side = $1 AND counterpart = $2 AND location = $6 AND (state = 'repairing' OR state = 'open' AND $4::boolean)
      AND (tried_at IS NULL OR tried_at + make_interval(secs => least(5 * power(2, least(tries - 1, 12)), 3600)) <= $3)
    ORDER BY tried_at NULLS FIRST, drift_id LIMIT $5 FOR UPDATE SKIP LOCKED
))
RETURNING d.drift_id, d.sku, d.location, d.cause, d.tries;

-- name: unpark
-- Parked figures of these SKUs are told again.
UPDATE publications SET parked = false, attempt = 0, due_at = '-infinity'
WHERE channel = $1 AND sku = ANY ($2::text[]) AND parked;

-- name: choose_repair
-- A person wants these repaired.
UPDATE stock_drift SET state = 'repairing', tried_at = NULL
WHERE state IN ('open', 'repairing') AND (drift_id = ANY ($1::bigint[]) OR $2::text <> '' AND cause = $2 AND side = $3
                                          AND counterpart = $4)
RETURNING drift_id;

-- name: dismiss
-- A person says that these are well as they are.
UPDATE stock_drift SET state = 'dismissed', ended_at = $5, ended_by = $6
WHERE state IN ('open', 'repairing') AND (drift_id = ANY ($1::bigint[]) OR $2::text <> '' AND cause = $2 AND side = $3
                                          AND counterpart = $4)
RETURNING drift_id;

-- name: prune
-- What is over is kept for a while.
DELETE FROM stock_drift WHERE state IN ('repaired', 'dismissed') AND ended_at < $1;

-- name: create_shown
-- What a channel shows, or an owner says, as it was given.
CREATE TEMP TABLE IF NOT EXISTS compare_given (sku text NOT NULL, quantity numeric NOT NULL, as_of timestamptz);

-- name: clear_given
-- Nothing was given yet.
TRUNCATE compare_given;

-- name: index_given
-- Found by SKU.
CREATE INDEX IF NOT EXISTS compare_given_sku ON compare_given (sku);

-- name: analyze_given
-- How many there are.
ANALYZE compare_given;

-- name: drop_given
-- The connection goes back without it.
DROP TABLE IF EXISTS compare_given;

-- name: differing_told
-- A channel's figures that are not what was given, after a SKU: all of them are looked at in one pass.
SELECT p.sku, g.quantity AS shown
FROM publications p LEFT JOIN compare_given g ON g.sku = p.sku
WHERE p.channel = $1 AND p.feed IS NULL
  AND (p.parked OR NOT p.parked AND p.wanted_version > p.acknowledged_version AND p.wanted_at < $2
       OR NOT p.parked AND p.wanted_version = p.acknowledged_version AND p.acknowledged_at < $3
          AND p.acknowledged IS DISTINCT FROM g.quantity);

-- name: strangers_told
-- What a channel shows and was never told.
SELECT g.sku, g.quantity FROM compare_given g
WHERE g.quantity > 0 AND NOT EXISTS (SELECT FROM publications p WHERE p.channel = $1 AND p.sku = g.sku);

-- name: differing_counted
-- An owner's places whose balance is not what was given, without regard to what moved since.
SELECT coalesce(s.sku, g.sku) AS sku, g.quantity AS said, coalesce(g.as_of, $2) AS as_of
FROM (SELECT * FROM stock WHERE location = $1) AS s FULL JOIN compare_given g ON g.sku = s.sku
WHERE s.on_hand IS DISTINCT FROM g.quantity AND (g.quantity IS NOT NULL OR s.on_hand <> 0);

-- name: count_told
-- How many figures a channel has.
SELECT count(*) FROM publications WHERE channel = $1;

-- name: count_counted
-- How many SKUs a place has.
SELECT count(*) FROM stock WHERE location = $1;

-- name: base_units
-- In which unit each SKU is counted.
SELECT sku, body ->> 'base_unit' FROM products WHERE sku = ANY ($1::text[]);

-- name: list_told
-- The next SKUs of which a channel was told something.
SELECT sku FROM publications WHERE channel = $1 AND sku > $2 AND acknowledged IS NOT NULL ORDER BY sku LIMIT $3;
