"""The generated business of a run: policy, products, customers, stock and orders, all drawn from the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.ledger import master_data
from crossdock.model.documents import Address, Customer, Pack, PriceAgreement, Product
from crossdock.model.orders import FulfilmentPolicy, OrderPlaced, PaymentIntent, PlacedLine
from crossdock.model.stock import InventoryBalance
from crossdock.model.values import Money, Quantity
from crossdock.policy.plans import Plan, PlannedStep, Plans
from crossdock.policy.policy import ChannelPolicy, Location, Policy, Sourcing
from crossdock.prove.systems import DECLINED
from crossdock.prove.virtual_time import EPOCH

SKUS: Final = tuple(f"SKU-{number}" for number in range(6))
LOCATIONS: Final = ("HAM", "BHX")
SHOP: Final = "shop"
PLANTED_NAME: Final = "Zebedee Quartermain"
PLANTED_TOKEN: Final = "tok_planted_9f3e71"  # noqa: S105 - planted to be looked for, opens nothing

_CARD: Final = Plan(
    name="card",
    steps=(
        PlannedStep("tax.quote", "tax"), PlannedStep("payment.authorise", "payment", ("tax.quote",)),
        PlannedStep("erp.place_order", "erp", ("payment.authorise",)),
        PlannedStep("wms.release", "@warehouse", ("erp.place_order",), "warehouse"),
        PlannedStep("channel.acknowledge", "@channel", ("erp.place_order",)),
    ),
    shipment_steps=(
        PlannedStep("erp.ship", "erp", ("erp.place_order",)),
        PlannedStep("payment.capture", "payment", ("payment.authorise",)),
        PlannedStep("channel.ship", "@channel", ("channel.acknowledge",)),
    ),
    on_refused={"payment.authorise": "cancel", "erp.place_order": "hold"},
    when='payment == "card"',
)  # fmt: skip
_TERMS: Final = Plan(
    name="terms",
    steps=(
        PlannedStep("tax.quote", "tax"), PlannedStep("erp.place_order", "erp", ("tax.quote",)),
        PlannedStep("wms.release", "@warehouse", ("erp.place_order",), "warehouse"),
        PlannedStep("channel.acknowledge", "@channel", ("erp.place_order",)),
    ),
    shipment_steps=(
        PlannedStep("erp.ship", "erp", ("erp.place_order",)),
        PlannedStep("channel.ship", "@channel", ("channel.acknowledge",)),
    ),
    on_refused={"erp.place_order": "hold"},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """An order that will be sent, and what its channel reports about it afterwards."""

    index: int
    placed: OrderPlaced
    at_seconds: float
    cancel_after_seconds: float | None
    paid_after_seconds: float | None


@dataclass(frozen=True, slots=True)
class Business:
    policy: Policy
    products: tuple[Product, ...]
    agreements: tuple[PriceAgreement, ...]
    customers: tuple[Customer, ...]
    stock: dict[tuple[str, str], Decimal]
    orders: tuple[PlannedOrder, ...]


def make_policy() -> Policy:
    rules = ChannelPolicy(connection="shop", currencies=("EUR",), payments=("card", "terms"), fulfilment="split")
    locations = {"HAM": Location("HAM", "EU", "wms"), "BHX": Location("BHX", "UK", "wms")}
    return Policy(
        version="proof", channels={SHOP: rules}, regions={"DE": "EU", "GB": "UK"}, locations=locations,
        sourcing=Sourcing({"EU": ("HAM", "BHX"), "UK": ("BHX", "HAM")}), plans=Plans([_CARD, _TERMS]),
    )  # fmt: skip


def draw_business(chance: random.Random, orders: int) -> Business:
    """A small distributor: prices with odd cents, tight stock, accounts with tight limits."""
    prices = {sku: Decimal(chance.randint(105, 4999)) / 100 for sku in SKUS}
    products = tuple(
        Product(sku, f"Product {sku}", "C62", "standard", (Money(prices[sku], "EUR"),),
                (Pack("C62", Decimal(1)), Pack("XBX", Decimal(12))))
        for sku in SKUS
    )  # fmt: skip
    agreements = tuple(
        PriceAgreement(f"A-{sku}", sku, Money(prices[sku] - Decimal("0.03"), "EUR"), price_group="G1") for sku in SKUS
    )
    customers = tuple(
        Customer(
            f"C{number}", f"Customer {number}", "EUR", "active", price_group="G1", payment_term_days=30,
            credit_limit=Decimal(chance.randint(100, 900)),
        )
        for number in range(3)
    )  # fmt: skip
    stock = {(sku, location): Decimal(chance.randint(0, 40)) for sku in SKUS for location in LOCATIONS}
    planned = tuple(_draw_order(chance, index) for index in range(orders))
    return Business(make_policy(), products, agreements, customers, stock, planned)


def _draw_order(chance: random.Random, index: int) -> PlannedOrder:
    on_account = chance.random() < 0.5
    lines = tuple(
        PlacedLine(
            str(number + 1),
            Quantity(Decimal(1), "XBX") if chance.random() < 0.1 else Quantity(Decimal(chance.randint(1, 9)), "C62"),
            sku=chance.choice(SKUS),
        )
        for number in range(chance.randint(1, 3))
    )
    token = DECLINED if chance.random() < 0.1 else PLANTED_TOKEN
    policies: Sequence[FulfilmentPolicy] = ("split", "split", "complete", "backorder")
    fulfilment = chance.choice(policies)
    placed = OrderPlaced(
        channel_number=f"W{index:04d}", placed_at=EPOCH + timedelta(seconds=index), currency="EUR",
        ship_to=Address(PLANTED_NAME, "Quay 1", "Bremen", "28195", chance.choice(("DE", "GB"))), lines=lines,
        payment=PaymentIntent("terms") if on_account else PaymentIntent("card", token),
        customer=f"C{chance.randrange(3)}" if on_account else "", fulfilment=fulfilment,
    )  # fmt: skip
    # Many come at the same moment, as after a campaign's mail.
    at_seconds = 1.5 if chance.random() < 0.4 else chance.uniform(0, 4)
    cancel_after = chance.uniform(0, 6) if chance.random() < 0.25 else None
    paid_after = chance.uniform(-1, 3) if not on_account and chance.random() < 0.3 else None
    return PlannedOrder(index, placed, at_seconds, cancel_after, paid_after)


async def place_master_data(connection: Any, business: Business) -> None:
    """What ERP and warehouse had reported before the run began."""
    balances = [
        InventoryBalance(sku, location, Quantity(quantity, "C62"), EPOCH - timedelta(minutes=1))
        for (sku, location), quantity in business.stock.items()
    ]
    await master_data.place_products(connection, [("erp", row) for row in business.products], EPOCH)
    await master_data.place_agreements(connection, [("erp", row) for row in business.agreements], EPOCH)
    await master_data.place_customers(connection, [("erp", row) for row in business.customers], EPOCH)
    await master_data.place_balances(connection, [("wms", row) for row in balances], EPOCH)


def encode(document: Any) -> bytes:
    return msgspec.json.encode(document)
