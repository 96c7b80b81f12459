-- name: claim_steps
-- Take steps that are due, lane by lane, under the connection's pause switch, rate limit and the lane's breaker.
-- The intent is committed before any call: the claimed steps are *sending* from here on.
WITH allowed AS (
    SELECT l.connection, l.operation, l.state = 'half_open' OR (l.state = 'open' AND l.override IS NULL) AS trial,
           least(
               w.slots,
               CASE WHEN c.calls_per_second IS NULL THEN w.slots
                    ELSE floor(least(c.burst, c.tokens + c.calls_per_second
                               * least(extract(epoch FROM $3::timestamptz - c.refilled_at), 3600)))::integer END,
               CASE WHEN l.override = 'open' THEN 0
                    WHEN l.override = 'closed' OR l.state = 'closed' THEN w.slots
                    WHEN l.retry_at <= $3 THEN 1 ELSE 0 END
           ) AS slots
    FROM unnest($4::text[], $5::text[], $6::integer[], $7::boolean[]) AS w (connection, operation, slots, one_worker)
    JOIN connections c ON c.connection = w.connection AND NOT c.paused AND c.blocked_until <= $3
    -- Who stood still since he held a lane that one worker performs may have lost it meanwhile.
    JOIN lanes l ON l.connection = w.connection AND l.operation = w.operation AND (l.held_by = $1 OR NOT w.one_worker)
), picked AS (
    SELECT s.order_id, s.name, a.trial
    FROM allowed a CROSS JOIN LATERAL (
        SELECT order_id, name FROM steps
        WHERE connection = a.connection AND operation = a.operation AND state IN ('ready', 'in_doubt') AND due_at <= $3
        ORDER BY order_id LIMIT greatest(a.slots, 0) FOR UPDATE SKIP LOCKED
    ) s
), claimed AS (
    UPDATE steps s
    SET state = 'sending', doubt = (s.state = 'in_doubt'), attempt = s.attempt + 1, leased_by = $1, leased_until = $2,
        started_at = coalesce(s.started_at, $3)
    FROM picked p WHERE s.order_id = p.order_id AND s.name = p.name
    RETURNING s.order_id, s.name, s.connection, s.operation, s.attempt, s.failures, s.doubt, s.needs <> '{}' AS needy,
              s.payload, p.trial
), charged AS (
    UPDATE connections c
    SET tokens = least(c.burst, c.tokens + c.calls_per_second * least(extract(epoch FROM $3::timestamptz - c.refilled_at), 3600))
                 - t.taken, refilled_at = $3
    FROM (SELECT connection, count(*) AS taken FROM claimed GROUP BY connection) AS t
    WHERE c.connection = t.connection AND c.calls_per_second IS NOT NULL
), on_trial AS (
    -- A lane that lets one call through waits for its end before the next.
    UPDATE lanes l SET state = 'half_open', retry_at = $2
    FROM (SELECT DISTINCT connection, operation FROM claimed WHERE trial) AS t
    WHERE l.connection = t.connection AND l.operation = t.operation
), alive AS (
    -- Who claims lives: one that had stood still may not have given a sign of life yet, and its calls must not be taken
    -- over as if they had begun before it stood still.
    UPDATE processes SET seen_at = $3
    WHERE process = $1 AND seen_at < $3::timestamptz - interval '1 second' AND EXISTS (SELECT FROM claimed)
)
-- An order is looked up once, and comes with the first of its steps: a condition beside the join would look each up.
SELECT c.order_id, c.name, c.connection, c.operation, c.attempt, c.failures, c.doubt, c.needy, c.payload, o.number,
       o.traceparent, o.body
FROM (SELECT *, row_number() OVER (PARTITION BY order_id) AS place FROM claimed) AS c
LEFT JOIN orders o ON o.order_id = CASE WHEN c.place = 1 THEN c.order_id END
ORDER BY c.order_id, c.place;

-- name: give_back_claims
-- What this worker was given and never heard of, for the answer to its claim was lost: it was not sent and is due again.
-- What it has in hand is left out. A lane that let one of them through lets another through.
WITH unheard AS (
    UPDATE steps s SET state = CASE WHEN s.doubt THEN 'in_doubt' ELSE 'ready' END, leased_by = NULL, leased_until = NULL
    WHERE s.state = 'sending' AND s.leased_by = $1
      AND NOT EXISTS (
        SELECT FROM unnest($2::bigint[], $3::text[], $4::integer[]) AS h (order_id, name, attempt)
        WHERE h.order_id = s.order_id AND h.name = s.name AND h.attempt = s.attempt
      )
    RETURNING s.connection, s.operation
), let_through AS (
    UPDATE lanes l SET retry_at = $5
    FROM (SELECT DISTINCT connection, operation FROM unheard) AS t
    WHERE l.connection = t.connection AND l.operation = t.operation AND l.state = 'half_open' AND l.retry_at > $5
)
SELECT count(*) FROM unheard;

