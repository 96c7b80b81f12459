-- 0003_inventory: who owns stock where, what moved since its owner counted it, carts' holds, what channels are told.

-- The owner's figure as it was reported at `as_of` is `reported`. `on_hand` is that figure plus every movement that it
-- does not contain yet. What may be promised is on_hand - quality_hold - damaged - reserved.
ALTER TABLE stock
    ADD COLUMN reported     numeric NOT NULL DEFAULT 0,
    ADD COLUMN quality_hold numeric NOT NULL DEFAULT 0,
    ADD COLUMN damaged      numeric NOT NULL DEFAULT 0,
    ADD COLUMN in_transit   numeric NOT NULL DEFAULT 0;
UPDATE stock SET reported = on_hand;

-- What moved at a place, in base units, negative when it left. `at` is when the place's owner knew of it, by the
-- owner's clock: a balance with `as_of` >= `at` contains it. 'infinity': the owner has not acknowledged it yet.
CREATE TABLE stock_movements (
    connection   text NOT NULL,
    key          text NOT NULL,
    sku          text NOT NULL,
    location     text NOT NULL,
    quantity     numeric NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('departure', 'commitment', 'cancellation', 'receipt', 'adjustment')),
    happened_at  timestamptz NOT NULL,
    at           timestamptz NOT NULL,
    order_id     bigint,
    received_at  timestamptz NOT NULL,
    PRIMARY KEY (key, sku, location, connection)
);
CREATE INDEX stock_movements_place ON stock_movements (sku, location, at);
CREATE INDEX stock_movements_unacknowledged ON stock_movements (order_id) WHERE at = 'infinity';

-- The last report about a place by anyone who does not own it, or that was held: shown, never applied.
CREATE TABLE stock_reports (
    sku          text NOT NULL,
    location     text NOT NULL,
    source       text NOT NULL,
    on_hand      numeric NOT NULL,
    quality_hold numeric NOT NULL DEFAULT 0,
    damaged      numeric NOT NULL DEFAULT 0,
    in_transit   numeric NOT NULL DEFAULT 0,
    as_of        timestamptz NOT NULL,
    received_at  timestamptz NOT NULL,
    standing     text NOT NULL CHECK (standing IN ('not_owner', 'held')),
    difference   numeric NOT NULL, -- this report minus what we believed when it came
    PRIMARY KEY (sku, location, source)
) WITH (fillfactor = 70);

-- Each source of balances per location, and its rhythm.
CREATE TABLE stock_sources (
    source          text NOT NULL,
    location        text NOT NULL,
    as_of           timestamptz NOT NULL,
    received_at     timestamptz NOT NULL,
    rhythm_seconds  numeric,             -- usual time between reports; null until there were two
    row_count       bigint NOT NULL DEFAULT 0,  -- rows of the last complete report
    stale_since     timestamptz,
    alerted_at      timestamptz,
    held_since      timestamptz,
    held_reason     text,
    PRIMARY KEY (source, location)
) WITH (fillfactor = 50);

CREATE TABLE stock_lots (
    sku        text NOT NULL,
    location   text NOT NULL,
    lot        text NOT NULL,
    serial     text NOT NULL DEFAULT '',
    quantity   numeric NOT NULL,
    expires_on date,
    as_of      timestamptz NOT NULL,
    PRIMARY KEY (sku, location, lot, serial)
);

-- What suppliers will bring, by purchase order; `quantity` is what is still to come, in base units.
CREATE TABLE inbound_supply (
    purchase_order text NOT NULL,
    line           text NOT NULL,
    sku            text NOT NULL,
    location       text NOT NULL,
    quantity       numeric NOT NULL CHECK (quantity >= 0),
    expected_on    date NOT NULL,
    source         text NOT NULL,
    as_of          timestamptz NOT NULL,
    PRIMARY KEY (purchase_order, line, source)
);
CREATE INDEX inbound_supply_sku ON inbound_supply (sku, expected_on) WHERE quantity > 0;

-- A kit's line holds its components, so a line may hold several SKUs at a location.
ALTER TABLE reservations DROP CONSTRAINT reservations_pkey;
ALTER TABLE reservations ADD PRIMARY KEY (order_id, line, location, sku);

