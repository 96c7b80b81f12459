"""What runs for every order, step, balance and figure walks an index: none of it reads a growing table whole."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from crossdock.ledger.database import Queries, open_pool

HISTORY = (Path(__file__).parents[1] / "insight" / "history.sql").read_text(encoding="utf-8")
HOT = (
    "steps", "facts", "decisions", "acceptance", "publications", "reference", "holds", "stock", "availability",
    "releases", "refusals",
)  # fmt: skip
GROWING = (
    "orders", "order_progress", "steps", "step_attempts", "reservations", "events", "facts", "shipments", "invoices",
    "payments", "stock", "stock_movements", "stock_reports", "products", "accounts", "publications", "holds",
)  # fmt: skip
# A generic plan needs no values, but the driver would ask for them.
EXPLAIN = """CREATE FUNCTION pg_temp.explained(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $body$
BEGIN RETURN QUERY EXECUTE 'EXPLAIN (GENERIC_PLAN) ' || statement; END $body$"""
STATEMENTS = [(file, name) for file in HOT for name in Queries.load(file)]


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Any]:
    opened = await open_pool(database_url, size=1)
    for statement in re.split(r"^-- name: \w+\s*$", HISTORY, flags=re.MULTILINE)[1:]:
        await opened.execute(statement, 1000, 4000)
    await opened.execute("ANALYZE")
    yield opened
    await opened.close()


async def scanned_whole(connection: Any, statement: str) -> list[str]:
    rows = await connection.fetch("SELECT pg_temp.explained($1)", statement.rstrip(";"))
    found = re.findall(r"Seq Scan on (\w+)", "\n".join(row[0] for row in rows))
    return [table for table in found if table in GROWING]


async def test_no_hot_statement_reads_a_growing_table_whole(pool: Any) -> None:
    async with pool.acquire() as connection:
        # Without sequential scans where there is a choice: the tables of a test are small.
        await connection.execute("SET enable_seqscan = off")
        await connection.execute(EXPLAIN)
        planted = "UPDATE steps SET state = 'ready' WHERE error_message = $1"
        assert await scanned_whole(connection, planted) == ["steps"], "it would be seen"
        found = {
            f"{file}.{name}": await scanned_whole(connection, Queries.load(file)[name]) for file, name in STATEMENTS
        }
    assert len(found) > 120
    assert {name: tables for name, tables in found.items() if tables} == {}


KEPT = (
    ("acceptance", "write_orders", ("accounts", "stock")),
    ("acceptance", "read_figures", ("accounts", "facts", "stock")),
    ("inventory_read", "read_left", ("listings", "stock")),
)  # fmt: skip


async def test_plans_that_are_kept_find_rows_by_their_keys_although_they_were_made_when_there_were_none(
    database_url: str,
) -> None:
    pool = await open_pool(database_url, size=1, by_key=True)
    try:
        async with pool.acquire() as connection:
            await connection.execute(EXPLAIN)
            written = Queries.load("acceptance")["write_orders"]
            planted = re.sub(r"= ANY \(ARRAY\[(\w\.\w+)\]\)", r"= \1", written)
            assert "stock" in await read_whole(connection, planted, ("stock",)), "it would be seen"
            for file, name, tables in KEPT:
                assert await read_whole(connection, Queries.load(file)[name], tables) == [], name
    finally:
        await pool.close()


async def read_whole(connection: Any, statement: str, tables: tuple[str, ...]) -> list[str]:
    """Those of the tables that are read without a key of theirs."""
    rows = [row[0].strip() for row in await connection.fetch("SELECT pg_temp.explained($1)", statement.rstrip(";"))]
    found = []
    for row, below in zip(rows, [*rows[1:], ""], strict=True):
        scanned = re.search(r"Scan (?:using \w+ )?on (\w+)", row)
        if scanned and scanned.group(1) in tables and not below.startswith(("Index Cond", "Recheck Cond")):
            found.append(scanned.group(1))
    return found