-- name: hold_lanes
-- Of these lanes, which only one worker may perform, take those that no living worker has. Who asks lives: as in a claim.
WITH alive AS (
    UPDATE processes SET seen_at = $5 WHERE process = $1 AND seen_at < $5::timestamptz - interval '1 second'
)
UPDATE lanes l SET held_by = $1 FROM unnest($2::text[], $3::text[]) AS w (connection, operation)
WHERE l.connection = w.connection AND l.operation = w.operation AND l.held_by IS DISTINCT FROM $1
  AND NOT EXISTS (SELECT FROM processes p WHERE p.process = l.held_by AND p.seen_at > $4);

-- name: read_held_lanes
-- Which of these lanes are this worker's.
SELECT l.connection, l.operation FROM lanes l JOIN unnest($2::text[], $3::text[]) AS w (connection, operation)
  USING (connection, operation)
WHERE l.held_by = $1;

-- name: read_results
-- Results of finished steps of these orders, to hand to the steps that need them.
SELECT order_id, name, operation, result FROM steps
WHERE order_id = ANY ($1::bigint[]) AND state = 'done' AND result IS NOT NULL ORDER BY done_at;

-- name: record_outcomes
-- What became of claimed steps. Fenced: only the holder of the lease, for the attempt that it made, may say.
UPDATE steps s
SET state = e.state, result = coalesce(e.result::json, s.result), external_id = coalesce(e.external_id, s.external_id),
    exchanges = e.exchanges::json, error_kind = e.error_kind, error_code = e.error_code, error_message = e.error_message,
    next_action = e.next_action, due_at = coalesce(e.due_at, $3), done_at = CASE WHEN e.state = 'done' THEN $3 END,
    failures = CASE WHEN e.state = 'done' THEN s.failures ELSE s.failures + 1 END,
    doubt = e.state = 'in_doubt' OR (e.state = 'quarantined' AND (s.doubt OR e.error_kind = 'in_doubt')),
    leased_by = NULL, leased_until = NULL
FROM json_to_recordset($2::json)
  -- Texts, for what partners said may hold \u0000, which would end the whole document.
  AS e (order_id bigint, name text, attempt integer, state text, result text, external_id text, exchanges text,
        due_at timestamptz, error_kind text, error_code text, error_message text, next_action text)
WHERE s.order_id = e.order_id AND s.name = e.name
  -- The fence. So written that the primary key leads: as plain conditions, the planner takes them for very selective.
  AND CASE WHEN s.leased_by = $1 AND s.state = 'sending' THEN s.attempt END = e.attempt
RETURNING s.order_id, s.name, s.attempt;

-- name: fail_steps
-- A business refusal that the plan answers: the step is finished, not parked.
UPDATE steps s SET state = 'failed', done_at = $3
FROM unnest($1::bigint[], $2::text[]) AS f (order_id, name) WHERE s.order_id = f.order_id AND s.name = f.name;

-- name: insert_attempts
-- Attempts that did not simply succeed.
INSERT INTO step_attempts (order_id, name, attempt, worker, started_at, ended_at, outcome, error_code, error_message,
                           detail, exchanges)