-- Stock held for a cart. Its quantities stand in `reservations` under `hold_id`, which comes from order_numbers.
CREATE TABLE stock_holds (
    hold_id      bigint PRIMARY KEY,
    reservation  text NOT NULL UNIQUE,
    channel      text NOT NULL,
    reference    text NOT NULL,
    state        text NOT NULL CHECK (state IN ('reserved', 'committed', 'released', 'expired')),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    order_id     bigint,
    body         json NOT NULL,
    UNIQUE (channel, reference)
) WITH (fillfactor = 70);
CREATE INDEX stock_holds_expiry ON stock_holds (expires_at) WHERE state = 'reserved';

-- SKUs whose availability changed and was not looked at yet. Filled by triggers, so that no path can forget it.
-- `owner_at` 'infinity': not an owner's doing (master data, policy), so no delay is measured from it. `channel`: that
-- channel is to be told again although its figure may be the same, because it counted for itself meanwhile.
CREATE TABLE stock_changes (
    change_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku        text NOT NULL,
    owner_at   timestamptz NOT NULL,
    channel    text NOT NULL DEFAULT ''
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE FUNCTION note_stock_inserts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stock_changes (sku, owner_at) SELECT sku, max(as_of) FROM fresh GROUP BY sku;
    RETURN NULL;
END $$;
-- An own movement of stock (a reservation, a departure) is as young as now; a report is as old as its `as_of`.
CREATE FUNCTION note_stock_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stock_changes (sku, owner_at)
    SELECT f.sku, max(CASE WHEN f.as_of > b.as_of THEN f.as_of ELSE now() END)
    FROM fresh f JOIN before b ON b.sku = f.sku AND b.location = f.location
    WHERE f.on_hand - f.quality_hold - f.damaged - f.reserved
          <> b.on_hand - b.quality_hold - b.damaged - b.reserved
    GROUP BY f.sku;
    RETURN NULL;
END $$;
CREATE TRIGGER stock_inserted AFTER INSERT ON stock REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION note_stock_inserts();
CREATE TRIGGER stock_changed AFTER UPDATE ON stock REFERENCING OLD TABLE AS before NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION note_stock_changes();

-- What changes a promise without stock having moved: the product, its supply, the unit in which a channel lists it.
CREATE FUNCTION note_promise_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stock_changes (sku, owner_at) SELECT DISTINCT sku, 'infinity'::timestamptz FROM fresh;
    RETURN NULL;
END $$;
CREATE FUNCTION note_product_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stock_changes (sku, owner_at)
    SELECT f.sku, 'infinity'::timestamptz FROM fresh f JOIN before b ON b.sku = f.sku
    WHERE f.body::text <> b.body::text;
    RETURN NULL;
END $$;
CREATE TRIGGER product_inserted AFTER INSERT ON products REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION note_promise_changes();
CREATE TRIGGER product_changed AFTER UPDATE ON products REFERENCING OLD TABLE AS before NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION note_product_changes();
CREATE TRIGGER inbound_inserted AFTER INSERT ON inbound_supply REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION note_promise_changes();
CREATE TRIGGER inbound_changed AFTER UPDATE ON inbound_supply REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION note_promise_changes();

-- Of which SKUs a kit is made, so that the kits of a component are found.
CREATE FUNCTION component_skus(body json) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(part ->> 'sku') FROM json_array_elements(body -> 'components') AS part
$$;
ALTER TABLE products ADD COLUMN components text[] GENERATED ALWAYS AS (component_skus(body)) STORED;
CREATE INDEX products_components ON products USING gin (components) WHERE components IS NOT NULL;

-- How fast a SKU sells, base units a day: what a silent feed may have lost.
CREATE TABLE sales_speed (
    sku      text PRIMARY KEY,
    per_day  numeric NOT NULL,
    as_of    timestamptz NOT NULL
);

-- What a channel sells and in which unit; a SKU without a row is sold in its base unit where policy lists everything.
CREATE TABLE listings (
    channel  text NOT NULL,
    sku      text NOT NULL,
    unit     text NOT NULL,
    listed   boolean NOT NULL DEFAULT true,
    PRIMARY KEY (channel, sku)
);
CREATE TRIGGER listing_inserted AFTER INSERT ON listings REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION note_promise_changes();
CREATE TRIGGER listing_changed AFTER UPDATE ON listings REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION note_promise_changes();

-- Per channel and SKU: what it should show and what it acknowledged, in the listing's unit. State, not a queue.
CREATE TABLE publications (
    channel               text NOT NULL,
    sku                   text NOT NULL,
    unit                  text NOT NULL,
    wanted                numeric NOT NULL,
    promise_on            date,
    wanted_version        bigint NOT NULL DEFAULT 1,
    wanted_at             timestamptz NOT NULL,    -- since when the wanted figure differs from the acknowledged one
    owner_at              timestamptz NOT NULL,    -- the owner's commit of the oldest change not acknowledged yet
    computed_at           timestamptz NOT NULL,    -- the figure contains what was committed here before
    acknowledged          numeric,
    acknowledged_version  bigint NOT NULL DEFAULT 0,
    acknowledged_at       timestamptz,
    previous              numeric,                 -- acknowledged before that
    sent_version          bigint NOT NULL DEFAULT 0,
    sent                  numeric,                 -- the figure that `feed` carries
    feed                  text,                    -- the partner's number of the feed that carries `sent_version`
    urgency               smallint NOT NULL DEFAULT 1, -- 0: about to sell out, or sold out
    attempt               integer NOT NULL DEFAULT 0,
    due_at                timestamptz NOT NULL DEFAULT '-infinity',
    parked                boolean NOT NULL DEFAULT false,
    error_code            text,
    error_message         text,
    PRIMARY KEY (channel, sku)
) WITH (fillfactor = 60);
CREATE INDEX publications_due ON publications (channel, urgency, wanted_at)
    WHERE wanted_version > acknowledged_version AND NOT parked;
CREATE INDEX publications_parked ON publications (channel, error_code) WHERE parked;
CREATE INDEX publications_fed ON publications (channel, feed) WHERE feed IS NOT NULL;

-- A channel's lane for stock: its own pace, so that sales never wait; held by one worker at a time.
CREATE TABLE publication_lanes (
    channel        text PRIMARY KEY,
    leased_by      text,
    leased_until   timestamptz,
    blocked_until  timestamptz NOT NULL DEFAULT '-infinity',
    tokens         numeric NOT NULL DEFAULT 0,
    refilled_at    timestamptz NOT NULL DEFAULT '-infinity',
    feed           text,                 -- a feed that the partner still works on
    feed_sent_at   timestamptz,
    failures       integer NOT NULL DEFAULT 0,
    last_ok_at     timestamptz,
    last_error     text,
    policy_version text NOT NULL DEFAULT '', -- under which policy all its figures were counted
    slice          text NOT NULL DEFAULT ''  -- where the comparison with this channel stands: the last SKU looked at
) WITH (fillfactor = 50);

-- From the owner's commit to the channel's acknowledgment: counts per minute and doubling bucket of milliseconds.
CREATE TABLE stock_latency (
    channel  text NOT NULL,
    minute   timestamptz NOT NULL,
    bucket   smallint NOT NULL,
    count    bigint NOT NULL,
    PRIMARY KEY (channel, minute, bucket)
);

-- Where owner, Crossdock and a channel disagree. `counterpart` is the owner's connection or the channel.
CREATE TABLE stock_drift (
    drift_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    side         text NOT NULL CHECK (side IN ('owner', 'channel')),
    counterpart  text NOT NULL,
    sku          text NOT NULL,
    location     text NOT NULL DEFAULT '',
    expected     numeric,
    found        numeric,
    cause        text NOT NULL CHECK (cause IN ('late', 'dropped', 'unit', 'rival_writer', 'unknown_sku', 'unlisted')),
    amount       numeric NOT NULL DEFAULT 0,     -- money at stake, in the cell's currency
    currency     text NOT NULL DEFAULT '',
    proposal     text NOT NULL,
    state        text NOT NULL CHECK (state IN ('open', 'repairing', 'repaired', 'dismissed')),
    found_at     timestamptz NOT NULL,
    seen_at      timestamptz NOT NULL,
    ended_at     timestamptz
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX stock_drift_open ON stock_drift (side, counterpart, sku, location) WHERE state IN ('open', 'repairing');
CREATE INDEX stock_drift_found ON stock_drift (found_at DESC);
