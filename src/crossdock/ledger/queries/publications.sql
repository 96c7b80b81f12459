-- name: lock_planner
-- One planner at a time: an older reading must not overtake a newer one.
SELECT pg_try_advisory_xact_lock(7402136);

-- name: has_changes
-- Is there anything to count?
SELECT EXISTS (SELECT FROM stock_changes);

-- name: take_changes
-- The newest changes first, so that what just moved does not wait behind a recount of everything; and some of the oldest.
-- Those who listen to changes of promises find them in the stream.
WITH taken AS (
    DELETE FROM stock_changes WHERE change_id = ANY (ARRAY(
        (SELECT change_id FROM stock_changes ORDER BY change_id DESC LIMIT $1)
        UNION (SELECT change_id FROM stock_changes ORDER BY change_id LIMIT $2)
    ))
    RETURNING sku, owner_at, channel
), streamed AS (
    INSERT INTO stock_stream (sku) SELECT DISTINCT sku FROM taken ORDER BY sku
)
SELECT sku, nullif(owner_at, 'infinity') AS owner_at, channel FROM taken;

-- name: drop_changes
-- Nobody is told anything: what changed is forgotten.
DELETE FROM stock_changes;

-- name: find_kits
-- The kits of which any of these SKUs is a component.
SELECT sku, components FROM products WHERE components && $1::text[];

-- name: place_wanted
-- What the channels should show. Only a figure that differs becomes a new version; while the older one was not
-- acknowledged it keeps the older one's place in the queue and the older owner's time.
INSERT INTO publications AS p (channel, sku, unit, wanted, promise_on, urgency, owner_at, wanted_at, computed_at,
                               wanted_base, exposed)
SELECT channel, sku, unit, quantity, promise_on, urgency, coalesce(owner_at, 'infinity'), $2, $2, base, base
FROM json_to_recordset($1::json) AS w (channel text, sku text, unit text, quantity numeric, promise_on date,
                                       urgency smallint, owner_at timestamptz, offered boolean, base numeric)
-- What a channel does not sell is no news, unless it was told otherwise before.
WHERE offered OR EXISTS (SELECT FROM publications q WHERE q.channel = w.channel AND q.sku = w.sku)
ORDER BY channel, sku
ON CONFLICT (channel, sku) DO UPDATE
SET unit = EXCLUDED.unit, wanted = EXCLUDED.wanted, promise_on = EXCLUDED.promise_on, urgency = EXCLUDED.urgency,
    wanted_version = p.wanted_version + 1, computed_at = EXCLUDED.computed_at,
    wanted_at = CASE WHEN p.wanted_version > p.acknowledged_version THEN p.wanted_at ELSE EXCLUDED.wanted_at END,
    owner_at = CASE WHEN p.wanted_version > p.acknowledged_version THEN least(p.owner_at, EXCLUDED.owner_at)
                    ELSE EXCLUDED.owner_at END,
    parked = p.parked AND p.unit = EXCLUDED.unit,
    wanted_base = EXCLUDED.wanted_base, exposed = greatest(p.exposed, EXCLUDED.exposed)
WHERE p.wanted <> EXCLUDED.wanted OR p.unit <> EXCLUDED.unit OR p.promise_on IS DISTINCT FROM EXCLUDED.promise_on
RETURNING p.channel;

-- name: repeat_wanted
-- The same figure is told again, as one that was counted now.
UPDATE publications p
SET wanted_version = p.wanted_version + 1, computed_at = $3,
    wanted_at = CASE WHEN p.wanted_version > p.acknowledged_version THEN p.wanted_at ELSE $3 END,
    owner_at = CASE WHEN p.wanted_version > p.acknowledged_version THEN p.owner_at ELSE 'infinity' END
FROM (
    -- Rows are locked in one order everywhere.
    SELECT q.channel, q.sku FROM unnest($1::text[], $2::text[]) AS a (channel, sku)
    JOIN publications q ON q.channel = a.channel AND q.sku = a.sku
    -- But for those that were counted in this round. Another's clock may have been a little ahead.
    WHERE q.computed_at <> $3 ORDER BY q.channel, q.sku FOR UPDATE OF q
) AS a
WHERE p.channel = a.channel AND p.sku = a.sku
RETURNING p.channel;

