-- name: create_staging
-- A file's rows as they are, and what became of them; gone with the connection.
CREATE TEMPORARY TABLE load_rows (
    line bigint, sku text, location text, on_hand text, unit text, as_of text, quality_hold text, damaged text,
    in_transit text, lot text, expires_on text
);
CREATE TEMPORARY TABLE load_judged (
    line bigint, sku text, location text, lot text, on_hand numeric, quality_hold numeric, damaged numeric,
    in_transit numeric, as_of timestamptz, expires_on date, code text, owned boolean, stocked boolean
);
CREATE TEMPORARY TABLE load_twice (sku text, location text, lot text, PRIMARY KEY (sku, location, lot));

-- name: index_staging
-- Rows lie in the order of their lines.
CREATE INDEX load_rows_line ON load_rows USING brin (line) WITH (pages_per_range = 16);

-- name: analyze_staging
-- So that the next statements are planned for what is there.
ANALYZE load_rows;

-- name: find_twice
-- Places (and lots of them) that the file names more than once.
INSERT INTO load_twice SELECT sku, location, lot FROM load_rows GROUP BY sku, location, lot HAVING count(*) > 1;

-- name: count_falling
-- Rows that report nothing: at most so many can be of what the source has in stock.
SELECT count(*) FROM load_rows WHERE on_hand ~ '^[+-]?0*\.?0*$';

-- name: weigh_file
-- How many rows report nothing of what the source has in stock, and how many something.
SELECT count(*) FILTER (WHERE r.on_hand ~ '^[+-]?0*\.?0*$') AS falling,
       count(*) FILTER (WHERE r.on_hand !~ '^[+-]?0*\.?0*$') AS staying
FROM load_rows r JOIN stock s ON s.sku = r.sku AND s.location = r.location AND s.source = $1 AND s.reported > 0;

-- name: count_stocked
-- How much the source has in stock at the places of the file.
SELECT count(*) FROM stock WHERE source = $1 AND reported > 0
  AND location IN (SELECT DISTINCT location FROM load_rows);

-- name: count_negative
-- Rows below zero.
SELECT count(*) FROM load_rows WHERE on_hand LIKE '-%' AND on_hand ~ '[1-9]';

-- name: last_rows
-- Rows of the source's last complete reports of the places that the file names.
SELECT coalesce(sum(row_count), 0) FROM stock_sources
WHERE source = $1 AND location IN (SELECT DISTINCT location FROM load_rows);

-- name: clear_chunk
-- Before the next lines.
TRUNCATE load_judged;

-- name: choose_plans
-- A chunk is looked up in far larger tables: by their keys, not by reading all of them; and it is sorted in memory.
SELECT set_config('random_page_cost', '1.1', true), set_config('work_mem', '64MB', true);

-- name: judge_chunk
-- Lines in base units, or with the code of what is wrong with them. Each step is materialised: nothing is read twice.
-- `stocked`: something is known of the place, so that it is not tried as a new one.
WITH decimal AS MATERIALIZED (
    SELECT * FROM unnest($8::text[], $12::integer[]) AS d (unit, digits)
), owner AS MATERIALIZED (
    SELECT location, source, since, lead(since, 1, 'infinity') OVER (PARTITION BY location ORDER BY since) AS until
    FROM unnest($9::text[], $10::text[], $11::timestamptz[]) AS o (location, source, since)
), parsed AS MATERIALIZED (
    SELECT l.line, l.sku, l.location, l.lot, p.sku IS NOT NULL AS known, p.components IS NOT NULL AS is_kit,
           p.body ->> 'base_unit' AS base_unit, l.unit,
           CASE WHEN l.unit = '' OR l.unit = p.body ->> 'base_unit' THEN 1
                ELSE (SELECT k.base_quantity
                      FROM json_to_recordset(p.body -> 'packs') AS k (unit text, base_quantity numeric)
                      WHERE k.unit = l.unit) END AS size,
           CASE WHEN pg_input_is_valid(l.on_hand, 'numeric') THEN l.on_hand::numeric END AS on_hand,
           CASE WHEN l.quality_hold = '' THEN 0
                WHEN pg_input_is_valid(l.quality_hold, 'numeric') THEN l.quality_hold::numeric END AS quality_hold,
           CASE WHEN l.damaged = '' THEN 0
                WHEN pg_input_is_valid(l.damaged, 'numeric') THEN l.damaged::numeric END AS damaged,
           CASE WHEN l.in_transit = '' THEN 0
                WHEN pg_input_is_valid(l.in_transit, 'numeric') THEN l.in_transit::numeric END AS in_transit,
           CASE WHEN l.as_of = '' THEN $7::timestamptz
                WHEN pg_input_is_valid(l.as_of, 'timestamptz') THEN l.as_of::timestamptz END AS as_of,
           CASE WHEN l.expires_on = '' THEN NULL
                WHEN pg_input_is_valid(l.expires_on, 'date') THEN l.expires_on::date ELSE 'infinity' END AS expires_on
    FROM load_rows l LEFT JOIN products p ON p.sku = l.sku
    WHERE l.line BETWEEN $1 AND $2
)
INSERT INTO load_judged (line, sku, location, lot, on_hand, quality_hold, damaged, in_transit, as_of, expires_on, code,
                         owned, stocked)
