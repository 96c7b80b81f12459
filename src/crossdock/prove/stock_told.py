"""The scenario `stock-told`: four channels that are told stock, each in another manner, on a bad day.

A warehouse counts, finds and receives goods; buyers take what the channels show, others order by API. Of each SKU every
channel must show what its terms make of the owner's stock: `allowed` says it in a few lines of its own.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Collection, Mapping
from datetime import timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Final

import msgspec

from crossdock.model.documents import Address
from crossdock.model.orders import OrderPlaced, PaymentIntent, PlacedLine
from crossdock.model.values import Money, Quantity
from crossdock.policy.plans import Plans
from crossdock.policy.policy import ChannelPolicy, Policy
from crossdock.policy.stock import ChannelStock, Freshness, StockPolicy
from crossdock.prove.faults import (
    CALL_FAULTS,
    Fault,
    Outage,
    RivalEdit,
    ShelfFault,
    ShelfFaultKind,
    kind_of,
)
from crossdock.prove.stock_history import Telling
from crossdock.prove.systems import DECLINED, Pace
from crossdock.prove.trade import (
    CARD,
    LOCATIONS,
    PLANTED_NAME,
    PLANTED_TOKEN,
    TERMS,
    Business,
    PlannedOrder,
    Receipt,
    draw_business,
)
from crossdock.prove.virtual_time import EPOCH

NAME: Final = "stock-told"
DIRECT: Final = "direct"
"""Programs that order by API and are told nothing."""
TELLINGS: Final[Mapping[str, Telling]] = {
    "shop": Telling("answers", 4, 2.5, 3),
    "bazaar": Telling("feeds", 20, 0.08, 4),
    "agora": Telling("singly", 6, 5, 4),
    "portal": Telling("names_refused", 10, 4, 4, is_compared=False),
}
CHANNELS: Final = {name: name for name in (*TELLINGS, DIRECT)}
WINDOW_SECONDS: Final = 30.0
LOOKS_PER_MINUTE: Final = 20
KINDS: Final = frozenset({
    "kill", "cut", "pause", "clock_jump", "pool_exhausted", "outage", *CALL_FAULTS, "repeat_page", "reorder_page",
    "feed_down", "duplicate_order", "duplicate_fact", "refused_items", "dropped_items", "duplicated_call", "late_feed",
    "rival_writer",
})  # fmt: skip
"""The faults of this scenario. What a partner loses or says in another shape is the order path's matter."""
_TOLD: Final[Mapping[str, ChannelStock]] = {
    "shop": ChannelStock(buffer=Decimal(1), compare_calls_per_minute=LOOKS_PER_MINUTE),
    "bazaar": ChannelStock(cap=Decimal(10), compare_calls_per_minute=LOOKS_PER_MINUTE),
    "agora": ChannelStock(locations=("HAM",), share_percent=60, compare_calls_per_minute=LOOKS_PER_MINUTE),
    "portal": ChannelStock(hide_below=Decimal(3), compare_calls_per_minute=0),
}
_SHARES: Final = {"shop": 40, "bazaar": 30, "portal": 30}
"""Where these divide the stock between them."""


def draw_told(chance: random.Random, orders: int) -> Business:
    """A small distributor whose channels are told stock; of some seeds they divide it, of others each is shown all."""
    base = draw_business(chance, orders)
    divides = chance.random() < 0.4
    stock = {
        name: msgspec.structs.replace(told, share_percent=_SHARES[name]) if divides and name in _SHARES else told
        for name, told in _TOLD.items()
    }
    skus = [product.sku for product in base.products]
    receipts = tuple(
        Receipt(
            round(chance.uniform(1, WINDOW_SECONDS), 3),
            {(sku, chance.choice(LOCATIONS)): Decimal(chance.randint(1, 20)) for sku in chance.sample(skus, 2)},
        )
        for _ in range(chance.randint(2, 6))
    )
    return dataclasses.replace(
        base, policy=_policy(base.policy, stock, divides=divides), channels=dict(CHANNELS), receipts=receipts,
        orders=tuple(_draw_order(chance, index, skus, len(base.customers)) for index in range(orders)),
        pace=Pace(slowest_seconds=3, counts_max=12, count_gap_seconds=(0.3, 4), places_max=6),
        shelves=dict(TELLINGS),
    )  # fmt: skip


