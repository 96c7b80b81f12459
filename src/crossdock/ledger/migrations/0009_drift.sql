-- 0009_drift: differences between owners, Crossdock and channels: looked at twice, repaired, counted.

-- 'suspect': seen once, and it may explain itself. `tried_at`, `tries`: what was done about it. `ended_by`: who dismissed it.
ALTER TABLE stock_drift
    DROP CONSTRAINT stock_drift_state_check,
    ADD CONSTRAINT stock_drift_state_check CHECK (state IN ('suspect', 'open', 'repairing', 'repaired', 'dismissed')),
    ADD COLUMN tried_at timestamptz,
    ADD COLUMN tries    integer NOT NULL DEFAULT 0,
    ADD COLUMN ended_by text NOT NULL DEFAULT '';
DROP INDEX stock_drift_open;
CREATE UNIQUE INDEX stock_drift_open ON stock_drift (side, counterpart, sku, location)
    WHERE state IN ('suspect', 'open', 'repairing');
CREATE INDEX stock_drift_seen ON stock_drift (side, counterpart, seen_at) WHERE state IN ('suspect', 'open', 'repairing');
CREATE INDEX stock_drift_cause ON stock_drift (cause, drift_id DESC) WHERE state IN ('open', 'repairing');
CREATE INDEX stock_drift_dismissed ON stock_drift (side, counterpart, sku, location) WHERE state = 'dismissed';

-- Where the comparison with an owner stands at a place; whoever writes `compared_at` has the turn.
CREATE TABLE stock_comparisons (
    source       text NOT NULL,
    location     text NOT NULL,
    slice        text NOT NULL DEFAULT '',
    compared_at  timestamptz NOT NULL DEFAULT '-infinity',
    last_error   text,
    PRIMARY KEY (source, location)
) WITH (fillfactor = 50);

-- How many figures were compared, and how many of them were found to have drifted, by hour.
CREATE TABLE stock_compared (
    side         text NOT NULL,
    counterpart  text NOT NULL,
    hour         timestamptz NOT NULL,
    compared     bigint NOT NULL,
    drifted      bigint NOT NULL,
    PRIMARY KEY (side, counterpart, hour)
) WITH (fillfactor = 50);

-- Lists by SKU and channel page by these.
CREATE INDEX stock_place ON stock (location, sku);
CREATE INDEX orders_taken_short ON reservations (order_id) WHERE location = '';
