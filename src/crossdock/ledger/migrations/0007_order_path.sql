-- 0007_order_path: rows that are rewritten once stay where they are.

-- Shipping rewrites `shipped`. A predicate on it would make each such change write into every index of the table; the
-- column `waiting` is the same for all of them, so the change stays in its page, if there is room for it.
DROP INDEX reservations_waiting;
ALTER TABLE reservations
    ADD COLUMN waiting boolean NOT NULL GENERATED ALWAYS AS (location = '' AND quantity > shipped + released) STORED;
CREATE INDEX reservations_waiting ON reservations (order_id, sku) WHERE waiting;
ALTER TABLE reservations SET (fillfactor = 50);