SELECT order_id, name, attempt, $1, started_at, ended_at, outcome, error_code, error_message, detail, exchanges
FROM unnest($2::bigint[], $3::text[], $4::integer[], $5::timestamptz[], $6::timestamptz[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::json[])
  AS a (order_id, name, attempt, started_at, ended_at, outcome, error_code, error_message, detail, exchanges)
ON CONFLICT DO NOTHING;

-- name: expire_leases
-- Steps whose worker died or overran: the call may have taken effect, so they are in doubt.
WITH lost AS (
    UPDATE steps s SET state = 'in_doubt', doubt = true, due_at = $1, leased_by = NULL, leased_until = NULL
    WHERE s.state = 'sending'
      AND (s.leased_until < $1
           OR NOT EXISTS (SELECT FROM processes p WHERE p.process = s.leased_by AND p.seen_at > $2))
    RETURNING s.order_id, s.name, s.attempt, s.started_at
)
INSERT INTO step_attempts (order_id, name, attempt, worker, started_at, ended_at, outcome, error_code, error_message)
SELECT order_id, name, attempt, '', coalesce(started_at, $1), $1, 'lost', 'worker_lost',
       'The worker stopped during the call; the partner is asked before anything is sent again.'
FROM lost
ON CONFLICT DO NOTHING;

-- name: beat
-- A sign of life. Others that are long gone are forgotten.
WITH gone AS (DELETE FROM processes WHERE seen_at < $4 AND process <> $1)
INSERT INTO processes (process, kind, started_at, seen_at) VALUES ($1, $2, $3, $3)
ON CONFLICT (process) DO UPDATE SET seen_at = EXCLUDED.seen_at;

-- name: end_process
-- A clean stop.
DELETE FROM processes WHERE process = $1;

-- name: place_connection
-- A configured connection; its pause switch and figures survive restarts.
INSERT INTO connections (connection, system, calls_per_second, burst, tokens) VALUES ($1, $2, $3, $4, $4)
ON CONFLICT (connection) DO UPDATE SET system = EXCLUDED.system, calls_per_second = EXCLUDED.calls_per_second,
  burst = EXCLUDED.burst;

-- name: place_lane
-- A lane for each operation of a connection.
INSERT INTO lanes (connection, operation) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: read_lanes
-- Breaker states, locked for this transaction.
SELECT connection, operation, state, failures, opened_at, retry_at, override
FROM lanes l JOIN unnest($1::text[], $2::text[]) AS w (connection, operation) USING (connection, operation)
ORDER BY connection, operation FOR UPDATE OF l;

-- name: write_lane
-- The breaker's new state.
UPDATE lanes SET state = $3, failures = $4, opened_at = $5, retry_at = $6 WHERE connection = $1 AND operation = $2;

-- name: note_connections
-- Last signs of life, and how long a partner asked us to wait.
UPDATE connections c
SET last_ok_at = coalesce(n.ok_at, c.last_ok_at), last_error_at = coalesce(n.error_at, c.last_error_at),
    last_error = coalesce(n.error, c.last_error), blocked_until = greatest(c.blocked_until, coalesce(n.blocked_until, c.blocked_until))
FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::text[], $5::timestamptz[])
  AS n (connection, ok_at, error_at, error, blocked_until)
WHERE c.connection = n.connection;

-- name: place_feed
-- A polled feed; its cursor survives restarts.
INSERT INTO feeds (connection, feed, interval_seconds) VALUES ($1, $2, $3)
ON CONFLICT (connection, feed) DO UPDATE SET interval_seconds = EXCLUDED.interval_seconds;

-- name: claim_feed
-- One due feed, leased; others skip it, unless the holder is silent. Who holds it himself and asks again lost the database
-- while he was reading: one reader of a worker reads all feeds of a connection. Paused or blocked connections are not read.
-- Who claims lives, as in a claim of steps: one that had stood still would lose the feed at once.
WITH claimed AS (
    UPDATE feeds f SET leased_by = $1, leased_until = $2
    FROM (
        SELECT f.connection, f.feed FROM feeds f JOIN connections c USING (connection)
        WHERE f.due_at <= $3 AND NOT c.paused AND c.blocked_until <= $3
          AND (f.leased_until IS NULL OR f.leased_until < $3 OR f.leased_by = $1
               OR NOT EXISTS (SELECT FROM processes p WHERE p.process = f.leased_by AND p.seen_at > $5))
          AND f.connection = ANY ($4::text[])
        ORDER BY f.due_at LIMIT 1 FOR UPDATE OF f SKIP LOCKED
    ) AS d
    WHERE f.connection = d.connection AND f.feed = d.feed
    RETURNING f.connection, f.feed, f.cursor, f.failures, f.interval_seconds
), alive AS (
    UPDATE processes SET seen_at = $3
    WHERE process = $1 AND seen_at < $3::timestamptz - interval '1 second' AND EXISTS (SELECT FROM claimed)
)
SELECT connection, feed, cursor, failures, interval_seconds FROM claimed;

-- name: finish_feed
-- A page was read and its facts are committed in this transaction: only now does the cursor move.
UPDATE feeds SET cursor = $4, due_at = $5, read_at = $6, changed_at = CASE WHEN $7 THEN $6 ELSE changed_at END,
  failures = 0, error_code = NULL, error_message = NULL, leased_by = NULL, leased_until = NULL
WHERE connection = $1 AND feed = $2 AND leased_by = $3;

-- name: fail_feed
-- The feed could not be read; the cursor stays.
UPDATE feeds SET due_at = $4, failures = failures + 1, error_code = $5, error_message = $6, leased_by = NULL, leased_until = NULL
WHERE connection = $1 AND feed = $2 AND leased_by = $3;

-- name: keep_cursor
-- More pages follow: the cursor moves with the committed page, the lease stays.
UPDATE feeds SET cursor = $4, changed_at = $5::timestamptz, leased_until = $5::timestamptz + interval '90 seconds'
WHERE connection = $1 AND feed = $2 AND leased_by = $3;
