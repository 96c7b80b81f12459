"""Master data in memory: bounded, right at every use, and no query for what is asked for again and again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from crossdock.ledger import master_data
from crossdock.ledger.database import open_connection
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.documents import Component, Pack, PriceAgreement, Product
from crossdock.model.values import Money
from crossdock.rules.accept import Reference

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def product(sku: str, gtin: str = "", *components: Component, name: str = "") -> Product:
    return Product(
        sku, name or sku, "C62", "standard", (Money(Decimal(3), "EUR"),), (Pack("C62", Decimal(1), gtin),),
        components=components,
    )  # fmt: skip


class Estate:
    """A ledger, a cache before it, and how many statements the cache needed."""

    def __init__(self, connection: asyncpg.Connection[Any], kept_max: int) -> None:
        self.connection = connection
        self.cache = ReferenceCache(kept_max)
        self.queries = 0
        connection.add_query_logger(self._count)

    async def _count(self, _: Any) -> None:
        self.queries += 1

    async def place(self, *products: Product) -> None:
        await master_data.place_products(self.connection, [("erp", row) for row in products], NOW)

    async def ask(self, *skus: str, gtins: tuple[str, ...] = ()) -> Reference:
        version = await self.connection.fetchval("SELECT version FROM reference_version")
        return await self.cache.catch_up(self.connection, version, set(skus), set(gtins))


@pytest.fixture
async def estate(database_url: str) -> AsyncIterator[Estate]:
    connection = await open_connection(database_url)
    try:
        yield Estate(connection, kept_max=100)
    finally:
        connection.terminate()


async def test_a_million_products_do_not_fill_the_memory_of_a_process(estate: Estate) -> None:
    await estate.place(*(product(f"SKU-{number}") for number in range(1_000)))
    for first in range(0, 1_000, 20):
        found = await estate.ask("SKU-0", *(f"SKU-{number}" for number in range(first, first + 20)))
        assert len(found.products) >= 20
        assert estate.cache.count() <= 100
    # More than is kept is asked for at once: the answer is whole.
    everything = await estate.ask(*(f"SKU-{number}" for number in range(1_000)))
    assert len(everything.products) == 1_000
    assert estate.cache.count() <= 100


async def test_hot_products_cost_no_query(estate: Estate) -> None:
    await estate.place(product("HOT", "4006381333931"), *(product(f"SKU-{number}") for number in range(500)))
    await estate.ask("HOT", gtins=("4006381333931",))
    for number in range(500):
        before = estate.queries
        await estate.ask("HOT", gtins=("4006381333931",))
        # The version, which every transaction reads with something else.
        assert estate.queries == before + 1
        await estate.ask(f"SKU-{number}")


async def test_what_was_asked_for_before_is_seen_as_it_is_now(estate: Estate) -> None:
    await estate.place(product("A", "4006381333931"), product("B"))
    first = await estate.ask("A", "B", gtins=("4006381333931",))
    assert first.codes == {"4006381333931": ("A", "C62")}
    await estate.place(product("A", name="New"), product("B", "4006381333931"))
    agreement = PriceAgreement("K-1", "B", Money(Decimal(2), "EUR"), price_group="G1")
    await master_data.place_agreements(estate.connection, [("erp", agreement)], NOW)
    second = await estate.ask("A", "B", gtins=("4006381333931",))
    assert second.products["A"].name == "New"
    assert second.codes == {"4006381333931": ("B", "C62")}
    assert [row.agreement for row in second.agreements["B"]] == ["K-1"]
    # What was handed out for a decision under way stays what it was.
    assert first.products["A"].name == "A"


async def test_a_kit_comes_with_its_components(estate: Estate) -> None:
    parts = Component("PART", Decimal(2)), Component("GONE", Decimal(1))
    await estate.place(product("PART"), product("KIT", "", *parts))
    found = await estate.ask("KIT")
    assert found.products.keys() == {"KIT", "PART"}
    assert found.stocked(["KIT"]) == {"PART", "GONE"}
    await estate.place(product("PART", name="Changed"))
    assert (await estate.ask("KIT")).products["PART"].name == "Changed"


async def test_what_is_not_there_is_looked_for_each_time(estate: Estate) -> None:
    assert (await estate.ask("NEW", gtins=("4006381333931",))).products == {}
    await estate.place(product("NEW", "4006381333931"))
    found = await estate.ask("NEW", gtins=("4006381333931",))
    assert found.products.keys() == {"NEW"}
    assert found.codes == {"4006381333931": ("NEW", "C62")}
