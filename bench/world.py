"""The engine of one process with in-process null partners, as the engine's own tests build it, and rich customers."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import msgspec

from crossdock.ledger import master_data
from crossdock.ledger.acceptance import Arrival
from crossdock.model.documents import Customer
from crossdock.model.orders import OrderPlaced
from tests.integration.engine.bench_world import NOW, World, make_arrival, make_placed, open_world

CUSTOMERS = 200
SKUS = 2000
LINES = 5
IN_FLIGHT = 600


@asynccontextmanager
async def open_bench_world(dsn: str) -> AsyncIterator[World]:
    async with open_world(dsn, batch=True, skus=SKUS) as world:
        rich = [
            Customer(f"B{n}", f"Business {n}", "EUR", "active", price_group="G1", payment_term_days=30,
                     credit_limit=Decimal(10_000_000))
            for n in range(CUSTOMERS)
        ]  # fmt: skip
        async with world.pool.acquire() as connection, connection.transaction():
            await master_data.place_customers(connection, [("erp", row) for row in rich], NOW)
        yield world


def make_arrivals(start: int, count: int) -> list[Arrival]:
    """Five-line orders on contract price and credit terms, each of five products out of all."""
    return [make_arrival(_make_placed(n)) for n in range(start, start + count)]


def _make_placed(number: int) -> OrderPlaced:
    placed = make_placed(f"B-{number}", lines=LINES, customer=f"B{number % CUSTOMERS}", method="terms")
    chosen = random.Random(number).sample(range(SKUS), LINES)
    lines = tuple(
        msgspec.structs.replace(line, sku=f"SKU-{sku}") for line, sku in zip(placed.lines, chosen, strict=True)
    )
    return msgspec.structs.replace(placed, lines=lines)
