-- name: exists
-- Whether the server has a database of this name.
SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1);

-- name: create
-- Crossdock's own database, at the first start of an embedded server.
CREATE DATABASE crossdock;
