-- name: pause_connection
-- Nothing is sent or read until it is resumed.
UPDATE connections SET paused = true, paused_by = $2, paused_at = $3 WHERE connection = $1 AND NOT paused RETURNING connection;

-- name: is_paused
-- Whether an operator has paused it.
SELECT paused FROM connections WHERE connection = $1;

-- name: resume_connection
-- Work goes on; a wait that the partner asked for is forgotten.
UPDATE connections SET paused = false, paused_by = NULL, paused_at = NULL, blocked_until = '-infinity'
WHERE connection = $1 RETURNING connection;

-- name: knows_operation
-- Whether the connector of a connection has this operation, as processes that run have noted.
SELECT EXISTS (SELECT FROM lanes WHERE connection = $1 AND operation = $2);

-- name: override_breaker
-- An operator's word beats the breaker's.
UPDATE lanes SET override = $3, override_by = $4 WHERE connection = $1 AND operation = $2 RETURNING connection;

-- name: close_breaker
-- With the override lifted the breaker begins anew.
UPDATE lanes SET state = 'closed', failures = 0, opened_at = NULL, retry_at = NULL WHERE connection = $1 AND operation = $2;

-- name: replay_steps
-- Parked steps begin again: in doubt if they may have taken effect, else ready. Breaker and limits still apply.
UPDATE steps s SET state = CASE WHEN s.doubt THEN 'in_doubt' ELSE 'ready' END, due_at = $1, failures = 0
WHERE s.state = 'quarantined' AND ($2::text IS NULL OR s.connection = $2) AND ($3::text IS NULL OR s.error_code = $3)
  AND ($4::bigint[] IS NULL OR s.order_id = ANY ($4)) AND ($5::text IS NULL OR s.operation = $5)
RETURNING s.order_id, s.name;

-- name: settle_step
-- A parked step that a person has settled at the partner ends as he says.
UPDATE steps SET state = $3, external_id = nullif($4, ''), done_at = $5, doubt = false
WHERE order_id = $1 AND name = $2 AND state = 'quarantined'
RETURNING connection, operation, payload;

-- name: replay_facts
-- Parked facts are decided again from the kept body; what could not be translated, is translated again from the payload.
UPDATE facts SET state = CASE kind WHEN 'arrival.untranslated' THEN 'untranslated' ELSE 'waiting' END, due_at = $1, cause = NULL, message = NULL, owner = NULL, next_action = NULL
WHERE state = 'quarantined' AND ($2::text IS NULL OR connection = $2) AND ($3::text IS NULL OR cause = $3)
  AND ($4::bigint[] IS NULL OR fact_id = ANY ($4)) AND ($5::text IS NULL OR kind = $5)
RETURNING fact_id;

-- name: read_parked
-- A parked fact, to be shown or corrected.
SELECT kind, business_key, body FROM facts WHERE fact_id = $1 AND state = 'quarantined';

-- name: correct_fact
-- Decided again with what a person has corrected; the payload stays as it was received.
UPDATE facts SET body = $2, raw = coalesce(raw, convert_to(body::text, 'UTF8')), state = 'waiting', due_at = $3,
                 cause = NULL, message = NULL, owner = NULL, next_action = NULL
WHERE fact_id = $1 AND state = 'quarantined'
RETURNING fact_id;

-- name: read_parked_orders
-- Orders among these facts that wait for a person.
SELECT fact_id, connection, body FROM facts
WHERE state = 'quarantined' AND kind = 'order.placed' AND fact_id = ANY ($1::bigint[]) ORDER BY fact_id;

-- name: dismiss_facts
-- A person has settled these parked facts otherwise: they are kept with their payload, and nothing decides them again.
UPDATE facts SET state = 'ignored', refused_version = NULL
WHERE state = 'quarantined' AND ($1::text IS NULL OR connection = $1) AND ($2::text IS NULL OR cause = $2)
  AND ($3::bigint[] IS NULL OR fact_id = ANY ($3)) AND ($4::text IS NULL OR kind = $4)
RETURNING fact_id;

-- name: write_step_replays
-- Which steps of each order begin again, for the order's own timeline.
INSERT INTO audit (at, actor, action, subject, detail)
SELECT $1, $2, 'step.replay', o.number, json_build_object('steps', string_agg(r.name, ', ' ORDER BY r.name))
FROM unnest($3::bigint[], $4::text[]) AS r (order_id, name) JOIN orders o USING (order_id)
GROUP BY o.number ORDER BY o.number;

-- name: write_fact_actions
-- What was done with which facts, and why, under the order that they belong or refer to, for its timeline.
INSERT INTO audit (at, actor, action, subject, detail)
SELECT $1, $2, $4, coalesce(o.number, f.connection || ' ' || f.subject),
       json_strip_nulls(json_build_object('fact', f.fact_id, 'kind', f.kind, 'subject', f.subject, 'reason', $5::text))
FROM facts f
LEFT JOIN LATERAL (
    SELECT number FROM orders
    WHERE order_id = coalesce(f.order_id, substring(f.subject from '^CD([0-9]{8,18})')::bigint)
       OR (channel_number = f.subject AND channel = f.connection)
    LIMIT 1
) AS o ON true
WHERE f.fact_id = ANY ($3::bigint[])
ORDER BY f.fact_id;

-- name: write_audit
-- Who did what.
INSERT INTO audit (at, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5);
