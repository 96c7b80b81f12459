-- 0004_stock_watermarks: what an owner's balance contains, reports in parts, reports that a person let through.

-- A movement has two watermarks. `at`: when an owner who must be told (the ERP) knew of it; 'infinity' until it
-- acknowledged. `happened_at`: when goods moved, by the warehouse's clock; 'infinity' for what moves nothing (an order
-- in the owner's books). A balance of an owner who is told is compared with `at`, any other's with `happened_at`, so a
-- place can change hands. What is younger than the balance by either is found by one index.
DROP INDEX stock_movements_place;
CREATE INDEX stock_movements_place ON stock_movements (sku, location, (greatest(at, happened_at)));
CREATE INDEX stock_movements_order ON stock_movements (order_id) WHERE order_id IS NOT NULL AND kind <> 'departure';

-- Does a balance as of `as_of` lack this movement, so that it must be added? In doubt (within `skew`) goods are taken
-- as gone and not as come: what left counts unless it is surely contained, what came only if it surely is not. A
-- cancellation gives nothing back before the owner acknowledged it.
CREATE FUNCTION is_missing(
    kind text, quantity numeric, at timestamptz, happened_at timestamptz, as_of timestamptz, told boolean, skew interval
) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN quantity < 0 THEN (CASE WHEN told THEN at ELSE happened_at END) + skew > as_of
        WHEN told AND kind = 'cancellation' AND at = 'infinity' THEN false
        ELSE (CASE WHEN told THEN at ELSE happened_at END) - skew > as_of
    END
$$;

-- `committed`: the part of what is open that stands in the owner's books as an order, and so is no longer `reserved`.
ALTER TABLE reservations ADD COLUMN committed numeric NOT NULL DEFAULT 0;
ALTER TABLE reservations ADD CHECK (committed >= 0 AND shipped + released + committed <= quantity);

-- The parts of complete reports that came so far; only all of them say what is not there any more.
CREATE TABLE stock_snapshots (
    source       text NOT NULL,
    snapshot     text NOT NULL,
    part         integer NOT NULL,
    parts        integer NOT NULL,
    row_count    bigint NOT NULL,
    locations    text[] NOT NULL,
    as_of        timestamptz NOT NULL,
    received_at  timestamptz NOT NULL,
    PRIMARY KEY (source, snapshot, part)
);

-- Reports that were held for a person: one that comes again was let through.
CREATE TABLE stock_held_facts (
    fact_id  bigint PRIMARY KEY,
    reason   text NOT NULL,
    held_at  timestamptz NOT NULL
);

-- A place that is only known from movements so far is no news.
CREATE OR REPLACE FUNCTION note_stock_inserts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stock_changes (sku, owner_at) SELECT sku, max(as_of) FROM fresh WHERE as_of > '-infinity' GROUP BY sku;
    RETURN NULL;
END $$;

-- All that moved since the owners' balances, as the rows should have it: every path must agree with this.
CREATE FUNCTION recount_stock(skus text[], locations text[], sources text[], told_sources boolean[], skews interval[])
RETURNS TABLE (sku text, location text, on_hand numeric) LANGUAGE sql STABLE AS $$
    WITH rule AS (SELECT * FROM unnest(locations, sources, told_sources, skews) AS r (location, source, told, skew))
    SELECT s.sku, s.location, s.reported + coalesce((
        SELECT sum(m.quantity) FROM stock_movements m
        WHERE m.sku = s.sku AND m.location = s.location
          AND greatest(m.at, m.happened_at) > s.as_of - coalesce(r.skew, interval '0')
          AND is_missing(m.kind, m.quantity, m.at, m.happened_at, s.as_of, coalesce(r.told, false),
                         coalesce(r.skew, interval '0'))
    ), 0)
    FROM stock s LEFT JOIN rule r ON r.location = s.location AND r.source = s.source
    WHERE skus IS NULL OR s.sku = ANY (skus)
$$;
