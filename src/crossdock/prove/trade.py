"""The generated business of a run: policy, products, customers, stock and orders, all drawn from the seed."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.ledger import master_data
from crossdock.model.documents import Address, Customer, Pack, PriceAgreement, Product
from crossdock.model.facts import Fact, LineChange
from crossdock.model.orders import FulfilmentPolicy, OrderPlaced, PaymentIntent, PlacedLine
from crossdock.model.stock import InventoryBalance
from crossdock.model.values import Money, Quantity
from crossdock.policy.plans import Plan, PlannedStep, Plans
from crossdock.policy.policy import ChannelPolicy, Location, Policy, Sourcing
from crossdock.prove.stock_history import Telling
from crossdock.prove.systems import DECLINED, Pace
from crossdock.prove.virtual_time import EPOCH

SKUS: Final = 6
CUSTOMERS: Final = 3
ORDERS_USUAL: Final = 15
"""So many orders share the goods and accounts of one small distributor; more orders are more of both."""
WINDOW_SECONDS: Final = 4.0
"""Within which a small distributor's orders come; those of one that is four times as large in twice the time."""
RUSH_MOMENT: Final = 1.5
"""At which many come at once."""
RUSH_ORDERS: Final = 8
"""So many orders want the same goods in a rush."""
LOCATIONS: Final = ("HAM", "BHX")
SHOP: Final = "shop"
LONG_AGO: Final = -86400.0
PLANTED_NAME: Final = "Zebedee Quartermain"
PLANTED_TOKEN: Final = "tok_planted_9f3e71"  # noqa: S105 - planted to be looked for, opens nothing

CARD: Final = Plan(
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
TERMS: Final = Plan(
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
    channel: str = SHOP
    is_pushed: bool = False
    """The channel tells it as a message, and nobody waits for our answer."""
    on_way_seconds: float = 0.0
    """So long after its buyer placed it, it comes to us."""
    change_after_seconds: float | None = None
    change: tuple[LineChange, ...] = ()
    """What the buyer wants of some lines after all."""


@dataclass(frozen=True, slots=True)
class PlannedReport:
    """What a system tells of itself at a moment: a price, a supply."""

    at_seconds: float
    fact: Fact


@dataclass(frozen=True, slots=True)
class Receipt:
    """Goods that come to the warehouse."""

    at_seconds: float
    goods: dict[tuple[str, str], Decimal]


@dataclass(frozen=True, slots=True)
class Business:
    """`channels` says which system is behind which channel, `shelves` which of these are told stock, and how.
    `prices`: from when on (simulated seconds) a SKU costs an account what."""

    policy: Policy
    products: tuple[Product, ...]
    agreements: tuple[PriceAgreement, ...]
    customers: tuple[Customer, ...]
    stock: dict[tuple[str, str], Decimal]
    orders: tuple[PlannedOrder, ...]
    channels: dict[str, str]
    pace: Pace = field(default_factory=Pace)
    reports: tuple[PlannedReport, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    prices: dict[str, tuple[tuple[float, Decimal], ...]] = field(default_factory=dict)
    shelves: dict[str, Telling] = field(default_factory=dict)


def make_policy(version: str = "proof", plans: Sequence[Plan] = (CARD, TERMS), **channel: Any) -> Policy:
    """One shop, two warehouses of two regions; `channel` sets what the shop may do besides."""
    rules = ChannelPolicy(connection=SHOP, currencies=("EUR",), payments=("card", "terms"), **channel)
    locations = {"HAM": Location("HAM", "EU", "wms"), "BHX": Location("BHX", "UK", "wms")}
    return Policy(
        version=version, channels={SHOP: rules}, regions={"DE": "EU", "GB": "UK"}, locations=locations,
        sourcing=Sourcing({"EU": ("HAM", "BHX"), "UK": ("BHX", "HAM")}), plans=Plans(plans),
    )  # fmt: skip


def draw_business(chance: random.Random, orders: int) -> Business:
    """A small distributor: prices with odd cents, tight stock, accounts with tight limits."""
    size = max(1, orders // ORDERS_USUAL)
    skus = tuple(f"SKU-{number}" for number in range(SKUS * size))
    prices = {sku: Decimal(chance.randint(105, 4999)) / 100 for sku in skus}
    products = tuple(
        Product(sku, f"Product {sku}", "C62", "standard", (Money(prices[sku], "EUR"),),
                (Pack("C62", Decimal(1)), Pack("XBX", Decimal(12))))
        for sku in skus
    )  # fmt: skip
    agreements = tuple(
        PriceAgreement(f"A-{sku}", sku, Money(prices[sku] - Decimal("0.03"), "EUR"), price_group="G1") for sku in skus
    )
    customers = tuple(
        Customer(
            f"C{number}", f"Customer {number}", "EUR", "active", price_group="G1", payment_term_days=30,
            credit_limit=Decimal(chance.randint(100, 900)),
        )
        for number in range(CUSTOMERS * size)
    )  # fmt: skip
    stock = {(sku, location): Decimal(chance.randint(0, 40)) for sku in skus for location in LOCATIONS}
    window_seconds = WINDOW_SECONDS * math.sqrt(size)
    planned = tuple(_draw_order(chance, index, skus, len(customers), window_seconds) for index in range(orders))
    agreed: dict[str, tuple[tuple[float, Decimal], ...]] = {
        agreement.sku: ((LONG_AGO, agreement.unit_price.amount),) for agreement in agreements
    }
    return Business(make_policy(), products, agreements, customers, stock, planned, {SHOP: SHOP}, prices=agreed)


def draw_rush(chance: random.Random, business: Business) -> Business:
    """The same business when all buyers want the same few goods at the same moment."""
    skus = [product.sku for product in business.products]
    hot = chance.sample(skus, max(1, len(business.orders) // RUSH_ORDERS))
    # Enough for some of them, and never for all.
    stock = dict(business.stock)
    for sku in hot:
        stock.update({(sku, location): Decimal(chance.randint(0, 2)) for location in LOCATIONS})
        stock[sku, chance.choice(LOCATIONS)] += 1
    orders = tuple(_rush(chance, order, hot) for order in business.orders)
    return dataclasses.replace(business, stock=stock, orders=orders)


def _rush(chance: random.Random, order: PlannedOrder, hot: Sequence[str]) -> PlannedOrder:
    wanted = PlacedLine("1", Quantity(Decimal(chance.randint(1, 3)), "C62"), sku=chance.choice(hot))
    lines = (wanted, *(order.placed.lines[1:] if chance.random() < 0.3 else ()))
    placed = msgspec.structs.replace(order.placed, lines=lines)
    return dataclasses.replace(order, placed=placed, at_seconds=RUSH_MOMENT)


def _draw_order(
    chance: random.Random, index: int, skus: Sequence[str], customers: int, window_seconds: float
) -> PlannedOrder:
    on_account = chance.random() < 0.5
    lines = tuple(
        PlacedLine(
            str(number + 1),
            Quantity(Decimal(1), "XBX") if chance.random() < 0.1 else Quantity(Decimal(chance.randint(1, 9)), "C62"),
            sku=chance.choice(skus),
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
        customer=f"C{chance.randrange(customers)}" if on_account else "", fulfilment=fulfilment,
    )  # fmt: skip
    # Many come at the same moment, as after a campaign's mail.
    at_seconds = RUSH_MOMENT if chance.random() < 0.4 else chance.uniform(0, window_seconds)
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
