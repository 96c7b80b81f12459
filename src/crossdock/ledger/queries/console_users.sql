-- name: place_user
-- A console user, created or replaced.
INSERT INTO console_users (name, password_hash, role) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET password_hash = excluded.password_hash, role = excluded.role, active = true

-- name: end_sessions_of
-- All sessions of a user end.
DELETE FROM console_sessions WHERE name = $1

-- name: read_user
-- The user who wants to sign in.
SELECT name, password_hash, role FROM console_users WHERE name = $1 AND active

-- name: open_session
-- A session begins; expired ones go on this occasion.
WITH expired AS (DELETE FROM console_sessions WHERE expires_at < $4)
INSERT INTO console_sessions (session_hash, name, form_token, expires_at) VALUES ($1, $2, $3, $5)

-- name: read_session
-- Whose session it is, if it is still open and its user still active.
SELECT s.name, s.form_token, s.expires_at, u.role
FROM console_sessions s
JOIN console_users u ON u.name = s.name AND u.active
WHERE s.session_hash = $1 AND s.expires_at > $2

-- name: close_session
-- A session ends.
DELETE FROM console_sessions WHERE session_hash = $1

-- name: record_failure
-- A sign-in failed, for each of the subjects; old ones go on this occasion.
WITH old AS (DELETE FROM sign_in_failures WHERE at < $2::timestamptz - interval '1 day')
INSERT INTO sign_in_failures (subject, at) SELECT subject, $2::timestamptz FROM unnest($1::text[]) AS subject

-- name: failures
-- How many lately by subject, and when the oldest of them was.
SELECT subject, count(*) AS count, min(at) AS oldest_at
FROM sign_in_failures WHERE subject = ANY ($1::text[]) AND at > $2
GROUP BY subject
