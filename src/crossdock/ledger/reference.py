"""Master data as the rules read it: kept in memory, right at every use.

Every change of master data takes the next reference version (one row, locked by its writer, so versions commit in
order). A transaction that reads a newer version than the cache has loads just the rows changed since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from crossdock.ledger.database import Connection, Queries
from crossdock.model.documents import Customer, PriceAgreement, Product
from crossdock.rules.accept import Reference

_SQL: Final = Queries.load("acceptance")
_PRODUCT: Final = msgspec.json.Decoder(Product)
_AGREEMENT: Final = msgspec.json.Decoder(PriceAgreement)
_CUSTOMER: Final = msgspec.json.Decoder(Customer)


class ReferenceCache:
    """One per process. `current` is the view; `catch_up` brings it to a version inside a transaction."""

    def __init__(self) -> None:
        self._version = -1
        # Intake, decider and quotes share this view: an older read must not overtake a newer one.
        self._catching_up = asyncio.Lock()
        self._products: dict[str, Product] = {}
        self._codes: dict[str, tuple[str, str]] = {}
        self._agreements: dict[str, dict[str, PriceAgreement]] = {}
        self._sorted: dict[str, Sequence[PriceAgreement]] = {}
        self._customers: dict[str, Customer] = {}
        self.current = Reference(self._products, self._codes, self._sorted, self._customers)

    @property
    def is_empty(self) -> bool:
        return not self._products

    async def catch_up(self, connection: Connection, version: int) -> Reference:
        if version <= self._version:
            return self.current
        async with self._catching_up:
            if version > self._version:
                await self._load(connection, version)
        return self.current

    async def _load(self, connection: Connection, version: int) -> None:
        since = self._version
        for row in await connection.fetch(_SQL["read_changed_products"], since):
            product = _PRODUCT.decode(row[0])
            self._products[product.sku] = product
            for pack in product.packs:
                if pack.gtin:
                    self._codes[pack.gtin] = (product.sku, pack.unit)
        for row in await connection.fetch(_SQL["read_changed_agreements"], since):
            agreement = _AGREEMENT.decode(row[0])
            self._agreements.setdefault(agreement.sku, {})[agreement.agreement] = agreement
            self._sorted.pop(agreement.sku, None)
        for row in await connection.fetch(_SQL["read_changed_customers"], since):
            customer = _CUSTOMER.decode(row[0])
            self._customers[customer.code] = customer
        for sku, agreements in self._agreements.items():
            if sku not in self._sorted:
                self._sorted[sku] = sorted(agreements.values(), key=lambda item: item.quantity_min, reverse=True)
        self._version = version
