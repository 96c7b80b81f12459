-- 0001_ledger: inbox, orders, stock, credit, steps, events, connections, clients. Forward only.

-- What arrived: one row a fact, unique by business key and version, raw payload kept, committed before it is acknowledged.
CREATE TABLE facts (
    fact_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connection       text NOT NULL,
    kind             text NOT NULL,
    business_key     text NOT NULL,
    version          text NOT NULL,
    subject          text NOT NULL,
    state            text NOT NULL CHECK (state IN ('waiting', 'early', 'applied', 'ignored', 'quarantined')),
    order_id         bigint,
    idempotency_key  text,
    body_hash        bytea,
    body             json NOT NULL,
    raw              bytea, -- the payload as received; null where `body` is just that
    answer           json,
    occurred_at      timestamptz,
    received_at      timestamptz NOT NULL,
    due_at           timestamptz NOT NULL,
    attempt          integer NOT NULL DEFAULT 0,
    cause            text,
    message          text,
    owner            text,
    next_action      text,
    traceparent      text NOT NULL DEFAULT '',
    UNIQUE (business_key, connection, kind, version)
);
CREATE UNIQUE INDEX facts_idempotency ON facts (connection, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX facts_waiting ON facts (due_at, fact_id) WHERE state = 'waiting';
CREATE INDEX facts_early ON facts (connection, subject) WHERE state = 'early';
CREATE INDEX facts_quarantined ON facts (fact_id) WHERE state = 'quarantined';
CREATE INDEX facts_order ON facts (order_id) WHERE order_id IS NOT NULL;

-- Master data, each kept whole in `body`; `changed` is the reference version at which the row last changed.
CREATE TABLE reference_version (single boolean PRIMARY KEY DEFAULT true CHECK (single), version bigint NOT NULL);
INSERT INTO reference_version (version) VALUES (0);
CREATE TABLE products (
    sku         text PRIMARY KEY,
    name        text NOT NULL,
    status      text NOT NULL,
    body        json NOT NULL,
    source      text NOT NULL,
    reported_at timestamptz NOT NULL,
    changed     bigint NOT NULL
);
CREATE INDEX products_changed ON products (changed);
CREATE TABLE product_codes (gtin text PRIMARY KEY, sku text NOT NULL, unit text NOT NULL);
CREATE INDEX product_codes_sku ON product_codes (sku);
CREATE TABLE price_agreements (
    agreement   text PRIMARY KEY,
    sku         text NOT NULL,
    body        json NOT NULL,
    source      text NOT NULL,
    reported_at timestamptz NOT NULL,
    changed     bigint NOT NULL
);
CREATE INDEX price_agreements_sku ON price_agreements (sku);
CREATE INDEX price_agreements_changed ON price_agreements (changed);
CREATE TABLE customers (
    code        text PRIMARY KEY,
    name        text NOT NULL,
    status      text NOT NULL,
    body        json NOT NULL,
    source      text NOT NULL,
    reported_at timestamptz NOT NULL,
    changed     bigint NOT NULL
);
CREATE INDEX customers_changed ON customers (changed);

-- Credit exposure of a business account in its own currency: what it owes and what it has on order.
CREATE TABLE accounts (
    customer       text PRIMARY KEY,
    open_orders    numeric NOT NULL DEFAULT 0 CHECK (open_orders >= 0),
    open_invoices  numeric NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Stock per SKU and location in base units. `reserved` is what orders hold that `on_hand` still contains.
CREATE TABLE stock (
    sku         text NOT NULL,
    location    text NOT NULL,
    on_hand     numeric NOT NULL,
    reserved    numeric NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    source      text NOT NULL,
    as_of       timestamptz NOT NULL,
    reported_at timestamptz NOT NULL,
    PRIMARY KEY (sku, location)
) WITH (fillfactor = 50);
-- What left a location, to correct a balance that was taken before it left.
CREATE TABLE stock_departures (
    sku         text NOT NULL,
    location    text NOT NULL,
    at          timestamptz NOT NULL,
    quantity    numeric NOT NULL,
    order_id    bigint NOT NULL,
    shipment    text NOT NULL
);
CREATE INDEX stock_departures_place ON stock_departures (sku, location, at);

CREATE SEQUENCE order_numbers;
-- The order as accepted: written once.
CREATE TABLE orders (
    order_id        bigint PRIMARY KEY,
    number          text NOT NULL,
    channel         text NOT NULL,
    channel_number  text NOT NULL,
    customer        text NOT NULL,
    order_type      text NOT NULL,
    region          text NOT NULL,
    currency        text NOT NULL,
    net             numeric NOT NULL,
    line_count      integer NOT NULL,
    plan            text NOT NULL,
    placed_at       timestamptz NOT NULL,
    accepted_at     timestamptz NOT NULL,
    traceparent     text NOT NULL DEFAULT '',
    body            json NOT NULL,
    UNIQUE (channel_number, channel)
);
CREATE INDEX orders_customer ON orders (customer, order_id DESC) WHERE customer <> '';
CREATE INDEX orders_channel ON orders (channel, order_id DESC);
-- How far it has come: rewritten by every decision. `event_count` gives events their gapless version.
CREATE TABLE order_progress (
    order_id     bigint PRIMARY KEY,
    state        text NOT NULL,
    version      integer NOT NULL,
    event_count  integer NOT NULL,
    steps_open   integer NOT NULL,
    hold_cause   text,
    hold_owner   text,
    held_since   timestamptz,
    decided_at   timestamptz NOT NULL,
    progress     json NOT NULL
) WITH (fillfactor = 60);
CREATE INDEX order_progress_state ON order_progress (state, order_id DESC);
CREATE INDEX order_progress_held ON order_progress (hold_cause, order_id) WHERE hold_cause IS NOT NULL;

-- What an order holds where, in base units: quantity = open + shipped + released. Location '' waits for supply.
CREATE TABLE reservations (
    order_id  bigint NOT NULL,
    line      text NOT NULL,
    location  text NOT NULL,
    sku       text NOT NULL,
    quantity  numeric NOT NULL,
    shipped   numeric NOT NULL DEFAULT 0,
    released  numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (order_id, line, location),
    CHECK (shipped >= 0 AND released >= 0 AND shipped + released <= quantity)
) WITH (fillfactor = 80);
CREATE INDEX reservations_sku ON reservations (sku, order_id DESC);
CREATE INDEX reservations_waiting ON reservations (order_id, sku) WHERE location = '' AND quantity > shipped + released;

-- One thing to be done at one system.
CREATE TABLE steps (
    order_id      bigint NOT NULL,
    name          text NOT NULL,
    connection    text NOT NULL,
    operation     text NOT NULL,
    state         text NOT NULL CHECK (state IN ('waiting', 'ready', 'sending', 'in_doubt', 'done', 'cancelled', 'failed', 'quarantined')),
    doubt         boolean NOT NULL DEFAULT false,
    attempt       integer NOT NULL DEFAULT 0,
    failures      integer NOT NULL DEFAULT 0,
    needs         text[] NOT NULL,
    created_at    timestamptz NOT NULL,
    due_at        timestamptz NOT NULL,
    started_at    timestamptz,
    done_at       timestamptz,
    leased_by     text,
    leased_until  timestamptz,
    external_id   text,
    error_kind    text,
    error_code    text,
    error_message text,
    next_action   text,
    payload       json NOT NULL,
    result        json,
    exchanges     json,
    PRIMARY KEY (order_id, name)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE INDEX steps_due ON steps (connection, operation, order_id, due_at) WHERE state IN ('ready', 'in_doubt');
CREATE INDEX steps_leased ON steps (leased_until) WHERE state = 'sending';
CREATE INDEX steps_parked ON steps (connection, error_code, order_id) WHERE state = 'quarantined';
CREATE INDEX steps_waiting ON steps (connection, operation) WHERE state = 'waiting';
CREATE INDEX steps_external ON steps (external_id) WHERE external_id IS NOT NULL;
-- Every attempt that did not simply succeed (the successful one stands on the step).
CREATE TABLE step_attempts (
    order_id    bigint NOT NULL,
    name        text NOT NULL,
    attempt     integer NOT NULL,
    worker      text NOT NULL,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz NOT NULL,
    outcome     text NOT NULL,
    error_code  text,
    error_message text,
    detail      text,
    exchanges   json,
    PRIMARY KEY (order_id, name, attempt, outcome)
);

CREATE TABLE shipments (
    shipment     text NOT NULL,
    connection   text NOT NULL,
    order_id     bigint NOT NULL,
    warehouse    text NOT NULL,
    shipped_at   timestamptz NOT NULL,
    received_at  timestamptz NOT NULL,
    delivered_at timestamptz,
    part         json NOT NULL,
    PRIMARY KEY (shipment, connection)
);
CREATE INDEX shipments_order ON shipments (order_id);
CREATE TABLE shipment_packages (
    tracking  text NOT NULL,
    sscc      text NOT NULL,
    shipment  text NOT NULL,
    order_id  bigint NOT NULL,
    PRIMARY KEY (tracking, sscc)
);
CREATE INDEX shipment_packages_sscc ON shipment_packages (sscc);
CREATE TABLE invoices (
    order_id   bigint NOT NULL,
    shipment   text NOT NULL,
    number     text NOT NULL,
    customer   text NOT NULL,
    currency   text NOT NULL,
    net        numeric NOT NULL,
    tax        numeric NOT NULL,
    posted_at  timestamptz NOT NULL,
    PRIMARY KEY (order_id, shipment)
);
CREATE INDEX invoices_number ON invoices (number);
CREATE INDEX invoices_customer ON invoices (customer, posted_at) WHERE customer <> '';
CREATE TABLE payments (
    order_id     bigint NOT NULL,
    kind         text NOT NULL,
    reference    text NOT NULL,
    currency     text NOT NULL,
    amount       numeric NOT NULL,
    external_id  text NOT NULL,
    at           timestamptz NOT NULL,
    PRIMARY KEY (order_id, kind, reference)
);

-- The log: what happened. `version` is gapless per document; `transaction` lets a reader stop before unfinished writers.
CREATE TABLE events (
    sequence     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id     bigint NOT NULL,
    version      integer NOT NULL,
    type         text NOT NULL,
    at           timestamptz NOT NULL,
    body         json NOT NULL,
    transaction  xid8 NOT NULL DEFAULT pg_current_xact_id(),
    UNIQUE (order_id, version)
);

-- Each configured partner system: pause switch, shared rate limit (token bucket) and last signs of life.
CREATE TABLE connections (
    connection       text PRIMARY KEY,
    system           text NOT NULL,
    paused           boolean NOT NULL DEFAULT false,
    paused_by        text,
    paused_at        timestamptz,
    blocked_until    timestamptz NOT NULL DEFAULT '-infinity',
    calls_per_second numeric,
    burst            numeric NOT NULL DEFAULT 1,
    tokens           numeric NOT NULL DEFAULT 1,
    refilled_at      timestamptz NOT NULL DEFAULT '-infinity',
    last_ok_at       timestamptz,
    last_error_at    timestamptz,
    last_error       text
) WITH (fillfactor = 50);
-- The breaker of each (connection, operation).
CREATE TABLE lanes (
    connection    text NOT NULL,
    operation     text NOT NULL,
    state         text NOT NULL DEFAULT 'closed' CHECK (state IN ('closed', 'open', 'half_open')),
    failures      integer NOT NULL DEFAULT 0,
    opened_at     timestamptz,
    retry_at      timestamptz,
    override      text CHECK (override IN ('open', 'closed')),
    override_by   text,
    PRIMARY KEY (connection, operation)
) WITH (fillfactor = 50);
-- Where each polled feed stands.
CREATE TABLE feeds (
    connection     text NOT NULL,
    feed           text NOT NULL,
    cursor         text NOT NULL DEFAULT '',
    due_at         timestamptz NOT NULL DEFAULT '-infinity',
    interval_seconds numeric NOT NULL DEFAULT 10,
    read_at        timestamptz,
    changed_at     timestamptz,
    leased_by      text,
    leased_until   timestamptz,
    failures       integer NOT NULL DEFAULT 0,
    error_code     text,
    error_message  text,
    PRIMARY KEY (connection, feed)
) WITH (fillfactor = 50);
-- Which worker and API processes are alive.
CREATE TABLE processes (
    process     text PRIMARY KEY,
    kind        text NOT NULL,
    started_at  timestamptz NOT NULL,
    seen_at     timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Who may call. Secrets are kept as hashes only.
CREATE TABLE api_clients (
    client_id    text PRIMARY KEY,
    name         text NOT NULL,
    secret_hash  bytea NOT NULL,
    scopes       text[] NOT NULL,
    channels     text[] NOT NULL,
    active       boolean NOT NULL DEFAULT true,
    created_at   timestamptz NOT NULL
);
CREATE TABLE api_tokens (
    token_hash  bytea PRIMARY KEY,
    client_id   text NOT NULL,
    scopes      text[] NOT NULL,
    expires_at  timestamptz NOT NULL
);
CREATE INDEX api_tokens_expires ON api_tokens (expires_at);
CREATE TABLE console_users (
    name           text PRIMARY KEY,
    password_hash  text NOT NULL,
    role           text NOT NULL CHECK (role IN ('viewer', 'operator', 'administrator')),
    active         boolean NOT NULL DEFAULT true
);
CREATE TABLE console_sessions (
    session_hash  bytea PRIMARY KEY,
    name          text NOT NULL,
    form_token    text NOT NULL,
    expires_at    timestamptz NOT NULL
);
-- Failed sign-ins and client authentications, to slow guessing down.
CREATE TABLE sign_in_failures (subject text NOT NULL, at timestamptz NOT NULL);
CREATE INDEX sign_in_failures_subject ON sign_in_failures (subject, at);
-- What operators did.
CREATE TABLE audit (
    audit_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL,
    actor     text NOT NULL,
    action    text NOT NULL,
    subject   text NOT NULL,
    detail    json NOT NULL
);
