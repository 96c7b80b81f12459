-- name: reference_version
-- The version that cached master data must have.
SELECT version FROM reference_version;

-- name: weigh_report
-- How many SKUs the source has in stock at these places, and how many of the named ones fall to nothing or stay.
SELECT (SELECT count(*) FROM stock WHERE source = $1 AND location = ANY ($2::text[]) AND reported > 0) AS stocked,
       count(*) FILTER (WHERE g.on_hand = 0) AS falling, count(*) FILTER (WHERE g.on_hand > 0) AS staying
FROM unnest($3::text[], $4::text[], $5::numeric[]) AS g (sku, location, on_hand)
JOIN stock s ON s.sku = g.sku AND s.location = g.location AND s.source = $1 AND s.reported > 0;

-- name: count_falling
-- How many of these places, which are reported empty, are stocked now.
SELECT count(*) FROM unnest($2::text[], $3::text[]) AS g (sku, location)
JOIN stock s ON s.sku = g.sku AND s.location = g.location AND s.source = $1 AND s.reported > 0;

-- name: read_sources
-- What is known of a source's reports of these locations, locked in one order.
SELECT source, location, as_of, received_at, rhythm_seconds, row_count
FROM stock_sources WHERE (source, location) IN (SELECT * FROM unnest($1::text[], $2::text[]))
ORDER BY source, location FOR UPDATE;

-- name: write_sources
-- A source was heard of: it is neither stale nor held.
INSERT INTO stock_sources (source, location, as_of, received_at, rhythm_seconds, row_count)
SELECT source, location, as_of, $6, rhythm_seconds, coalesce(row_count, 0)
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::numeric[], $5::bigint[])
  AS g (source, location, as_of, rhythm_seconds, row_count)
ORDER BY source, location
ON CONFLICT (source, location) DO UPDATE SET as_of = greatest(stock_sources.as_of, EXCLUDED.as_of),
  received_at = greatest(stock_sources.received_at, EXCLUDED.received_at), rhythm_seconds = EXCLUDED.rhythm_seconds,
  row_count = CASE WHEN EXCLUDED.row_count > 0 THEN EXCLUDED.row_count ELSE stock_sources.row_count END,
  held_since = NULL, held_reason = NULL;

-- name: hold_sources
-- A report of the source waits for a person.
INSERT INTO stock_sources (source, location, as_of, received_at, held_since, held_reason)
SELECT $1, location, '-infinity', $3, $3, $4 FROM unnest($2::text[]) AS g (location) ORDER BY location
ON CONFLICT (source, location) DO UPDATE SET held_since = coalesce(stock_sources.held_since, EXCLUDED.held_since),
  held_reason = EXCLUDED.held_reason;

