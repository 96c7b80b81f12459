-- name: read_unsettled
-- What is still under way: steps, facts, SKUs to be counted, figures to be told, places of which no balance is younger
-- than what left there. The last is how many orders there are.
SELECT (SELECT count(*) FROM steps WHERE state NOT IN ('done', 'cancelled', 'failed')) AS steps,
       (SELECT count(*) FROM facts WHERE state IN ('waiting', 'early')) AS facts,
       (SELECT count(*) FROM order_progress WHERE state NOT IN ('completed', 'cancelled', 'held')) AS open_orders,
       (SELECT count(*) FROM stock_changes) AS changes,
       (SELECT count(*) FROM publications WHERE wanted_version > acknowledged_version AND NOT parked) AS figures,
       (SELECT count(*) FROM stock s WHERE EXISTS (
           SELECT FROM stock_movements m
           WHERE m.sku = s.sku AND m.location = s.location AND m.happened_at >= s.as_of
       )) AS doubts,
       (SELECT count(*) FROM order_progress) AS orders;

-- name: read_counted
-- Of how many of these SKUs the owner's figures are here and told to so many channels.
SELECT count(*) FROM (
    SELECT p.sku FROM publications p
    WHERE p.sku = ANY ($1::text[]) AND p.acknowledged_version = p.wanted_version
      AND EXISTS (SELECT FROM stock s WHERE s.sku = p.sku)
    GROUP BY p.sku HAVING count(*) >= $2
) AS told;

-- name: read_open
-- Examples of what is still under way, for whoever must find out why.
SELECT s.connection AS place, s.operation AS what, s.state, s.error_code AS code, count(*) AS count
FROM steps s WHERE s.state NOT IN ('done', 'cancelled', 'failed') GROUP BY 1, 2, 3, 4
UNION ALL
SELECT f.connection, f.kind, f.state, f.cause, count(*) FROM facts f
WHERE f.state NOT IN ('applied', 'ignored') GROUP BY 1, 2, 3, 4
UNION ALL
SELECT 'orders', '', state, '', count(*) FROM order_progress GROUP BY 3;
