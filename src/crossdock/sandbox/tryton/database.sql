-- name: find_database
-- Whether Tryton's database is there.
SELECT true FROM pg_database WHERE datname = 'tryton';

-- name: drop_database
-- A database whose initialisation did not end is made anew.
DROP DATABASE tryton WITH (FORCE);

-- name: create_database
-- Tryton's own database.
CREATE DATABASE tryton TEMPLATE template0 ENCODING 'UTF8';
