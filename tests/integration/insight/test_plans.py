"""Every list is answered from an index: the plans of the statements that must not grow with history."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crossdock.ledger.database import Queries, open_pool
from tests.conftest import copy_of, make_template
from tests.integration.insight.estate import place_estate

WITH_HISTORY = "crossdock_with_history"
HISTORY = Path(__file__).with_name("history.sql").read_text(encoding="utf-8")
GROWING = ("orders", "order_progress", "steps", "reservations", "events", "facts", "shipments", "invoices")
SEARCHES: dict[str, dict[int, Any]] = {
    "orders_pkey": {},
    "order_progress_state": {2: "held"},
    "orders_customer": {3: "H-5"},
    "orders_channel": {4: "nowhere"},
    "order_progress_channel": {2: "cancelled", 4: "market-nord"},
    "order_progress_held": {6: "credit_limit"},
}


async def _fill(address: str) -> None:
    pool = await open_pool(address, size=1)
    statements = re.split(r"^-- name: \w+\s*$", HISTORY, flags=re.MULTILINE)[1:]
    for statement in statements:
        await pool.execute(statement, 1000, 9000)
    await place_estate(pool, datetime(2026, 5, 4, 9, 30, tzinfo=UTC))
    await pool.execute("ANALYZE")
    await pool.close()


@pytest.fixture(scope="session")
def _history(postgres_url: str, template_database: str) -> None:
    make_template(postgres_url, template_database, WITH_HISTORY, _fill)


@pytest.fixture
async def pool(postgres_url: str, _history: None) -> AsyncIterator[Any]:
    async with copy_of(postgres_url, WITH_HISTORY) as address:
        opened = await open_pool(address, size=1)
        yield opened
        await opened.close()


async def plan_of(pool: Any, statement: str, *values: Any) -> str:
    """The plan for these values. Without sequential scans where there is a choice: the tables of a test are small."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        await connection.execute("SET LOCAL enable_seqscan = off")
        return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *values))


def scanned_whole(plan: str) -> list[str]:
    return [table for table in re.findall(r"Seq Scan on (\w+)", plan) if table in GROWING]


@pytest.mark.parametrize("index", SEARCHES)
async def test_a_search_walks_the_index_of_its_filter(pool: Any, index: str) -> None:
    values: list[Any] = [None] * 10 + [51]
    for position, value in SEARCHES[index].items():
        values[position - 1] = value
    plan = await plan_of(pool, Queries.load("insight_orders")["search"], *values)
    assert index in plan, plan
    assert scanned_whole(plan) == [], plan


@pytest.mark.parametrize(
    ("file", "name", "values"),
    [
        ("insight_orders", "resolve_text", ("X-1", 5, "%X-1%")),
        ("insight_orders", "orders_of_sku", ("ND-0001", 5001)),
        ("insight_orders", "waiting_for_erp", ([1, 2, 3],)),
        ("insight_orders", "channels", ()),
        ("insight_orders", "shipments", (None, None, None, None, None, 51)),
        ("insight_connections", "step_counts", ()),
        ("insight_overview", "orders_by_state", (["held"], ["completed"], 100)),
        ("insight_overview", "inbox", ()),
        ("insight_overview", "oldest_waiting_step", ()),
        ("insight_overview", "waiting_for_erp", ()),
        ("insight_overview", "unpublished_shipments", (20,)),
        ("insight_overview", "accepted_by_minute", ([datetime(2026, 5, 4, 9, 30, tzinfo=UTC)],)),
        ("insight_timeline", "events", (17,)),
        ("insight_timeline", "steps", (17,)),
        ("insight_timeline", "attempts", (17, 300)),
        ("insight_timeline", "facts", (17, 200)),
        ("insight_timeline", "documents", (17,)),
        ("insight_holds", "hold_groups", (None,)),
        ("insight_holds", "holds", ("credit_limit", None, None, 51)),
        ("insight_holds", "quarantine_groups", ()),
        ("insight_holds", "quarantined_facts", (None, None, None, None, 51)),
        ("insight_holds", "quarantined_steps", (None, None, None, None, None, 51)),
        ("console_live", "mark", ()),
    ],
)
async def test_no_statement_reads_a_growing_table_whole(
    pool: Any, file: str, name: str, values: tuple[Any, ...]
) -> None:
    plan = await plan_of(pool, Queries.load(file)[name], *values)
    assert scanned_whole(plan) == [], plan
