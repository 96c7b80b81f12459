-- 0015_first_figures: that a place has nothing is news the first time it is said. Forward only.

-- A channel that lists goods of which it was never told anything may sell them without limit.
CREATE OR REPLACE FUNCTION note_stock_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stock_changes (sku, owner_at)
    SELECT f.sku, max(CASE WHEN f.as_of > b.as_of THEN f.as_of ELSE now() END)
    FROM fresh f JOIN before b ON b.sku = f.sku AND b.location = f.location
    WHERE f.on_hand - f.quality_hold - f.damaged - f.reserved
          <> b.on_hand - b.quality_hold - b.damaged - b.reserved
       OR b.as_of = '-infinity' AND f.as_of > '-infinity'
    GROUP BY f.sku;
    RETURN NULL;
END $$;

INSERT INTO stock_changes (sku, owner_at)
SELECT DISTINCT sku, 'infinity'::timestamptz FROM stock s
WHERE as_of > '-infinity' AND NOT EXISTS (SELECT FROM publications p WHERE p.sku = s.sku);