SELECT r.line, r.sku, r.location, r.lot, greatest(r.on_hand, 0) * r.size, r.quality_hold * r.size, r.damaged * r.size,
       r.in_transit * r.size, r.as_of, nullif(r.expires_on, 'infinity'),
       CASE
           WHEN NOT r.known THEN 'sku_unknown'
           WHEN cardinality($6::text[]) > 0 AND r.location <> ALL ($6::text[]) THEN 'location_unknown'
           WHEN (r.on_hand <> 'NaN' AND abs(r.on_hand) < 'Infinity'
                 AND r.quality_hold + r.damaged + r.in_transit <> 'NaN'
                 AND abs(r.quality_hold + r.damaged + r.in_transit) < 'Infinity') IS NOT TRUE THEN 'quantity_form'
           WHEN r.size IS NULL THEN 'unit_impossible'
           WHEN r.as_of IS NULL OR r.as_of = '-infinity' THEN 'as_of_form'
           WHEN r.as_of > $4::timestamptz THEN 'as_of_future'
           WHEN r.expires_on = 'infinity' THEN 'date_form'
           WHEN least(r.quality_hold, r.damaged, r.in_transit) < 0 THEN 'quantity_negative'
           WHEN r.on_hand * r.size > $5::numeric THEN 'quantity_absurd'
           WHEN r.on_hand <> trunc(r.on_hand) AND scale(trim_scale(r.on_hand)) > coalesce(u.digits, 0)
             OR r.on_hand * r.size <> trunc(r.on_hand * r.size)
                AND scale(trim_scale(r.on_hand * r.size)) > coalesce(b.digits, 0)
             OR scale(trim_scale(r.quality_hold)) > coalesce(u.digits, 0)
             OR scale(trim_scale(r.damaged)) > coalesce(u.digits, 0) THEN 'quantity_fraction'
           WHEN r.is_kit AND r.on_hand <> 0 THEN 'kit_stock'
           WHEN (r.sku, r.location, r.lot) IN (SELECT sku, location, lot FROM load_twice) THEN 'row_twice'
           WHEN r.on_hand < 0 THEN 'quantity_negative'
           WHEN r.quality_hold + r.damaged > r.on_hand THEN 'parts_exceed'
       END,
       cardinality($9::text[]) = 0 OR coalesce(o.source, $3) = $3,
       EXISTS (SELECT FROM stock s WHERE s.sku = r.sku AND s.location = r.location)
FROM parsed r
LEFT JOIN decimal u ON u.unit = coalesce(nullif(r.unit, ''), r.base_unit)
LEFT JOIN decimal b ON b.unit = r.base_unit
LEFT JOIN owner o ON o.location = r.location AND o.since <= r.as_of AND r.as_of < o.until;

-- name: read_rejects
-- Lines of this chunk that were not taken as they are, with what they said.
SELECT j.line, j.code, l.sku, l.location, l.on_hand, l.unit, l.as_of
FROM load_judged j JOIN load_rows l USING (line)
WHERE j.code IS NOT NULL AND l.line BETWEEN $1 AND $2 ORDER BY j.line;

-- name: insert_chunk
-- Places that are new, as they are reported and with what moved since.
WITH rule AS (
    SELECT * FROM unnest($3::text[], $4::text[], $5::boolean[], $6::interval[]) AS r (location, source, told, skew)
), given AS (
    SELECT sku, location, sum(on_hand) AS on_hand, sum(quality_hold) AS quality_hold, sum(damaged) AS damaged,
           sum(in_transit) AS in_transit, max(as_of) AS as_of
    FROM load_judged WHERE (code IS NULL OR code = 'quantity_negative' AND on_hand = 0) AND owned AND NOT stocked
    GROUP BY sku, location
), fresh AS MATERIALIZED (
    SELECT g.*, coalesce(r.told, false) AS told, coalesce(r.skew, interval '0') AS skew
    FROM given g LEFT JOIN rule r ON r.location = g.location AND r.source = $1
), moved AS MATERIALIZED (
    SELECT f.sku, f.location, sum(m.quantity) AS quantity
    FROM fresh f JOIN stock_movements m ON m.sku = f.sku AND m.location = f.location
    WHERE greatest(m.at, m.happened_at) > f.as_of - f.skew
      AND is_missing(m.kind, m.quantity, m.at, m.happened_at, f.as_of, f.told, f.skew)
    GROUP BY f.sku, f.location
)
INSERT INTO stock (sku, location, on_hand, reported, quality_hold, damaged, in_transit, source, as_of, reported_at)
SELECT f.sku, f.location, f.on_hand + coalesce(m.quantity, 0), f.on_hand, f.quality_hold, f.damaged, f.in_transit, $1,
       f.as_of, $2
