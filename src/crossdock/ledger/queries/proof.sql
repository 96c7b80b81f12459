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

-- name: orders
-- Orders as accepted and how far they came.
SELECT o.order_id, o.number, o.channel_number, o.customer, o.net, o.body, p.state, p.version, p.event_count, p.steps_open,
       p.progress
FROM orders o JOIN order_progress p USING (order_id) ORDER BY o.order_id;

-- name: steps
-- All steps.
SELECT s.order_id, o.number, s.name, s.connection, s.operation, s.state, s.attempt, s.failures, s.created_at, s.started_at,
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

-- name: sample_exposures
-- What each account has on order and was invoiced, net, at this moment.
SELECT a.customer, a.open_orders + coalesce((SELECT sum(i.net) FROM invoices i WHERE i.customer = a.customer), 0) AS exposure
FROM accounts a ORDER BY a.customer;

-- name: sample_oversold
-- Places where more is promised than there is.
SELECT sku || ' ' || location AS place FROM stock WHERE reserved > on_hand ORDER BY 1;

-- name: count_facts_of
-- How many facts of a connection are kept.
SELECT count(*) FROM facts WHERE connection = $1;

-- name: count_unfinished
-- What somebody still has to do by himself: facts to decide, steps that are under way.
SELECT (SELECT count(*) FROM facts WHERE state IN ('waiting', 'untranslated'))
     + (SELECT count(*) FROM steps WHERE state IN ('waiting', 'ready', 'sending', 'in_doubt')) AS unfinished;
