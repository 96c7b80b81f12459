"""A small world for the rules: a few products, accounts and prices, and orders written in one line."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from crossdock.model.documents import Address, Customer, Pack, PriceAgreement, Product
from crossdock.model.orders import OrderPlaced, PaymentIntent, PlacedLine
from crossdock.model.values import Money, Quantity
from crossdock.policy.plans import Plan, Plans
from crossdock.policy.policy import ChannelPolicy, Location, Policy, Sourcing
from crossdock.rules.accept import Acceptance, Book, Exposure, Reference, decide_acceptance

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ADDRESS = Address("Acme GmbH", "Hafenstr. 1", "Bremen", "28195", "DE")


def euro(amount: str) -> Money:
    return Money(Decimal(amount), "EUR")


def product(sku: str, unit: str, price: str, *packs: tuple[str, int], status: str = "active") -> Product:
    sizes = (Pack(unit, Decimal(1)), *(Pack(name, Decimal(size)) for name, size in packs))
    prices = (euro(price),) if price else ()
    made = Product(sku, sku.title(), unit, "standard", prices, sizes)
    return msgspec.convert({**msgspec.to_builtins(made), "status": status}, Product, strict=False)


PRODUCTS = {
    made.sku: made
    for made in (
        product("BOLT", "C62", "2.00", ("XBX", 10)),
        product("CABLE", "MTR", "1.50", ("XDR", 100)),
        product("PLATE", "C62", "10.00"),
        product("OLD", "C62", "1.00", status="discontinued"),
        product("BAD", "C62", "1.00", status="blocked"),
        product("FREE", "C62", ""),
    )
}
CUSTOMERS = {
    made.code: made
    for made in (
        Customer("C1", "One", "EUR", "active", "G1", 30, Decimal(1000)),
        Customer("C2", "Two", "EUR", "blocked", "", 30, Decimal(1000)),
        Customer("C3", "Three", "GBP", "active", "", 30, Decimal(1000)),
    )
}
AGREEMENTS = {"BOLT": [PriceAgreement("G1-1", "BOLT", euro("1.80"), price_group="G1")]}
REFERENCE = Reference(PRODUCTS, {"4012345678901": ("BOLT", "C62")}, AGREEMENTS, CUSTOMERS)
POLICY = Policy(
    "test",
    {
        "portal": ChannelPolicy(
            "portal", ("EUR", "GBP"), ("terms", "card"), "business", customer_required=True,
            price_tolerance_percent=Decimal(2),
        ),
        "shop": ChannelPolicy("shop", ("EUR",), ("card",), price_source="channel"),
        "services": ChannelPolicy("", ("EUR",), ("terms",), "service"),
    },
    {"DE": "EU"},
    {"HAM": Location("HAM", "EU", "wms"), "BHX": Location("BHX", "UK", "wms")},
    Sourcing({"EU": ("HAM", "BHX")}, ("service",)),
    Plans([Plan("business", (), 'order_type == "business"'), Plan("rest", ())]),
)  # fmt: skip


def make_book() -> Book:
    return Book(
        {"C1": Exposure()},
        {
            ("BOLT", "HAM"): Decimal(50), ("BOLT", "BHX"): Decimal(30), ("CABLE", "HAM"): Decimal("250.5"),
            ("OLD", "HAM"): Decimal(3),
        },
    )  # fmt: skip


def make_line(name: str, text: str) -> PlacedLine:
    """`SKU quantity unit [@ price [currency]]`."""
    goods, _, asked = text.partition("@")
    sku, value, unit = goods.split()
    price = None
    if asked:
        amount, *currency = asked.split()
        price = Money(Decimal(amount), currency[0] if currency else "EUR")
    return PlacedLine(name, Quantity(Decimal(value), unit), sku, unit_price=price)


def make_order(lines: str, *, payment: str = "terms", customer: str = "C1", number: str = "P-1") -> OrderPlaced:
    """`payment` with a bang lacks its token."""
    intent = msgspec.convert(
        {"method": payment.rstrip("!"), "token": "tok_1" if payment == "card" else ""}, PaymentIntent
    )
    made = tuple(make_line(str(index), text) for index, text in enumerate(filter(None, lines.split(",")), start=1))
    return OrderPlaced(number, NOW, "EUR", ADDRESS, made, intent, customer)


def decide(
    order: OrderPlaced, channel: str = "portal", *, book: Book | None = None, waived: frozenset[str] = frozenset()
) -> Acceptance:
    return decide_acceptance(
        order, channel=channel, order_id=1, number="CD00000001", accepted_at=NOW, reference=REFERENCE,
        book=book or make_book(), policy=POLICY, waived=waived,
    )  # fmt: skip