FROM fresh f LEFT JOIN moved m ON m.sku = f.sku AND m.location = f.location
ORDER BY f.sku, f.location
ON CONFLICT DO NOTHING;

-- name: lock_chunk
-- Places of this chunk of which something else was known, locked in the one order.
WITH given AS MATERIALIZED (
    SELECT sku, location, sum(on_hand) AS on_hand, sum(quality_hold) AS quality_hold, sum(damaged) AS damaged,
           sum(in_transit) AS in_transit, max(as_of) AS as_of
    FROM load_judged WHERE (code IS NULL OR code = 'quantity_negative' AND on_hand = 0) AND owned
    GROUP BY sku, location
)
SELECT count(*) FROM (
    SELECT FROM given g JOIN stock s ON s.sku = g.sku AND s.location = g.location
    WHERE s.as_of <= g.as_of AND (s.as_of, s.reported, s.quality_hold, s.damaged, s.in_transit, s.source)
          IS DISTINCT FROM (g.as_of, g.on_hand, g.quality_hold, g.damaged, g.in_transit, $1::text)
    ORDER BY s.sku, s.location FOR UPDATE OF s
) AS locked;

-- name: place_chunk
-- These places as they are reported and with what moved since; their lots are told anew.
WITH rule AS (
    SELECT * FROM unnest($3::text[], $4::text[], $5::boolean[], $6::interval[]) AS r (location, source, told, skew)
), given AS MATERIALIZED (
    SELECT sku, location, sum(on_hand) AS on_hand, sum(quality_hold) AS quality_hold, sum(damaged) AS damaged,
           sum(in_transit) AS in_transit, max(as_of) AS as_of
    FROM load_judged WHERE (code IS NULL OR code = 'quantity_negative' AND on_hand = 0) AND owned
    GROUP BY sku, location
), fresh AS MATERIALIZED (
    SELECT g.*, coalesce(r.told, false) AS told, coalesce(r.skew, interval '0') AS skew
    FROM given g JOIN stock s ON s.sku = g.sku AND s.location = g.location
    LEFT JOIN rule r ON r.location = g.location AND r.source = $1
    WHERE s.as_of <= g.as_of AND (s.as_of, s.reported, s.quality_hold, s.damaged, s.in_transit, s.source)
          IS DISTINCT FROM (g.as_of, g.on_hand, g.quality_hold, g.damaged, g.in_transit, $1::text)
), moved AS MATERIALIZED (
    SELECT f.sku, f.location, sum(m.quantity) AS quantity
    FROM fresh f JOIN stock_movements m ON m.sku = f.sku AND m.location = f.location
    WHERE greatest(m.at, m.happened_at) > f.as_of - f.skew
      AND is_missing(m.kind, m.quantity, m.at, m.happened_at, f.as_of, f.told, f.skew)
    GROUP BY f.sku, f.location
), placed AS (
    UPDATE stock s SET reported = f.on_hand, on_hand = f.on_hand + coalesce(m.quantity, 0),
      quality_hold = f.quality_hold, damaged = f.damaged, in_transit = f.in_transit, source = $1, as_of = f.as_of, reported_at = $2
    FROM fresh f LEFT JOIN moved m ON m.sku = f.sku AND m.location = f.location
    WHERE s.sku = f.sku AND s.location = f.location
    RETURNING s.sku, s.location
), cleared AS (
    DELETE FROM stock_lots l USING placed p WHERE l.sku = p.sku AND l.location = p.location
)
SELECT count(*) FROM placed;

-- name: read_lots
-- Lots of this chunk.
SELECT sku, location, lot, '' AS serial, on_hand, expires_on, as_of FROM load_judged
WHERE lot <> '' AND code IS NULL AND owned ORDER BY sku, location;

-- name: read_foreign
-- Rows of this chunk about places that somebody else owns.
SELECT sku, location, on_hand, quality_hold, damaged, in_transit, as_of FROM load_judged
WHERE code IS NULL AND NOT owned;

-- name: read_heard
-- Places that the chunk reports, with their youngest time and number of rows.
SELECT location, max(as_of), count(*), min(as_of) FROM load_judged
WHERE (code IS NULL OR code = 'quantity_negative') AND as_of IS NOT NULL GROUP BY location;

-- name: drop_staging
-- The connection goes back without them.
DROP TABLE IF EXISTS load_rows, load_judged, load_twice;