def _policy(base: Policy, stock: Mapping[str, ChannelStock], *, divides: bool) -> Policy:
    channels = {
        "shop": ChannelPolicy("shop", ("EUR",), ("card",), fulfilment="split"),
        "bazaar": ChannelPolicy("bazaar", ("EUR",), ("collected",), price_source="channel", fulfilment="split"),
        "agora": ChannelPolicy("agora", ("EUR",), ("collected",), price_source="channel", fulfilment="split"),
        "portal": ChannelPolicy("portal", ("EUR",), ("terms",), customer_required=True, fulfilment="split"),
        DIRECT: ChannelPolicy(DIRECT, ("EUR",), ("card", "terms"), fulfilment="split"),
    }
    return dataclasses.replace(
        base, version=f"{NAME}-{'divided' if divides else 'shared'}", channels=channels, plans=Plans([CARD, TERMS]),
        # The warehouse tells what moved, and nothing else is late: silence says nothing here.
        stock=StockPolicy(channels=dict(stock), freshness=Freshness(minimum_seconds=Decimal(100_000))),
    )  # fmt: skip


def _draw_order(chance: random.Random, index: int, skus: list[str], customers: int) -> PlannedOrder:
    channel = chance.choice(tuple(CHANNELS))
    on_account = channel == "portal" or (channel == DIRECT and chance.random() < 0.5)
    is_collected = channel in ("bazaar", "agora")
    lines = tuple(
        PlacedLine(
            str(number + 1), Quantity(Decimal(chance.randint(1, 5)), "C62"), sku=sku,
            unit_price=Money(Decimal(chance.randint(300, 3000)) / 100, "EUR") if is_collected else None,
        )
        for number, sku in enumerate(chance.sample(skus, chance.randint(1, 2)))
    )  # fmt: skip
    card = PaymentIntent("card", DECLINED if chance.random() < 0.1 else PLANTED_TOKEN)
    at_seconds = round(chance.uniform(2, WINDOW_SECONDS), 3)
    placed = OrderPlaced(
        channel_number=f"{channel[0].upper()}{index:04d}", placed_at=EPOCH + timedelta(seconds=at_seconds),
        currency="EUR", lines=lines,
        ship_to=Address(PLANTED_NAME, "Quay 1", "Bremen", "28195", chance.choice(("DE", "GB"))),
        payment=PaymentIntent("collected") if is_collected else PaymentIntent("terms") if on_account else card,
        customer=f"C{chance.randrange(customers)}" if on_account else "", fulfilment="split",
    )  # fmt: skip
    cancel_after = chance.uniform(2, 8) if chance.random() < 0.25 else None
    return PlannedOrder(
        index, placed, at_seconds, cancel_after, None, channel, is_pushed=channel != DIRECT,
        on_way_seconds=round(chance.uniform(0.05, 2), 3) if channel != DIRECT else 0.0,
    )  # fmt: skip


def allowed(stock: ChannelStock, free: Mapping[str, Decimal]) -> Decimal:
    """What a channel may show of goods of which so much is free at each place: what its terms mean, said anew."""
    places = stock.locations or LOCATIONS
    there = sum((max(free.get(place, Decimal(0)), Decimal(0)) for place in places), Decimal(0))
    left = there * stock.share_percent / 100 - stock.buffer
    if stock.cap is not None:
        left = min(left, stock.cap)
    return left.to_integral_value(ROUND_FLOOR) if left > 0 and left >= stock.hide_below else Decimal(0)


def draw_shelf_faults(seed: int, business: Business, wanted: Collection[str]) -> tuple[Fault, ...]:
    """What goes wrong at the doors and on the shelves; of some seeds nothing."""
    chance = random.Random(f"{seed}/shelves")
    burden = chance.choice((0.0, 0.4, 1.0, 1.6))
    faults: list[Fault] = []
    skus = [product.sku for product in business.products]
    for channel, telling in business.shelves.items():
        kinds: list[ShelfFaultKind] = [*CALL_FAULTS, "refused_items"]
        if telling.is_compared:
            kinds += ["dropped_items", "duplicated_call"]
        if telling.manner == "feeds":
            kinds += ["late_feed"]
        density = 0.3 if telling.manner == "feeds" else 0.15
        faults.extend(
            ShelfFault(channel, number, chance.choice(kinds)) for number in range(1, 60)
            if chance.random() < density * burden
        )
        if chance.random() < 0.25 * burden:
            # Some have never been reached.
            begins = chance.choice((0.0, chance.uniform(1, WINDOW_SECONDS)))
            faults.append(Outage(channel, round(begins, 3), round(begins + chance.uniform(5, 80), 3)))
        for _ in range(round(chance.random() * 2 * burden) if telling.is_compared else 0):
            at_seconds = round(chance.uniform(5, WINDOW_SECONDS + 15), 3)
            faults.append(RivalEdit(channel, at_seconds, chance.choice(skus), chance.choice((0, 53, 97, 131))))
    return tuple(fault for fault in faults if kind_of(fault) in wanted)
