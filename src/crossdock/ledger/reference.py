"""Master data as the rules read it: kept in memory, right at every use, bounded.

Every change of master data takes the next reference version (one row, locked by its writer, so versions commit in
order). A transaction that reads a newer version than the cache has forgets what changed since. Products are read when
they are asked for, with their price agreements; those that are asked for again and again cost no query. Customers are
kept whole: there are far fewer of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from crossdock.ledger.database import Connection, Queries
from crossdock.ledger.remembered import Remembered
from crossdock.model.documents import Customer, PriceAgreement, Product
from crossdock.rules.accept import Reference
from crossdock.rules.price import Offers

# With its agreements a product takes one to three kilobytes.
PRODUCTS_KEPT_MAX: Final = 50_000
CHANGED_MAX: Final = 5_000
_SQL: Final = Queries.load("reference")
_PRODUCT: Final = msgspec.json.Decoder(Product)
_AGREEMENTS: Final = msgspec.json.Decoder(list[PriceAgreement])
_CUSTOMER: Final = msgspec.json.Decoder(Customer)

Known = tuple[Product, Sequence[PriceAgreement]]


class ReferenceCache:
    """One per process. What it hands out belongs to the asker and does not change; it holds what was asked for."""

    def __init__(self, kept_max: int = PRODUCTS_KEPT_MAX) -> None:
        self._kept_max = kept_max
        self._version = -1
        # Intake, decider and quotes share what is kept: an older read must not overtake a newer one.
        self._catching_up = asyncio.Lock()
        self._known: Remembered[Known] = Remembered(kept_max)
        # Where a GTIN was found last. Whether it still is there, the product's packs say.
        self._codes: Remembered[str] = Remembered(kept_max)
        self._customers: dict[str, Customer] = {}
        self._sizes: dict[str, tuple[Product, dict[str, Decimal]]] = {}
        self._offers: dict[str, tuple[Sequence[PriceAgreement], Offers]] = {}

    @property
    def version(self) -> int:
        """Of the master data that is kept; -1 before anything was read."""
        return self._version

    @property
    def customers(self) -> Mapping[str, Customer]:
        return self._customers

    def count(self) -> int:
        """How many products are kept."""
        return self._known.count()

    def recall(self, skus: Iterable[str], gtins: Iterable[str] = ()) -> Reference | None:
        """What is kept about these products, as of `version`; None: not everything that is asked for is kept."""
        codes = {}
        for gtin in gtins:
            found = self._find_code(gtin)
            if found is None:
                return None
            codes[gtin] = found
        known = self._gather({*skus, *(sku for sku, _ in codes.values())})
        return self._hand_out(known, codes) if known is not None else None

    async def catch_up(
        self, connection: Connection, version: int, skus: Collection[str], gtins: Collection[str] = ()
    ) -> Reference:
        """Master data about these products, at least as young as `version`."""
        if version <= self._version:
            kept = self.recall(skus, gtins)
            if kept is not None:
                return kept
        async with self._catching_up:
            if version > self._version:
                await self._forget_changed(connection, version)
            return await self._load(connection, skus, gtins)

    def _find_code(self, gtin: str) -> tuple[str, str] | None:
        sku = self._codes.find(gtin)
        known = self._known.find(sku) if sku is not None else None
        if sku is None or known is None:
            return None
        unit = next((pack.unit for pack in known[0].packs if pack.gtin == gtin), None)
        return (sku, unit) if unit is not None else None

    def _gather(self, skus: Collection[str]) -> dict[str, Known] | None:
        """These products and the components of the kits among them; None: some are not kept."""
        found: dict[str, Known] = {}
        for sku in skus:
            known = self._known.find(sku)
            if known is None:
                return None
            found[sku] = known
            for part in known[0].components:
                component = self._known.find(part.sku)
                if component is None:
                    return None
                found[part.sku] = component
        return found

    def _hand_out(self, known: Mapping[str, Known], codes: Mapping[str, tuple[str, str]]) -> Reference:
        if len(self._sizes) > self._kept_max or len(self._offers) > self._kept_max:
            self._sizes, self._offers = {}, {}
        products = {sku: product for sku, (product, _) in known.items()}
        agreements = {sku: offered for sku, (_, offered) in known.items() if offered}
        return Reference(products, codes, agreements, self._customers, self._sizes, self._offers)

    async def _forget_changed(self, connection: Connection, version: int) -> None:
        since = self._version
        if not self._known.is_empty:
            changed = [row[0] for row in await connection.fetch(_SQL["find_changed"], since, CHANGED_MAX + 1)]
            if len(changed) > CHANGED_MAX:
                self._known.clear()
            self._known.forget(changed)
        for row in await connection.fetch(_SQL["read_changed_customers"], since):
            customer = _CUSTOMER.decode(row[0])
            self._customers[customer.code] = customer
        self._version = version

    async def _load(self, connection: Connection, skus: Collection[str], gtins: Collection[str]) -> Reference:
        """What is kept, and the rest from the ledger."""
        unknown = [gtin for gtin in sorted(gtins) if self._find_code(gtin) is None]
        holders: dict[str, str] = {}
        if unknown:
            holders = dict(await connection.fetch(_SQL["read_codes"], unknown))
        for gtin in gtins:
            if gtin not in holders:
                kept = self._codes.find(gtin)
                if kept is not None:
                    holders[gtin] = kept
        known = await self._read(connection, {*skus, *holders.values()})
        parts = {part.sku for product, _ in known.values() for part in product.components}
        known |= await self._read(connection, parts - known.keys())
        codes = {}
        for gtin, sku in holders.items():
            packs = known[sku][0].packs if sku in known else ()
            unit = next((pack.unit for pack in packs if pack.gtin == gtin), None)
            if unit is not None:
                self._codes.keep(gtin, sku)
                codes[gtin] = (sku, unit)
        return self._hand_out(known, codes)

    async def _read(self, connection: Connection, skus: Collection[str]) -> dict[str, Known]:
        found: dict[str, Known] = {}
        missing = []
        for sku in sorted(skus):
            kept = self._known.find(sku)
            if kept is None:
                missing.append(sku)
            else:
                found[sku] = kept
        for body, offered in await connection.fetch(_SQL["read_products"], missing) if missing else ():
            product = _PRODUCT.decode(body)
            agreements = _AGREEMENTS.decode(offered) if offered is not None else []
            agreements.sort(key=lambda agreement: agreement.quantity_min, reverse=True)
            found[product.sku] = (product, agreements)
            self._known.keep(product.sku, found[product.sku])
        return found