-- name: tell_again
-- Channels that are to be told these SKUs again although the figure may be the same.
INSERT INTO stock_changes (sku, owner_at, channel)
SELECT DISTINCT sku, 'infinity'::timestamptz, channel FROM unnest($1::text[], $2::text[]) AS c (channel, sku);

-- name: place_lane
-- A channel's lane; what it has left of its pace survives restarts.
INSERT INTO publication_lanes (channel, tokens, refilled_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: renew_policy
-- Lanes whose figures were counted under another policy.
UPDATE publication_lanes SET policy_version = $2 WHERE channel = ANY ($1::text[]) AND policy_version <> $2 RETURNING channel;

-- name: recount_everything
-- Every SKU is counted anew.
INSERT INTO stock_changes (sku, owner_at) SELECT sku, 'infinity' FROM products;

-- name: recount_places
-- The SKUs of places whose feed fell silent or came back; `selling`: only those of which a silent place loses some.
INSERT INTO stock_changes (sku, owner_at)
SELECT DISTINCT s.sku, 'infinity'::timestamptz
FROM stock s JOIN unnest($1::text[], $2::text[]) AS l (source, location) ON l.source = s.source AND l.location = s.location
WHERE NOT $3::boolean OR EXISTS (SELECT FROM sales_speed v WHERE v.sku = s.sku AND v.per_day > 0);

-- name: read_stale
-- Places whose feed is late.
SELECT source, location FROM stock_sources WHERE stale_since IS NOT NULL;

-- name: release_parked
-- Parked figures are tried again.
UPDATE publications SET parked = false, attempt = 0, due_at = '-infinity'
WHERE parked AND channel = ANY ($1::text[]) AND ($2::text IS NULL OR error_code = $2)
  AND ($3::text IS NULL OR sku = $3) RETURNING sku;

-- name: lease_lane
-- One worker at a time tells a channel; a silent holder is replaced. Who holds it lives, as one who claims.
WITH leased AS (
    UPDATE publication_lanes l SET leased_by = $2, leased_until = $3
    WHERE l.channel = $1
      AND (l.leased_by = $2 OR l.leased_until IS NULL OR l.leased_until < $4
           OR NOT EXISTS (SELECT FROM processes p WHERE p.process = l.leased_by AND p.seen_at > $5))
    RETURNING l.feed, l.feed_sent_at, l.failures, l.slice, nullif(l.blocked_until, '-infinity') AS rests_until
), alive AS (
    UPDATE processes SET seen_at = $4
    WHERE process = $2 AND seen_at < $4::timestamptz - interval '1 second' AND EXISTS (SELECT FROM leased)
)
SELECT feed, feed_sent_at, failures, slice, rests_until FROM leased;

-- name: give_lane_back
-- A clean stop.
UPDATE publication_lanes SET leased_by = NULL, leased_until = NULL WHERE channel = $1 AND leased_by = $2;

-- name: claim_figures
-- The next figures of a lane under its pace, unless its partner is paused or asked for a wait. Urgent ones go first, and
-- after four of them comes one of the others, oldest first ($11 urgent ones were told since the last of those). Calm
-- ones wait until $9 calls are left, and since before $12 so that more come together, where calls are rare.
-- The pace is charged and committed before the call.
WITH lane AS (
    SELECT least($6::numeric, l.tokens + $5::numeric * least(extract(epoch FROM $3::timestamptz - l.refilled_at), 86400)) AS tokens
    FROM publication_lanes l JOIN connections c ON c.connection = $10
    WHERE l.channel = $1 AND l.leased_by = $2 AND l.feed IS NULL AND l.blocked_until <= $3
      AND NOT c.paused AND c.blocked_until <= $3
), room AS (
    SELECT tokens, CASE WHEN tokens < 1 THEN 0 WHEN $7::boolean THEN least($4::integer, floor(tokens)::integer) ELSE $4::integer END AS places
    FROM lane
), urgent AS (
    SELECT sku, unit, wanted, promise_on, wanted_version, computed_at, owner_at, attempt, wanted_at
    FROM publications
    WHERE channel = $1 AND urgency = 0 AND wanted_version > acknowledged_version AND NOT parked AND due_at <= $3
    ORDER BY wanted_at LIMIT (SELECT places FROM room)
), calm AS (
    SELECT sku, unit, wanted, promise_on, wanted_version, computed_at, owner_at, attempt, wanted_at
    FROM publications
    WHERE channel = $1 AND urgency = 1 AND wanted_version > acknowledged_version AND NOT parked AND due_at <= $3
      AND (wanted_at <= $12 OR acknowledged IS NULL OR EXISTS (SELECT FROM urgent))
    ORDER BY wanted_at
    LIMIT (SELECT CASE WHEN tokens >= $9::numeric OR EXISTS (SELECT FROM urgent) THEN places ELSE 0 END FROM room)
), picked AS (
    SELECT *, 0 AS urgency, row_number() OVER (ORDER BY wanted_at) AS place FROM urgent
    UNION ALL
    SELECT *, 1, 4 * row_number() OVER (ORDER BY wanted_at) - $11::integer FROM calm
    ORDER BY place, urgency DESC LIMIT coalesce((SELECT places FROM room), 0)
), charged AS (
    UPDATE publication_lanes l
    SET tokens = room.tokens - CASE WHEN $7::boolean THEN (SELECT count(*) FROM picked) ELSE 1 END, refilled_at = $3,
        leased_until = $8
    FROM room WHERE l.channel = $1 AND l.leased_by = $2 AND EXISTS (SELECT FROM picked)
    RETURNING l.channel
), alive AS (
    -- Who claims lives: one that had stood still may not have given a sign of life yet, and nobody else must tell the
    -- channel what it tells now.
    UPDATE processes SET seen_at = $3
    WHERE process = $2 AND seen_at < $3::timestamptz - interval '1 second' AND EXISTS (SELECT FROM charged)
)
SELECT sku, unit, wanted, promise_on, wanted_version, computed_at, nullif(owner_at, 'infinity') AS owner_at, attempt,
       urgency
FROM picked WHERE EXISTS (SELECT FROM charged) ORDER BY place, urgency DESC;

-- name: acknowledge_figures
-- The channel shows these figures. A newer one that was counted meanwhile stays due, as of the moment of the claim. How
-- long it took from the owners' commits is counted by doubling buckets of milliseconds. `previous` is what it showed
-- before, also where the same figure is told again. Where another ($7 has lost the lane) may have told something newer
-- meanwhile, and this arrived after it, it is told again.
WITH overtaken AS (
    INSERT INTO stock_changes (sku, owner_at, channel)
    SELECT sku, 'infinity', $1 FROM json_to_recordset($2::json) AS d (sku text)
    WHERE NOT EXISTS (SELECT FROM publication_lanes WHERE channel = $1 AND leased_by = $7)
), counted AS (
    INSERT INTO stock_latency AS l (channel, minute, bucket, count)
    SELECT $1, date_trunc('minute', $3::timestamptz), bucket, count
    FROM unnest($5::smallint[], $6::bigint[]) AS b (bucket, count)
    ON CONFLICT (channel, minute, bucket) DO UPDATE SET count = l.count + EXCLUDED.count
)
UPDATE publications p
SET previous = CASE WHEN p.acknowledged = d.figure THEN p.previous ELSE p.acknowledged END, acknowledged = d.figure, acknowledged_version = d.version, acknowledged_at = $3,
    sent_version = d.version, feed = NULL, sent = NULL, attempt = 0, error_code = NULL, error_message = NULL,
    due_at = '-infinity', exposed = CASE WHEN p.wanted_version > d.version THEN p.exposed ELSE p.wanted_base END,
    owner_at = CASE WHEN p.wanted_version > d.version THEN $4::timestamptz ELSE p.owner_at END,
    wanted_at = CASE WHEN p.wanted_version > d.version THEN $4::timestamptz ELSE p.wanted_at END
FROM (
    SELECT q.sku, d.version, d.figure
    FROM json_to_recordset($2::json) AS d (sku text, version bigint, figure numeric)
    JOIN publications q ON q.channel = $1 AND q.sku = d.sku
    ORDER BY q.sku FOR UPDATE OF q
) AS d
WHERE p.channel = $1 AND p.sku = d.sku AND p.acknowledged_version < d.version;

-- name: tell_overtaken
-- Nobody knows what became of these, and worker $3 has lost the lane: they may have come to lie over something newer.
INSERT INTO stock_changes (sku, owner_at, channel)
SELECT sku, 'infinity', $1 FROM unnest($2::text[]) AS d (sku)
WHERE NOT EXISTS (SELECT FROM publication_lanes WHERE channel = $1 AND leased_by = $3);

-- name: refuse_figures
-- The channel did not take these. What it took since, of a newer figure, stands.
UPDATE publications p
SET attempt = p.attempt + 1, error_code = d.code, error_message = d.message, due_at = d.due_at, parked = d.parked,
    feed = NULL, sent = NULL
FROM (
    SELECT q.sku, d.code, d.message, d.due_at, d.parked
    FROM json_to_recordset($2::json) AS d (sku text, version bigint, code text, message text, due_at timestamptz,
                                           parked boolean)
    JOIN publications q ON q.channel = $1 AND q.sku = d.sku AND q.acknowledged_version < d.version
    ORDER BY q.sku FOR UPDATE OF q
) AS d
WHERE p.channel = $1 AND p.sku = d.sku;

-- name: read_exposed
-- The most that each channel may show of these SKUs, in base units, whatever became of what it was told.
SELECT sku, channel, exposed FROM publications WHERE sku = ANY ($1::text[]) AND channel = ANY ($2::text[]);

-- name: count_freed
-- What of these SKUs the channel was told before and now shows no more may be shown by others: they are counted anew.
INSERT INTO stock_changes (sku, owner_at)
SELECT sku, 'infinity' FROM publications
WHERE channel = $1 AND sku = ANY ($2::text[]) AND wanted_version = ANY ($3::bigint[]) AND exposed > wanted_base;

-- name: submit_figures
-- The partner works on a feed with these figures.
UPDATE publications p SET feed = $2, sent_version = d.version, sent = d.figure
FROM (
    SELECT q.sku, d.version, d.figure
    FROM json_to_recordset($3::json) AS d (sku text, version bigint, figure numeric)
    JOIN publications q ON q.channel = $1 AND q.sku = d.sku
    ORDER BY q.sku FOR UPDATE OF q
) AS d
WHERE p.channel = $1 AND p.sku = d.sku;

-- name: open_feed
-- The lane waits for this feed.
UPDATE publication_lanes SET feed = $2, feed_sent_at = $3, failures = 0, last_ok_at = $3 WHERE channel = $1;

-- name: read_fed
-- What a feed carries.
SELECT sku, sent_version, sent, attempt, nullif(owner_at, 'infinity') AS owner_at FROM publications
WHERE channel = $1 AND feed = $2;

-- name: close_feed
-- The lane goes on; what the feed said nothing about is told again.
WITH left_over AS (
    SELECT sku FROM publications WHERE channel = $1 AND feed = $2 ORDER BY sku FOR UPDATE
), rest AS (
    UPDATE publications p SET feed = NULL, sent = NULL FROM left_over o WHERE p.channel = $1 AND p.sku = o.sku
)
UPDATE publication_lanes SET feed = NULL, feed_sent_at = NULL WHERE channel = $1 AND feed = $2;

-- name: note_lane_success
-- A sign of life.
UPDATE publication_lanes SET failures = 0, last_ok_at = $2, last_error = NULL WHERE channel = $1;

-- name: block_lane
-- The partner did not answer, or asked for a wait. `failures` counts those in a row.
UPDATE publication_lanes SET failures = failures + $4, blocked_until = greatest(blocked_until, $2), last_error = $3
WHERE channel = $1;

-- name: place_slice
-- Where the comparison stands.
UPDATE publication_lanes SET slice = $2 WHERE channel = $1;

-- name: read_sample
-- What is wanted and acknowledged of these SKUs.
SELECT sku, unit, wanted, wanted_version, acknowledged, acknowledged_version, acknowledged_at, previous, parked, feed
FROM publications WHERE channel = $1 AND sku = ANY ($2::text[]);
