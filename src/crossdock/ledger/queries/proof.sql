-- name: empty_everything
-- A simulation begins with empty tables and numbers from the beginning. What is empty already stays as it is.
DO $$
DECLARE names text;
BEGIN
    SELECT string_agg(format('%I', relname), ', ' ORDER BY relname) INTO names FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'migrations' AND pg_relation_size(oid) > 0;
    IF names IS NOT NULL THEN
        EXECUTE 'TRUNCATE ' || names || ' RESTART IDENTITY';
    END IF;
    INSERT INTO reference_version (version) VALUES (0);
    PERFORM setval('order_numbers', 1, false);
END $$;

-- name: copy_template
-- A simulation's own database, empty and migrated.
SELECT format('CREATE DATABASE %I', $1::text);

-- name: drop_copy
-- The end of it.
SELECT format('DROP DATABASE IF EXISTS %I WITH (FORCE)', $1::text);

-- name: forget_plans
-- Statements stay prepared, their plans go.
DISCARD PLANS;

-- name: count_others
-- Who else is connected to the server.
SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid();

-- name: orders
-- Orders as accepted and how far they came.
SELECT o.order_id, o.number, o.channel, o.channel_number, o.customer, o.net, o.accepted_at, o.body, p.state, p.version, p.event_count, p.steps_open,
       p.progress
FROM orders o JOIN order_progress p USING (order_id) ORDER BY o.order_id;

-- name: steps
-- All steps.
SELECT s.order_id, o.number, s.name, s.connection, s.operation, s.needs, s.state, s.attempt, s.failures, s.created_at, s.started_at,
       s.done_at, s.leased_by, s.leased_until, s.external_id, s.error_kind, s.error_code, s.error_message, s.result
FROM steps s JOIN orders o USING (order_id) ORDER BY s.order_id, s.name;

-- name: step_attempts
-- What did not simply succeed.
SELECT order_id, name, attempt, worker, started_at, ended_at, outcome, error_code, error_message, detail
FROM step_attempts ORDER BY order_id, name, attempt, outcome;

-- name: events
-- The log, in its order.
SELECT sequence, order_id, version, type, at, body FROM events ORDER BY sequence;

-- name: facts
-- The inbox.
SELECT fact_id, connection, kind, business_key, version, subject, state, order_id, received_at, due_at, cause, message,
       answer IS NOT NULL AS answered
FROM facts ORDER BY fact_id;

-- name: stock
-- What is where.
SELECT sku, location, reported, on_hand, reserved FROM stock ORDER BY sku, location;

-- name: reservations
-- What orders hold.
SELECT order_id, line, location, sku, quantity, shipped, released, committed
FROM reservations ORDER BY order_id, line, location, sku;

-- name: accounts
-- Exposures.
SELECT customer, open_orders, open_invoices FROM accounts ORDER BY customer;

-- name: invoices
-- What was invoiced.
SELECT order_id, shipment, number, customer, currency, net, tax FROM invoices ORDER BY order_id, shipment;

-- name: payments
-- What moved at the payment provider.
SELECT order_id, kind, reference, currency, amount, external_id FROM payments ORDER BY order_id, kind, reference;

-- name: shipments
-- What left.
SELECT shipment, connection, order_id, warehouse, shipped_at FROM shipments ORDER BY shipment, connection;

-- name: read_changes
-- What was changed since the last look. There is one connection, and nothing of it is open, so all of it is one commit's.
SELECT CASE WHEN x.until > $1 THEN json_build_object(
    'exposures', (SELECT json_object_agg(a.customer, (a.open_orders + coalesce((
                      SELECT sum(i.net) FROM invoices i WHERE i.customer = a.customer), 0))::text ORDER BY a.customer)
                  FROM accounts a
                  WHERE a.xmin::text::bigint >= $1
                     OR a.customer IN (SELECT i.customer FROM invoices i WHERE i.xmin::text::bigint >= $1)),
    'stock', (SELECT json_agg(json_build_array(sku, location, on_hand::text, reserved::text) ORDER BY sku, location)
              FROM stock WHERE xmin::text::bigint >= $1),
    'reservations', (SELECT json_agg(json_build_array(order_id, line, location, sku, quantity::text, shipped::text,
                                                      released::text, committed::text) ORDER BY order_id, line, location)
                     FROM reservations WHERE xmin::text::bigint >= $1),
    'orders', (SELECT json_agg(json_build_array(order_id, state) ORDER BY order_id)
               FROM order_progress WHERE xmin::text::bigint >= $1)) END AS changes, x.until
FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS until) AS x;

-- name: read_parked
-- What waits for a person at a connection.
SELECT o.number || '/' || s.name AS subject, s.error_code AS cause, s.error_message AS message, s.next_action
FROM steps s JOIN orders o USING (order_id) WHERE s.connection = $1 AND s.state = 'quarantined'
UNION ALL
SELECT kind || ' ' || business_key, cause, message, next_action FROM facts WHERE connection = $1 AND state = 'quarantined'
ORDER BY 1;

-- name: count_left
-- What somebody still has to do by himself (facts to decide, steps that are under way), and how many messages of a
-- connection are kept.
SELECT (SELECT count(*) FROM facts WHERE state IN ('waiting', 'untranslated'))
     + (SELECT count(*) FROM steps WHERE state IN ('waiting', 'ready', 'sending', 'in_doubt')) AS unfinished,
       (SELECT count(DISTINCT (kind, business_key)) FROM facts
        WHERE connection = $1 AND kind <> 'arrival.untranslated') AS kept;

-- name: count_untold
-- What channels still have to be told, or what is looked into: changes to count, figures that are due or in a feed, drift.
SELECT (SELECT count(*) FROM stock_changes)
     + (SELECT count(*) FROM publications WHERE wanted_version > acknowledged_version AND NOT parked OR feed IS NOT NULL)
     + (SELECT count(*) FROM stock_drift WHERE state IN ('suspect', 'open', 'repairing'));

-- name: publications
-- What channels were told.
SELECT channel, sku, unit, wanted, wanted_version, acknowledged, acknowledged_version, previous, parked, attempt, feed,
       error_code FROM publications ORDER BY channel, sku;

-- name: stock_drift
-- What was found to differ.
SELECT side, counterpart, sku, location, expected, found, cause, state, found_at, ended_at, tries
FROM stock_drift ORDER BY drift_id;

-- name: publication_lanes
-- Who tells which channel, and how that goes.
SELECT channel, leased_by, feed, failures, last_error FROM publication_lanes ORDER BY channel;