-- name: note_held
-- This report waits for a person; an earlier one of the same kind that still waits is overtaken by it.
WITH overtaken AS (
    UPDATE facts f SET state = 'ignored', cause = NULL, message = NULL, owner = NULL, next_action = NULL
    FROM stock_held_facts h, facts n
    WHERE n.fact_id = $1 AND h.fact_id = f.fact_id AND f.state = 'quarantined' AND f.connection = n.connection
      AND f.kind = n.kind AND f.business_key = n.business_key AND f.fact_id < n.fact_id
)
INSERT INTO stock_held_facts (fact_id, reason, held_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: find_held
-- Which of these facts were held before: somebody let them through.
SELECT fact_id FROM stock_held_facts WHERE fact_id = ANY ($1::bigint[]);

-- name: place_part
-- A part of a complete report.
INSERT INTO stock_snapshots (source, snapshot, part, parts, row_count, locations, as_of, received_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (source, snapshot, part) DO UPDATE SET row_count = EXCLUDED.row_count, as_of = EXCLUDED.as_of;

-- name: read_parts
-- What of a complete report is here, other than this part.
SELECT part, row_count, locations, as_of FROM stock_snapshots WHERE source = $1 AND snapshot = $2 AND part <> $3;

-- name: end_snapshot
-- It is whole: it and whatever older one of this source never became whole are done with.
DELETE FROM stock_snapshots WHERE source = $1 AND as_of <= $2;

-- name: find_broken_snapshots
-- Complete reports of which parts are missing for too long.
SELECT source, snapshot, count(*)::integer AS came, max(parts) AS parts,
       array_agg(DISTINCT place) AS locations
FROM stock_snapshots, unnest(locations) AS place
GROUP BY source, snapshot HAVING max(received_at) < $1 ORDER BY source, snapshot LIMIT 100;

-- name: drop_snapshot
-- What came of it counted row by row; that something is not there any more it never said.
DELETE FROM stock_snapshots WHERE source = $1 AND snapshot = $2;

-- name: park_rows
-- Rows of a fact that could not be taken, as a fact of their own.
INSERT INTO facts (connection, kind, business_key, version, subject, state, body, received_at, due_at, attempt, traceparent,
                   cause, message, owner, next_action)
SELECT connection, kind, $2, version, subject, 'quarantined', $3, $4, $4, 1, traceparent, $5, $6, $7, $8
FROM facts WHERE fact_id = $1
ON CONFLICT (business_key, connection, kind, version) DO UPDATE SET state = 'quarantined', body = EXCLUDED.body,
  cause = EXCLUDED.cause, message = EXCLUDED.message, owner = EXCLUDED.owner, next_action = EXCLUDED.next_action;

-- name: wake_known
-- Rows that were parked because nobody knew their product, of which one is known now.
UPDATE facts SET state = 'waiting', due_at = $1, cause = NULL, message = NULL, owner = NULL, next_action = NULL
WHERE fact_id IN (
    SELECT f.fact_id FROM facts f
    WHERE f.state = 'quarantined' AND f.cause = 'sku_unknown'
      AND f.kind IN ('balances.reported', 'stock.moved', 'supply.reported')
      AND EXISTS (
        SELECT FROM json_array_elements(coalesce(f.body -> 'balances', f.body -> 'movements', f.body -> 'supplies')) AS r
        JOIN products p ON p.sku = r ->> 'sku'
      )
    ORDER BY f.fact_id LIMIT 50 FOR UPDATE SKIP LOCKED
)
RETURNING fact_id;

-- name: list_sources
-- All sources; a polled feed named `stock` that was read without finding news is a sign of life too.
SELECT s.source, s.location, greatest(s.received_at, f.read_at) AS heard_at, s.rhythm_seconds, s.stale_since
FROM stock_sources s
LEFT JOIN feeds f ON f.connection = s.source AND f.feed = 'stock' AND f.failures = 0
ORDER BY s.source, s.location;

-- name: mark_stale
-- These are late from now on; each is told once. Returns which ones nobody had marked yet.
UPDATE stock_sources s SET stale_since = $3, alerted_at = $3
FROM unnest($1::text[], $2::text[]) AS g (source, location)
WHERE s.source = g.source AND s.location = g.location AND s.stale_since IS NULL
RETURNING s.source, s.location, s.received_at;

-- name: mark_fresh
-- These are back.
UPDATE stock_sources s SET stale_since = NULL, alerted_at = NULL
FROM unnest($1::text[], $2::text[]) AS g (source, location)
WHERE s.source = g.source AND s.location = g.location AND s.stale_since IS NOT NULL
RETURNING s.source, s.location;

-- name: note_stale
-- What is promised of these sources' stock is to be counted anew: it shrinks while they are silent.
INSERT INTO stock_changes (sku, owner_at)
SELECT DISTINCT s.sku, 'infinity'::timestamptz FROM stock s
JOIN unnest($1::text[], $2::text[]) AS g (source, location) ON s.source = g.source AND s.location = g.location
WHERE s.on_hand > 0;

-- name: refresh_speed
-- How fast each SKU sells: what orders of the last days took from stock, per day.
WITH span AS (
    SELECT greatest(1, least($2::numeric, extract(epoch FROM $1::timestamptz - min(accepted_at)) / 86400)) AS days
    FROM orders WHERE accepted_at >= $1::timestamptz - make_interval(days => $2::integer)
), sold AS (
    SELECT r.sku, sum(r.quantity - r.released) AS quantity
    FROM orders o JOIN reservations r USING (order_id)
    WHERE o.accepted_at >= $1::timestamptz - make_interval(days => $2::integer) AND r.location <> ''
    GROUP BY r.sku
), kept AS (
    INSERT INTO sales_speed (sku, per_day, as_of)
    SELECT sku, round(quantity / days, 4), $1 FROM sold, span WHERE quantity > 0
    ON CONFLICT (sku) DO UPDATE SET per_day = EXCLUDED.per_day, as_of = EXCLUDED.as_of
    RETURNING sku
)
SELECT count(*) FROM kept;

-- name: forget_speed
-- What did not sell in that time.
DELETE FROM sales_speed WHERE as_of < $1;

-- name: try_housekeeping
-- One process at a time does this.
SELECT pg_try_advisory_xact_lock(hashtext('crossdock.stock_watch'));
