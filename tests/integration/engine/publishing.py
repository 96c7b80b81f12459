"""Stock told to real sandbox channels: partner processes, a ledger, and publishers as a worker has them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg

from crossdock.connectors.agora.declaration import CONNECTOR as AGORA
from crossdock.connectors.bazaar.declaration import CONNECTOR as BAZAAR
from crossdock.connectors.portal.declaration import CONNECTOR as PORTAL
from crossdock.connectors.shop.declaration import CONNECTOR as SHOP
from crossdock.engine.ports import OpenConnection, system_clock
from crossdock.engine.publisher import Publisher
from crossdock.engine.worker import make_known
from crossdock.kit.settings import decode_settings
from crossdock.ledger import master_data
from crossdock.ledger import steps as steps_ledger
from crossdock.ledger.database import open_pool
from crossdock.model.documents import Component, Pack, Product
from crossdock.model.values import Money
from crossdock.policy.plans import Plans
from crossdock.policy.policy import ChannelPolicy, Location, Policy, Sourcing
from crossdock.policy.stock import ChannelStock, StockPolicy
from tests.conformance.partners import KEY, RunningPartner, start_partner

CONNECTORS = {connector.system: connector for connector in (SHOP, BAZAAR, AGORA, PORTAL)}


def make_policy(channels: Mapping[str, ChannelStock], version: str = "1") -> Policy:
    return Policy(
        version=version,
        channels={name: ChannelPolicy(connection=name, currencies=("EUR",), payments=("card",)) for name in channels},
        regions={"DE": "EU"}, locations={"HAM": Location("HAM", "EU", "wms")}, sourcing=Sourcing({"EU": ("HAM",)}),
        plans=Plans([]), stock=StockPolicy(channels=dict(channels)),
    )  # fmt: skip


@dataclass
class Estate:
    """A ledger with stock and the channels that are told it."""

    dsn: str
    pool: asyncpg.Pool[Any]
    policy: Policy
    partners: dict[str, RunningPartner]
    connections: list[OpenConnection]
    publishers: list[Publisher] = field(default_factory=list)

    async def place_products(self, skus: Sequence[str], kits: Mapping[str, Mapping[str, int]] | None = None) -> None:
        packs = (Pack("C62", Decimal(1)), Pack("XBX", Decimal(12)))
        price = (Money(Decimal("2.50"), "EUR"),)
        products = [Product(sku, sku, "C62", "standard", price, packs) for sku in skus]
        for kit, parts in (kits or {}).items():
            components = tuple(Component(sku, Decimal(count)) for sku, count in parts.items())
            products.append(Product(kit, kit, "C62", "standard", price, packs, components=components))
        async with self.pool.acquire() as connection, connection.transaction():
            await master_data.place_products(connection, [("erp", product) for product in products], system_clock())

    async def place_stock(self, figures: Mapping[str, int], as_of: datetime | None = None) -> None:
        """What the owner of HAM says there is."""
        at = as_of or datetime.now(UTC)
        async with self.pool.acquire() as connection:
            await connection.executemany(
                "INSERT INTO stock (sku, location, on_hand, reported, source, as_of, reported_at)"
                " VALUES ($1, 'HAM', $2, $2, 'wms', $3, $3) ON CONFLICT (sku, location) DO UPDATE"
                " SET on_hand = EXCLUDED.on_hand, reported = EXCLUDED.reported, as_of = EXCLUDED.as_of",
                [(sku, Decimal(figure), at) for sku, figure in sorted(figures.items())],
            )

    async def move_stock(self, rows: str, arguments: Sequence[Any] = ()) -> None:
        """Set-based changes, as the engine makes them."""
        await self.pool.execute(rows, *arguments)

    def make_publisher(self, worker: str = "publisher-1") -> Publisher:
        return Publisher(self.pool, self.connections, self.policy, worker, system_clock)

    @asynccontextmanager
    async def publishing(self, worker: str = "publisher-1") -> AsyncIterator[Publisher]:
        publisher = self.make_publisher(worker)
        tasks = [asyncio.create_task(publisher.run()), asyncio.create_task(self._beat(worker))]
        try:
            yield publisher
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def shown(self, channel: str) -> dict[str, int]:
        """What the channel's own storage shows."""
        found: dict[str, int] = {}
        after = ""
        while rows := await self.partners[channel].control("GET", f"/_control/stock?after={after}"):
            found.update({row["sku"]: int(Decimal(row["shown"])) for row in rows})
            after = rows[-1]["sku"]
        return found

    async def shows(self, channel: str, figures: Mapping[str, int]) -> bool:
        found = await self.shown(channel)
        return {sku: found.get(sku) for sku in figures} == dict(figures)

    async def told(self, channel: str, kind: str = "stock") -> list[dict[str, Any]]:
        return [entry for entry in await self.partners[channel].log() if entry["kind"] == kind]

    async def waiting(self, channel: str) -> int:
        return int(await self.pool.fetchval(
            "SELECT count(*) FROM publications WHERE channel = $1 AND wanted_version > acknowledged_version"
            " AND NOT parked", channel,
        ))  # fmt: skip

    async def counted(self) -> bool:
        """What is to be told follows from all that there is."""
        return not await self.pool.fetchval("SELECT EXISTS (SELECT FROM stock_changes)")

    async def settled(self) -> bool:
        """Nothing is to be counted and nothing to be told."""
        return await self.counted() and not any([await self.waiting(channel) for channel in self.partners])

    async def allow(self, channel: str, **selling: Any) -> None:
        """Set the channel's limits; it takes goods that the demonstration's world does not know."""
        settings = {"unknown": "take", "feed_seconds": 0.3, **selling}
        await self.partners[channel].control("PUT", "/_control/selling", settings)

    async def refusals(self, channel: str) -> int:
        return int((await self.partners[channel].control("GET", "/_control/selling"))["refused"])

    async def _beat(self, worker: str) -> None:
        while True:
            async with self.pool.acquire() as connection:
                await steps_ledger.beat(connection, worker, "worker", system_clock())
            await asyncio.sleep(1)


async def until(check: Any, seconds: float = 180) -> None:
    """Wait for something to become true; it is looked at again and again, as nobody tells."""
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110 - processes of others tell nothing
            await asyncio.sleep(0.05)


@asynccontextmanager
async def open_estate(
    dsn: str, home: Path, channels: Mapping[str, ChannelStock], *, skus: Sequence[str] = ()
) -> AsyncIterator[Estate]:
    """Channels are named as their systems."""
    partners = {name: await asyncio.to_thread(start_partner, name, home, "--rate-per-second", "0") for name in channels}
    pool = await open_pool(dsn, size=8)
    try:
        async with AsyncExitStack() as stack:
            connections = []
            for name, partner in partners.items():
                settings = decode_settings(CONNECTORS[name], name, {"url": partner.url, "key": KEY})
                client = await stack.enter_async_context(CONNECTORS[name].open(settings))
                connections.append(OpenConnection(name, CONNECTORS[name], client))
            await make_known(pool, connections)
            estate = Estate(dsn, pool, make_policy(channels), partners, connections)
            await estate.place_products(skus)
            for channel in channels:
                await estate.allow(channel)
            yield estate
    finally:
        await pool.close()
        for partner in partners.values():
            await asyncio.to_thread(partner.stop)
