"""The scenario `business-day`: what a distributor lives through from six to ten, drawn from a seed.

Each hour of the day passes in half a minute of simulated time; partners, leases and faults keep their own pace, so that
the day is denser than a real one. Consumers buy at the shop and by card, accounts on terms at the portal, a marketplace
pushes its orders; there are peaks, a campaign, prices that change, supply, receipts, and the ERP's maintenance window.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Final

from crossdock.model.documents import Address, Customer, Pack, PriceAgreement, Product
from crossdock.model.facts import Fact, LineChange, SupplyReported
from crossdock.model.orders import FulfilmentPolicy, OrderPlaced, PaymentIntent, PlacedLine
from crossdock.model.stock import InboundSupply
from crossdock.model.values import Money, Quantity
from crossdock.policy.plans import Plans
from crossdock.policy.policy import ChannelPolicy, Location, Policy, Sourcing
from crossdock.prove.faults import Outage
from crossdock.prove.systems import DECLINED, Pace
from crossdock.prove.trade import (
    CARD,
    LOCATIONS,
    LONG_AGO,
    PLANTED_NAME,
    PLANTED_TOKEN,
    SHOP,
    TERMS,
    Business,
    PlannedOrder,
    PlannedReport,
    Receipt,
    encode,
)
from crossdock.prove.virtual_time import EPOCH

NAME: Final = "business-day"
FIRST_HOUR: Final = 6
HOURS: Final = 16
HOUR_SECONDS: Final = 30.0
PORTAL: Final = "portal"
MARKET: Final = "market"
CHANNELS: Final = {SHOP: "shop", PORTAL: "portal", MARKET: "market"}
SKUS: Final = tuple(f"SKU-{number:02d}" for number in range(24))
HOT: Final = SKUS[0]
"""What the marketplace's campaign is about."""
CUSTOMERS: Final = 8
ORDERS_USUAL: Final = 220
"""So many orders share the accounts and goods of one distributor; more orders are more of both."""
_MIX: Final = ((SHOP, 0.45), (PORTAL, 0.35), (MARKET, 0.2))
# How many orders an hour brings, against the others: a morning peak of accounts, a lunch break, a consumers' evening.
_LOAD: Final = (1, 2, 5, 8, 7, 5, 3, 4, 5, 5, 4, 5, 6, 7, 5, 2)
_CAMPAIGN_HOURS: Final = (4, 5)
_MAINTENANCE_HOUR: Final = 7


def at_hour(hour: float) -> float:
    """The simulated second at which an hour of the day begins, counted from the first."""
    return hour * HOUR_SECONDS


