"""What acceptance reads: master data as it stands, and the working figures of a batch of orders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from crossdock.model.documents import Customer, PriceAgreement, Product
from crossdock.model.facts import EventDraft
from crossdock.model.orders import Order, OrderAcknowledgment, OrderProgress, Reason
from crossdock.rules.credit import Exposure
from crossdock.rules.price import Offers, arrange_offers
from crossdock.rules.units import pack_sizes

_NOTHING: Final = Decimal(0)
_NO_OFFERS: Final[Offers] = {}


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What was decided about a placed order.

    `order` and `progress` are None when it is refused. `reservations` are (line, location, SKU, base units); location
    "" waits for supply. A held order reserves nothing and uses no credit: it is decided anew when it is released.
    """

    order: Order | None
    progress: OrderProgress | None
    acknowledgment: OrderAcknowledgment
    reasons: tuple[Reason, ...] = ()
    reservations: tuple[tuple[str, str, str, Decimal], ...] = ()
    credit_amount: Decimal = _NOTHING
    events: tuple[EventDraft, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """Master data. Agreements of a SKU and a product must be replaced as whole objects when they change: what is
    derived from them is kept for as long as they are the same objects.
    """

    products: Mapping[str, Product]
    codes: Mapping[str, tuple[str, str]]
    agreements: Mapping[str, Sequence[PriceAgreement]]
    customers: Mapping[str, Customer]
    _sizes: dict[str, tuple[Product, dict[str, Decimal]]] = field(default_factory=dict, repr=False)
    _offers: dict[str, tuple[Sequence[PriceAgreement], Offers]] = field(default_factory=dict, repr=False)

    def pack_sizes(self, product: Product) -> dict[str, Decimal]:
        kept = self._sizes.get(product.sku)
        if kept is None or kept[0] is not product:
            kept = (product, pack_sizes(product))
            self._sizes[product.sku] = kept
        return kept[1]

    def stocked(self, skus: Iterable[str]) -> set[str]:
        """The SKUs whose stock these are served from: of a kit, its components'."""
        found: set[str] = set()
        for sku in skus:
            product = self.products.get(sku)
            if product is not None and product.components:
                found.update(part.sku for part in product.components)
            else:
                found.add(sku)
        return found

    def offers(self, sku: str) -> Offers:
        agreements = self.agreements.get(sku)
        if agreements is None:
            return _NO_OFFERS
        kept = self._offers.get(sku)
        if kept is None or kept[0] is not agreements:
            kept = (agreements, arrange_offers(agreements))
            self._offers[sku] = kept
        return kept[1]


@dataclass(slots=True)
class Book:
    """Credit and stock as a batch goes on: each acceptance is taken off before the next order is decided."""

    credit: dict[str, Exposure]
    available: dict[tuple[str, str], Decimal]

    def exposure(self, customer: str) -> Exposure:
        return self.credit.get(customer) or Exposure()

    def lend(self, held: Mapping[tuple[str, str], Decimal]) -> None:
        """What a cart holds can be taken by its order."""
        for place, quantity in held.items():
            self.available[place] = self.available.get(place, _NOTHING) + quantity

    def withdraw(self, held: Mapping[tuple[str, str], Decimal]) -> None:
        for place, quantity in held.items():
            self.available[place] -= quantity

    def take(self, acceptance: Acceptance) -> None:
        for _, location, sku, quantity in acceptance.reservations:
            if location:
                self.available[sku, location] -= quantity
        if acceptance.credit_amount and acceptance.order is not None:
            customer = acceptance.order.customer
            self.credit[customer] = self.exposure(customer).plus_order(acceptance.credit_amount)
