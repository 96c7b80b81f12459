"""Apply reported master data and balances, set-based."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from crossdock.ledger import stock
from crossdock.ledger.database import Connection, Queries
from crossdock.model.documents import Customer, PriceAgreement, Product
from crossdock.model.stock import InventoryBalance
from crossdock.rules.balances import BalanceRow

_SQL: Final = Queries.load("master_data")
_ENCODER: Final = msgspec.json.Encoder()


async def place_products(connection: Connection, products: Sequence[tuple[str, Product]], now: datetime) -> None:
    """`products` are (source connection, product); the last report of a SKU in the batch wins."""
    latest = {product.sku: (source, product) for source, product in products}
    rows = sorted(latest.values(), key=lambda row: row[1].sku)
    version = await connection.fetchval(_SQL["take_version"])
    await connection.execute(
        _SQL["place_products"], [row.sku for _, row in rows], [row.name for _, row in rows],
        [row.status for _, row in rows], [_ENCODER.encode(row) for _, row in rows], [source for source, _ in rows],
        now, version,
    )  # fmt: skip
    codes = {pack.gtin: (row.sku, pack.unit) for _, row in rows for pack in row.packs if pack.gtin}
    if codes:
        await connection.execute(
            _SQL["place_codes"], list(codes), [sku for sku, _ in codes.values()], [unit for _, unit in codes.values()]
        )


async def place_agreements(
    connection: Connection, agreements: Sequence[tuple[str, PriceAgreement]], now: datetime
) -> None:
    latest = {agreement.agreement: (source, agreement) for source, agreement in agreements}
    rows = sorted(latest.values(), key=lambda row: row[1].agreement)
    version = await connection.fetchval(_SQL["take_version"])
    await connection.execute(
        _SQL["place_agreements"], [row.agreement for _, row in rows], [row.sku for _, row in rows],
        [_ENCODER.encode(row) for _, row in rows], [source for source, _ in rows], now, version,
    )  # fmt: skip


async def place_customers(connection: Connection, customers: Sequence[tuple[str, Customer]], now: datetime) -> None:
    latest = {customer.code: (source, customer) for source, customer in customers}
    rows = sorted(latest.values(), key=lambda row: row[1].code)
    version = await connection.fetchval(_SQL["take_version"])
    await connection.execute(
        _SQL["place_customers"], [row.code for _, row in rows], [row.name for _, row in rows],
        [row.status for _, row in rows], [_ENCODER.encode(row) for _, row in rows], [source for source, _ in rows],
        now, version,
    )  # fmt: skip
    await connection.execute(
        _SQL["place_accounts"], [row.code for _, row in rows], [row.receivable for _, row in rows],
        [row.receivable_as_of or now for _, row in rows],
    )  # fmt: skip


async def place_balances(
    connection: Connection, balances: Sequence[tuple[str, InventoryBalance]], now: datetime
) -> None:
    """Balances in base units, where nobody else owns the place."""
    await stock.place_balances(connection, [
        BalanceRow(
            source, row.sku, row.location, row.on_hand.value, row.as_of, row.quality_hold, row.damaged, row.in_transit,
            row.lots,
        ) for source, row in balances
    ], now)  # fmt: skip
