"""Stock of a small business at a given moment: places, a late feed, a held report, channels told, differences."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg

from crossdock.ledger import drift as ledger
from crossdock.ledger import master_data
from crossdock.ledger.facts import insert_facts
from crossdock.model.documents import Component, Pack, Product
from crossdock.model.facts import Fact
from crossdock.model.values import Money
from crossdock.policy.plans import Plans
from crossdock.policy.policy import ChannelPolicy, Location, Policy, Sourcing
from crossdock.policy.stock import ChannelStock, StockPolicy
from crossdock.rules.comparison import Cause, Drift, Side

PRICE = (Money(Decimal("2.50"), "EUR"),)
NAMES = {"BOLT-M8": "Bolt M8", "NUT-M8": "Nut M8", "PLATE": "Fixing plate, galvanised"}


def stock_policy() -> Policy:
    """Two channels; the shop keeps a buffer."""
    told = {"shop": ChannelStock(buffer=Decimal(8)), "portal": ChannelStock()}
    return Policy(
        version="1", channels={name: ChannelPolicy(name, ("EUR",), ("card",)) for name in told}, regions={"DE": "EU"},
        locations={"HAM": Location("HAM", "EU", "wms"), "BHX": Location("BHX", "UK", "wms")},
        sourcing=Sourcing({"EU": ("HAM", "BHX")}), plans=Plans([]), stock=StockPolicy(channels=told),
    )  # fmt: skip


def make_products() -> list[Product]:
    packs = (Pack("C62", Decimal(1)), Pack("XBX", Decimal(100)))
    plain = {**NAMES, **{f"SCREW-{number:03d}": f"Screw {number}" for number in range(60)}}
    products = [Product(sku, name, "C62", "standard", PRICE, packs) for sku, name in plain.items()]
    parts = (Component("BOLT-M8", Decimal(3)), Component("PLATE", Decimal(1)))
    return [*products, Product("SET-1", "Fixing set", "C62", "standard", PRICE, packs, components=parts)]


async def place_stock_estate(pool: asyncpg.Pool[Any], now: datetime) -> None:
    heard, late = now - timedelta(minutes=2), now - timedelta(hours=3)
    rows: list[tuple[Any, ...]] = [
        ("BOLT-M8", "HAM", 900, 120, 20, "wms", heard),
        ("NUT-M8", "HAM", 40, 45, 0, "wms", heard),
    ]
    rows += [("PLATE", "HAM", 9, 0, 0, "wms", heard)]
    rows += [(f"SCREW-{number:03d}", "BHX", 100 + number, 0, 0, "erp", late) for number in range(60)]
    async with pool.acquire() as connection, connection.transaction():
        await master_data.place_products(connection, [("erp", product) for product in make_products()], now)
        await connection.executemany(
            "INSERT INTO stock (sku, location, on_hand, reported, reserved, quality_hold, source, as_of, reported_at)"
            " VALUES ($1, $2, $3, $3, $4, $5, $6, $7, $7)", rows,
        )  # fmt: skip
        await connection.executemany(
            "INSERT INTO stock_sources (source, location, as_of, received_at, rhythm_seconds, row_count, stale_since)"
            " VALUES ($1, $2, $3, $3, $4, $5, $6)",
            [("wms", "HAM", heard, Decimal(60), 3, None), ("erp", "BHX", late, Decimal(300), 60, now)],
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO stock_reports (sku, location, source, on_hand, as_of, received_at, standing, difference)"
            " VALUES ('BOLT-M8', 'HAM', 'erp', 870, $1, $1, 'not_owner', -30)", heard,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO publication_lanes (channel, last_ok_at) VALUES ('shop', $1), ('portal', $1)", heard
        )
        told = [
            ("shop", "BOLT-M8", 760, 760, False, None, None), ("portal", "BOLT-M8", 760, 800, False, None, None),
            ("shop", "NUT-M8", 0, None, True, "sku_unknown", "there is no listing for this item"),
        ]  # fmt: skip
        await connection.executemany(
            "INSERT INTO publications (channel, sku, unit, wanted, acknowledged, parked, error_code, error_message,"
            " wanted_version, acknowledged_version, wanted_at, owner_at, computed_at, acknowledged_at)"
            " VALUES ($1, $2, 'C62', $3::numeric, $4::numeric, $5, $6, $7, 2, CASE WHEN $3::numeric = $4::numeric"
            " THEN 2 ELSE 1 END, $8, $8, $8, $8)",
            [(*row, heard) for row in told],
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO stock_latency (channel, minute, bucket, count) VALUES ('shop', $1, 7, 95), ('shop', $1, 9, 5)",
            heard,
        )  # fmt: skip
        found = [
            make_drift("channel", "BOLT-M8", "", 760, 783, "rival_writer"),
            make_drift("channel", "NUT-M8", "", 0, 5, "rival_writer"),
        ]  # fmt: skip
        await ledger.place_drift(connection, "channel", "shop", found, (), 100, now)
        await ledger.place_drift(
            connection, "owner", "erp", [make_drift("owner", "SCREW-001", "BHX", 101, 90, "late")], (), 60, now
        )
        body = b'{"balances":[],"complete":true}'
        await insert_facts(connection, [Fact("erp", "balances.reported", "BHX", body, body)], now)
        fact = await connection.fetchval("SELECT max(fact_id) FROM facts")
        reason = "The report takes 60 of 60 stocked SKUs to nothing."
        await connection.execute(
            "UPDATE facts SET state = 'quarantined', cause = 'report_wild', message = $2, owner = 'operations',"
            " next_action = 'Look at it, then replay.' WHERE fact_id = $1", fact, reason,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO stock_held_facts (fact_id, reason, held_at) VALUES ($1, $2, $3)", fact, reason, now
        )
        await connection.execute(
            "UPDATE stock_sources SET held_since = $1, held_reason = $2 WHERE source = 'erp'", now, reason
        )


def make_drift(side: Side, sku: str, location: str, expected: int, found: int, cause: Cause) -> Drift:
    amount = abs(expected - found) * Decimal("2.50")
    return Drift(side, sku, location, Decimal(expected), Decimal(found), cause, amount, "EUR", certain=True)
