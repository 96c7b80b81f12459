"""Where the truth is kept: PostgreSQL. Migrations and queries are .sql files; one module per aggregate."""
