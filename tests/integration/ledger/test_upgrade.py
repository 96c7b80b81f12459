"""A database with what an earlier release left in it is migrated, and goes on where it stood.

The rows are those that our own code writes, put into the tables as that release had them: from here on migrations have
only added to what there was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec
import pytest

from crossdock.ledger.database import Queries
from crossdock.ledger.migrate import list_migrations, migrate
from crossdock.model.facts import Fact
from crossdock.model.orders import Order
from tests.conftest import address_of, execute
from tests.integration.engine.bench_world import make_arrival, make_placed, open_world
from tests.integration.engine.test_order_path import (
    Working,
    channel_fact,
    eventually,
    facts_are_decided,
    place,
    progress_of,
    shipment_fact,
    steps_are_done,
    stock_of,
)

FIRST = 11
RELEASES = [name for name, _ in list_migrations()][FIRST - 1 : -1]
_COPIED = """
SELECT c.table_name, array_agg(c.column_name::text ORDER BY c.ordinal_position) AS columns
FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.table_name <> 'migrations'
  AND c.is_generated = 'NEVER' GROUP BY 1
"""


@asynccontextmanager
async def database_of(postgres_url: str, release: str) -> AsyncIterator[str]:
    """An empty database as the release with that last migration had it."""
    name = f"crossdock_{release}"
    await execute(postgres_url, f"DROP DATABASE IF EXISTS {name}")
    await execute(postgres_url, f"CREATE DATABASE {name}")
    dsn = address_of(postgres_url, name)
    queries = Queries.load("migrations")
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(queries["create_table"])
        for migration, text in list_migrations():
            if migration <= release:
                await connection.execute(text)
                await connection.execute(queries["record_applied"], migration)
    finally:
        await connection.close()
    try:
        yield dsn
    finally:
        await execute(postgres_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def copy(source: str, target: str) -> int:
    """Every row, in the columns that the older tables have. Triggers rest: they have run at the source."""
    reading, writing = await asyncpg.connect(source), await asyncpg.connect(target)
    count = 0
    try:
        await writing.execute("SET session_replication_role = replica")
        for table, columns in await writing.fetch(_COPIED):
            names = ", ".join(columns)
            rows = await reading.fetchval(f"SELECT json_agg(t)::text FROM (SELECT {names} FROM {table}) t")
            await writing.execute(f"DELETE FROM {table}")
            await writing.execute(
                f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE "
                f"SELECT {names} FROM json_populate_recordset(NULL::{table}, $1::json)", rows or "[]",
            )  # fmt: skip
            count += len(msgspec.json.decode(rows)) if rows else 0
        sequences = await writing.fetch("SELECT sequencename FROM pg_sequences WHERE schemaname = 'public'")
        for (sequence,) in sequences:
            value = await reading.fetchval(f"SELECT last_value FROM {sequence}")
            await writing.execute("SELECT setval($1::regclass, $2)", sequence, value)
    finally:
        await reading.close()
        await writing.close()
    return count


async def leave_work(dsn: str) -> dict[str, int]:
    """An order that has shipped half, one whose steps have not begun, one that is held, and a fact not decided yet."""
    async with open_world(dsn) as world:
        async with Working(world):
            half = await place(world, "S-1", lines=2, quantity=3)
            await eventually(lambda: steps_are_done(world))
            await world.intake.record([shipment_fact(half, "SH-1", {"SKU-0": 1, "SKU-1": 3})])
            await eventually(lambda: facts_are_decided(world))
            await eventually(lambda: steps_are_done(world))
        fresh = await place(world, "S-2", lines=1)
        held = await place(world, "S-3", lines=1, quantity=900, customer="C1", method="terms")
        await world.intake.record([_placed_fact("S-4")])
        return {"half": half, "fresh": fresh, "held": held}


def _placed_fact(number: str) -> Fact:
    return channel_fact("order.placed", make_placed(number, lines=1))


async def read_orders(dsn: str) -> dict[str, Any]:
    connection = await asyncpg.connect(dsn)
    try:
        return {row["number"]: msgspec.json.decode(row["body"], type=Order)
                for row in await connection.fetch("SELECT number, body::text FROM orders")}  # fmt: skip
    finally:
        await connection.close()


@pytest.mark.parametrize("release", RELEASES)
async def test_an_older_database_is_migrated_and_goes_on_where_it_stood(
    postgres_url: str, database_url: str, release: str
) -> None:
    orders = await leave_work(database_url)
    async with database_of(postgres_url, release) as older:
        assert await copy(database_url, older) > 100
        assert await migrate(older) == [name for name, _ in list_migrations() if name > release]
        assert await read_orders(older) == await read_orders(database_url)
        async with open_world(older) as world, Working(world):
            await eventually(lambda: facts_are_decided(world))
            await eventually(lambda: steps_are_done(world))
            assert (await progress_of(world, orders["held"])).state == "held"
            assert (await progress_of(world, orders["fresh"])).state == "accepted"
            await world.intake.record([shipment_fact(orders["half"], "SH-2", {"SKU-0": 2})])
            await eventually(lambda: facts_are_decided(world))
            await eventually(lambda: steps_are_done(world))
            assert (await progress_of(world, orders["half"])).state == "completed"
            again = await world.intake.place(make_arrival(make_placed("S-2", lines=1)))
            assert (again.status, again.order_id) == ("repeated", orders["fresh"])
            assert await place(world, "S-5", lines=1) > max(orders.values())
            # Two each of S-2, S-4 and S-5 are promised; the three of S-1 have left.
            assert await stock_of(world, "SKU-0") == (Decimal(999_997), Decimal(6))
        assert await migrate(older) == []