def draw_day(chance: random.Random, orders: int) -> Business:
    """A day's business with its truth: prices and when they change, stock and what comes, who may owe how much."""
    larger = max(1, orders // ORDERS_USUAL)
    lists = {sku: Decimal(chance.randint(105, 9999)) / 100 for sku in SKUS}
    products = tuple(
        Product(sku, f"Product {sku}", "C62", "standard", (Money(lists[sku], "EUR"),),
                (Pack("C62", Decimal(1)), Pack("XBX", Decimal(6))))
        for sku in SKUS
    )  # fmt: skip
    agreements = tuple(_agreement(sku, lists[sku] - Decimal("0.07")) for sku in SKUS)
    # What begins tomorrow or ended yesterday counts for nobody today.
    today = EPOCH.date()
    others = tuple(
        PriceAgreement(
            f"B-{sku}", sku, Money(Decimal("0.5"), "EUR"), price_group="G1",
            valid_from=today + timedelta(days=2) if sku < SKUS[12] else None,
            valid_until=None if sku < SKUS[12] else today - timedelta(days=1),
        )
        for sku in SKUS
    )  # fmt: skip
    customers = tuple(
        Customer(
            f"C{number}", f"Customer {number}", "EUR", "blocked" if number % CUSTOMERS == CUSTOMERS - 1 else "active",
            price_group="G1", payment_term_days=30, credit_limit=Decimal(chance.randint(400, 9000)),
        )
        for number in range(CUSTOMERS * larger)
    )  # fmt: skip
    stock = {(sku, place): Decimal(chance.randint(0, 90 * larger)) for sku in SKUS for place in LOCATIONS}
    planned = tuple(
        _draw_order(chance, index, hour, len(customers)) for index, hour in enumerate(_hours_of(chance, orders))
    )
    planned = _draw_changes(planned)
    receipts, supplies = _draw_supply(chance, larger)
    reports, prices = _draw_prices(chance, lists)
    pace = Pace(slowest_seconds=at_hour(1), counts_max=14, count_gap_seconds=(5, at_hour(2)), places_max=8)
    return Business(
        _policy(), products, (*agreements, *others), customers, stock, planned, dict(CHANNELS), pace,
        (*reports, *supplies), receipts, prices,
    )  # fmt: skip


def draw_maintenance(chance: random.Random) -> Outage:
    """The ERP's window: announced for an hour, and sometimes longer."""
    begins = at_hour(_MAINTENANCE_HOUR)
    return Outage("erp", begins, round(begins + at_hour(chance.uniform(0.5, 1.8)), 3))


def _policy() -> Policy:
    locations = {"HAM": Location("HAM", "EU", "wms"), "BHX": Location("BHX", "UK", "wms")}
    return Policy(
        version="proof-day", regions={"DE": "EU", "GB": "UK"}, locations=locations,
        channels={
            SHOP: ChannelPolicy("shop", ("EUR",), ("card",), fulfilment="split"),
            PORTAL: ChannelPolicy("portal", ("EUR",), ("terms",), customer_required=True, fulfilment="backorder"),
            MARKET: ChannelPolicy("market", ("EUR",), ("collected",), price_source="channel", fulfilment="complete"),
        },
        sourcing=Sourcing({"EU": ("HAM", "BHX"), "UK": ("BHX", "HAM")}), plans=Plans([CARD, TERMS]),
    )  # fmt: skip


def _agreement(sku: str, price: Decimal) -> PriceAgreement:
    return PriceAgreement(f"A-{sku}", sku, Money(price, "EUR"), price_group="G1")


def _hours_of(chance: random.Random, orders: int) -> Sequence[int]:
    return sorted(chance.choices(range(HOURS), weights=_LOAD, k=orders))


def _draw_order(chance: random.Random, index: int, hour: int, customers: int) -> PlannedOrder:
    channel = chance.choices([name for name, _ in _MIX], weights=[share for _, share in _MIX])[0]
    hot = channel == MARKET and hour in _CAMPAIGN_HOURS
    lines = tuple(_draw_line(chance, number, channel, hot=hot) for number in range(chance.randint(1, 4)))
    payments = {
        SHOP: PaymentIntent("card", DECLINED if chance.random() < 0.06 else PLANTED_TOKEN),
        PORTAL: PaymentIntent("terms"), MARKET: PaymentIntent("collected"),
    }  # fmt: skip
    kinds: Sequence[FulfilmentPolicy] = ("split", "split", "complete", "backorder")
    # A campaign's mail brings many at once, at the full hour.
    at_seconds = at_hour(hour) + (1.5 if chance.random() < 0.2 else chance.uniform(0, HOUR_SECONDS))
    placed = OrderPlaced(
        channel_number=f"{channel[0].upper()}{index:04d}", placed_at=EPOCH + timedelta(seconds=at_seconds),
        currency="EUR", lines=lines, payment=payments[channel],
        ship_to=Address(PLANTED_NAME, "Quay 1", "Bremen", "28195", chance.choice(("DE", "DE", "GB"))),
        customer=f"C{chance.randrange(customers)}" if channel == PORTAL else "",
        fulfilment=chance.choice(kinds) if channel != MARKET else None,
    )  # fmt: skip
    cancel_after = chance.uniform(0, at_hour(1.5)) if chance.random() < 0.08 else None
    paid_after = chance.uniform(-1, 6) if channel == SHOP and chance.random() < 0.4 else None
    return PlannedOrder(
        index, placed, round(at_seconds, 3), cancel_after, paid_after, channel, is_pushed=channel == MARKET
    )  # fmt: skip


def _draw_changes(planned: tuple[PlannedOrder, ...]) -> tuple[PlannedOrder, ...]:
    """Buyers who want less of something than they ordered: most at once, when no warehouse has been told yet; some when
    it is too late, and a few want more, which is no change. Drawn apart, so that the day stays what it was without."""
    chance = random.Random(f"changes of {len(planned)} until {planned[-1].at_seconds}")
    found = []
    for order in planned:
        lines = order.placed.lines
        if chance.random() >= 0.15:
            found.append(order)
            continue
        changed = sorted(chance.sample(range(len(lines)), chance.randint(1, len(lines))))
        more = int(chance.random() < 0.05)
        change = tuple(
            LineChange(lines[place].line, Quantity(
                Decimal(chance.randint(0, int(lines[place].quantity.value)) + more * 10), lines[place].quantity.unit
            ))
            for place in changed
        )  # fmt: skip
        after = chance.uniform(-0.5, 1.5) if chance.random() < 0.7 else chance.uniform(0, at_hour(1))
        found.append(replace(order, change_after_seconds=round(after, 3), change=change))
    return tuple(found)


def _draw_line(chance: random.Random, number: int, channel: str, *, hot: bool) -> PlacedLine:
    sku = HOT if hot and number == 0 else chance.choice(SKUS)
    unit = "XBX" if channel == PORTAL and chance.random() < 0.25 else "C62"
    most = 8 if channel == PORTAL else 3
    asked = Money(Decimal(chance.randint(300, 3000)) / 100, "EUR") if channel == MARKET else None
    return PlacedLine(str(number + 1), Quantity(Decimal(chance.randint(1, most)), unit), sku=sku, unit_price=asked)


def _draw_supply(chance: random.Random, larger: int) -> tuple[tuple[Receipt, ...], tuple[PlannedReport, ...]]:
    """Purchase orders that the ERP tells in the morning, and what of them comes during the day."""
    receipts = []
    supplies = []
    for number in range(chance.randint(2, 5)):
        place = chance.choice(LOCATIONS)
        goods = {
            (sku, place): Decimal(chance.randint(10, 60 * larger)) for sku in chance.sample(SKUS, chance.randint(1, 5))
        }
        rows = tuple(
            InboundSupply(
                f"PO-{number}", str(line), sku, location, Quantity(quantity, "C62"), EPOCH.date() + timedelta(days=1)
            )
            for line, ((sku, location), quantity) in enumerate(goods.items())
        )
        raw = encode(SupplyReported(rows, EPOCH))
        fact = Fact("erp", "supply.reported", f"PO-{number}", raw, raw)
        supplies.append(PlannedReport(round(chance.uniform(1, 20), 3), fact))
        receipts.append(Receipt(round(at_hour(chance.uniform(3, HOURS - 3)), 3), goods))
    return tuple(receipts), tuple(supplies)


def _draw_prices(
    chance: random.Random, lists: dict[str, Decimal]
) -> tuple[tuple[PlannedReport, ...], dict[str, tuple[tuple[float, Decimal], ...]]]:
    """Contract prices that the ERP changes during the day, and the truth of what they were when."""
    truth = {sku: [(LONG_AGO, price - Decimal("0.07"))] for sku, price in lists.items()}
    reports = []
    for number, sku in enumerate(chance.sample(SKUS, chance.randint(3, 8))):
        at_seconds = round(at_hour(chance.uniform(1, HOURS - 1)), 3)
        price = Decimal(chance.randint(105, 9999)) / 100
        raw = encode(_agreement(sku, price))
        fact = Fact("erp", "price.published", f"price-{number}", raw, raw, subject=sku)
        reports.append(PlannedReport(at_seconds, fact))
        truth[sku].append((at_seconds, price))
    return tuple(reports), {sku: tuple(moments) for sku, moments in truth.items()}
