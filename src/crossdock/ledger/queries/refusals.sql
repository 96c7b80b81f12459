-- name: park_refused
-- Orders that nobody waits for an answer to: parked, with what they name and the master data that they were refused by.
UPDATE facts f SET state = 'quarantined', attempt = attempt + 1, cause = r.cause, message = r.message, owner = r.owner,
                   next_action = r.next_action, refused_version = $1,
                   named = ARRAY (SELECT json_array_elements_text(r.named))
FROM json_to_recordset($2::json)
  AS r (fact_id bigint, cause text, message text, owner text, next_action text, named json)
WHERE f.fact_id = r.fact_id;

-- name: read_version
-- The version of the master data.
SELECT version FROM reference_version;

-- name: look_again
-- Refused orders whose master data may have changed since, oldest first. They wait to be decided again where something
-- that they name, or a component or a price of it, did change; the others need no look before the next version. The
-- cause stays, for whoever decides them: a person's replay takes it away.
WITH looked AS MATERIALIZED (
    SELECT f.fact_id, f.named, f.refused_version, v.version
    FROM facts f CROSS JOIN reference_version v
    WHERE f.state = 'quarantined' AND f.refused_version < v.version
    ORDER BY f.fact_id LIMIT $1 FOR UPDATE OF f SKIP LOCKED
), judged AS (
    SELECT l.fact_id, l.version, EXISTS (
        SELECT FROM customers c WHERE c.code = ANY (l.named) AND c.changed > l.refused_version
    ) OR EXISTS (
        SELECT FROM products p
        WHERE p.sku IN (SELECT unnest(l.named) UNION SELECT c.sku FROM product_codes c WHERE c.gtin = ANY (l.named))
          AND (p.changed > l.refused_version
               OR EXISTS (SELECT FROM price_agreements a WHERE a.sku = p.sku AND a.changed > l.refused_version))
    ) AS mended
    FROM looked l
)
UPDATE facts f SET refused_version = j.version, state = CASE WHEN j.mended THEN 'waiting' ELSE f.state END,
                   due_at = CASE WHEN j.mended THEN $2 ELSE f.due_at END
FROM judged j WHERE f.fact_id = j.fact_id
RETURNING j.mended;

-- name: read_refusals
-- Why these facts were parked before, where it was not a person who had them decided again.
SELECT fact_id, cause, message FROM facts
WHERE fact_id = ANY ($1::bigint[]) AND cause IS NOT NULL AND refused_version IS NOT NULL;

-- name: wake_missed
-- What refers to an order that was accepted late, and had been given up: it can be decided now.
UPDATE facts f SET state = 'waiting', due_at = $1, cause = NULL, message = NULL, owner = NULL, next_action = NULL
FROM unnest($2::text[], $3::text[]) AS o (connection, subject)
WHERE f.state = 'quarantined' AND f.cause = 'order_missing' AND f.connection = o.connection AND f.subject = o.subject;

-- name: note_decided_again
-- Which orders were accepted without a person after they had been refused, for their timelines.
INSERT INTO audit (at, actor, action, subject, detail)
SELECT $1, 'crossdock', 'order.mended', o.number, json_build_object('refused before', r.cause, 'because', r.message)
FROM unnest($2::bigint[], $3::text[], $4::text[]) AS r (order_id, cause, message) JOIN orders o USING (order_id)
ORDER BY o.number;
