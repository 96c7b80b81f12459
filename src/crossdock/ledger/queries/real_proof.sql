-- name: read_rest
-- What is still under way, and how many orders there are.
SELECT (SELECT count(*) FROM steps WHERE state NOT IN ('done', 'cancelled', 'failed')) AS steps,
       (SELECT count(*) FROM facts WHERE state IN ('waiting', 'early')) AS facts,
       (SELECT count(*) FROM order_progress WHERE state NOT IN ('completed', 'cancelled')) AS open_orders,
       (SELECT count(*) FROM order_progress) AS orders;

-- name: read_under_way
-- Examples of what is still under way, for whoever must find out why.
SELECT s.connection AS place, s.operation AS what, s.state, s.error_code AS code, count(*) AS count,
       min(o.number) AS example
FROM steps s JOIN orders o USING (order_id) WHERE s.state NOT IN ('done', 'cancelled', 'failed') GROUP BY 1, 2, 3, 4
UNION ALL
SELECT f.connection, f.kind, f.state, f.cause, count(*), min(f.business_key) FROM facts f
WHERE f.state NOT IN ('applied', 'ignored') GROUP BY 1, 2, 3, 4
UNION ALL
SELECT 'orders', '', p.state, '', count(*), min(o.number) FROM order_progress p JOIN orders o USING (order_id)
GROUP BY 3;

-- name: read_orders
-- The channel's number and ours of each order, and what became of it.
SELECT o.channel, o.channel_number, o.number, p.state FROM orders o JOIN order_progress p USING (order_id);

-- name: read_reserved
-- Places at which goods are reserved although nothing is under way any more.
SELECT s.sku || ' ' || s.location AS place, s.reserved FROM stock s WHERE s.reserved <> 0;

-- name: read_parked_steps
-- Steps that a person would have to look at.
SELECT o.number || '/' || s.name AS step, s.error_code, s.error_message
FROM steps s JOIN orders o USING (order_id) WHERE s.state = 'quarantined';

-- name: read_parked_facts
-- Facts that a person would have to look at.
SELECT kind || ' ' || business_key AS fact, cause, message FROM facts WHERE state = 'quarantined';

-- name: read_gaps
-- Orders whose events are not numbered without a gap, or whose times go back, and by how much at most.
SELECT o.number, e.counted <> e.last AS has_gap, coalesce(e.back, interval '0') AS back
FROM orders o JOIN (
    SELECT order_id, count(*) AS counted, max(version) AS last, max(before - at) AS back
    FROM (SELECT order_id, version, at, lag(at) OVER (PARTITION BY order_id ORDER BY version) AS before
          FROM events) AS each_event
    GROUP BY order_id
) AS e USING (order_id)
WHERE e.counted <> e.last OR e.back > interval '0';

-- name: count_facts
-- What partners told us and we took in.
SELECT count(*) FROM facts;

-- name: end_others_but
-- End all sessions of this database but these; tell how many.
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> ALL ($1::int[]) AND backend_type = 'client backend';
