"""A paced, seeded stream of orders: buyers place them AT the partners, who then bring them to Crossdock their own way.

Order n is the same for the same seed, and the number of the next order is kept: a stream that was stopped goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from crossdock.sandbox.orders import BuyerAddress, BuyerLine, BuyerOrder, BuyerOrders
from crossdock.sandbox.world import CENT, World, WorldCustomer, WorldProduct, make_world

CHANNELS: Final = (("portal", 40), ("shop", 30), ("bazaar", 15), ("agora", 15))
UNKNOWN_SKU_CHANCE: Final = 0.005
WRONG_PRICE_CHANCE: Final = 0.01
DECLINED_CHANCE: Final = 0.02
PACK_CHANCE: Final = 0.2
KIT_CHANCE: Final = 0.1
_FIRST: Final = ("Anna", "Jonas", "Priya", "Tom", "Claire", "Mehmet", "Sofie", "Liam")
_LAST: Final = ("Vermeer", "Schmidt", "Patel", "Brown", "Dubois", "Yilmaz", "Jansen", "Walsh")
_HOMES: Final = (
    ("DE", "Kiel", "24103"), ("NL", "Breda", "4811 AA"), ("FR", "Lyon", "69002"), ("GB", "York", "YO1 7HH"),
)  # fmt: skip


class Progress(msgspec.Struct, frozen=True):
    next_order: int


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """`partners` maps a channel to its base URL; a channel that is missing gets no orders."""

    partners: Mapping[str, str]
    home: str
    orders_per_second: float
    duration_seconds: float
    seed: int = 1
    orders_max: int = 0


class Catalogue:
    """The world as a buyer sees it: what things cost for whom."""

    def __init__(self, world: World) -> None:
        self.products = world.products
        self.kits = world.kits
        self.active = tuple(customer for customer in world.customers if customer.status == "active")
        self.customers = world.customers
        self._prices: dict[tuple[str, str, str], list[tuple[int, Decimal]]] = {}
        for price in world.prices:
            key = (price.group, price.sku, price.currency)
            self._prices.setdefault(key, []).append((price.quantity_min, price.unit_price))

    def contract_price(self, customer: WorldCustomer, product: WorldProduct, base_quantity: Decimal) -> Decimal:
        breaks = sorted(self._prices[(customer.group, product.sku, customer.currency)])
        return [price for quantity_min, price in breaks if base_quantity >= quantity_min or quantity_min == 1][-1]


def make_order(catalogue: Catalogue, seed: int, number: int) -> tuple[str, BuyerOrder]:
    """Return order `number` of the stream and its channel."""
    chance = random.Random(f"{seed}/{number}")
    channel = chance.choices([name for name, _ in CHANNELS], [weight for _, weight in CHANNELS])[0]
    if channel == "portal":
        return channel, _business_order(catalogue, chance, number)
    return channel, _consumer_order(catalogue, chance, number, paid_by_card=channel == "shop")


def _business_order(catalogue: Catalogue, chance: random.Random, number: int) -> BuyerOrder:
    customers = catalogue.customers if chance.random() < 0.02 else catalogue.active
    customer = chance.choice(customers)
    lines = []
    for product in _products(catalogue, chance, number):
        unit, per_unit = _unit(chance, product)
        quantity = Decimal(chance.choice((1, 2, 3, 5, 10, 20)) if per_unit == 1 else chance.choice((1, 1, 2)))
        price = catalogue.contract_price(customer, product, quantity * per_unit) * per_unit
        lines.append(_line(chance, product, unit, quantity, price))
    address = customer.address
    return BuyerOrder(
        currency=customer.currency, customer=customer.code, customer_reference=f"PO-{number:06d}",
        ship_to=BuyerAddress(address.name, address.street, address.city, address.postal_code, address.country),
        lines=tuple(lines), email=customer.email,
    )  # fmt: skip


def _consumer_order(catalogue: Catalogue, chance: random.Random, number: int, paid_by_card: bool) -> BuyerOrder:
    country, city, postal_code = chance.choice(_HOMES)
    currency = "GBP" if country == "GB" else "EUR"
    first, last = chance.choice(_FIRST), chance.choice(_LAST)
    lines = []
    for product in _products(catalogue, chance, number)[:8]:
        unit, per_unit = _unit(chance, product)
        list_price = product.list_price_gbp if currency == "GBP" else product.list_price_eur
        quantity = Decimal(chance.choice((1, 1, 2, 3)))
        lines.append(_line(chance, product, unit, quantity, list_price * per_unit))
    token = "tok_declined" if chance.random() < DECLINED_CHANCE else f"tok_{number:08d}"
    return BuyerOrder(
        currency=currency, lines=tuple(lines), card_token=token if paid_by_card else "",
        ship_to=BuyerAddress(f"{first} {last}", f"Station Road {1 + number % 90}", city, postal_code, country),
        email=f"{first}.{last}.{number}@example.com".lower(),
    )  # fmt: skip


def _products(catalogue: Catalogue, chance: random.Random, number: int) -> list[WorldProduct]:
    """1 to 30 lines, most orders 1 to 6; now and then a kit in the place of the first."""
    count = chance.randint(1, 6) if chance.random() < 0.85 else chance.randint(7, 30)
    found = chance.sample(catalogue.products, count)
    of_kits = random.Random(f"{number}/kit")
    return [of_kits.choice(catalogue.kits), *found[1:]] if of_kits.random() < KIT_CHANCE else found


def _unit(chance: random.Random, product: WorldProduct) -> tuple[str, int]:
    boxes = [pack for pack in product.packs if pack.unit == "XBX"]
    if boxes and chance.random() < PACK_CHANCE:
        return boxes[0].unit, boxes[0].quantity
    return product.base_unit, 1


def _line(
    chance: random.Random, product: WorldProduct, unit: str, quantity: Decimal, price: Decimal
) -> BuyerLine:
    sku = f"XX-{chance.randint(1, 9999):04d}" if chance.random() < UNKNOWN_SKU_CHANCE else product.sku
    if chance.random() < WRONG_PRICE_CHANCE:
        price = (price * Decimal("0.6")).quantize(CENT, ROUND_HALF_UP)
    return BuyerLine(sku, quantity, unit, price)


def run_stream(settings: StreamSettings) -> None:
    asyncio.run(_run(settings))


async def _run(settings: StreamSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    catalogue = Catalogue(make_world())
    progress_file = Path(settings.home) / f"stream-{settings.seed}.json"
    progress_file.parent.mkdir(parents=True, exist_ok=True)
    next_order = 1
    if progress_file.exists():
        next_order = msgspec.json.decode(progress_file.read_bytes(), type=Progress).next_order
    started, placed = time.monotonic(), 0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        while not stop.is_set() and not _finished(settings, time.monotonic() - started, placed):
            due = int((time.monotonic() - started) * settings.orders_per_second) + 1 - placed
            count = max(0, min(due, 50, settings.orders_max - placed if settings.orders_max else 50))
            orders = [make_order(catalogue, settings.seed, next_order + index) for index in range(count)]
            await _place(session, settings.partners, orders, stop)
            next_order, placed = next_order + count, placed + count
            progress_file.write_bytes(msgspec.json.encode(Progress(next_order)))
            pause = max(0.02, min(1.0, 1 / settings.orders_per_second))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()


def _finished(settings: StreamSettings, elapsed_seconds: float, placed: int) -> bool:
    if settings.orders_max and placed >= settings.orders_max:
        return True
    return bool(settings.duration_seconds) and elapsed_seconds >= settings.duration_seconds


async def _place(
    session: aiohttp.ClientSession,
    partners: Mapping[str, str],
    orders: list[tuple[str, BuyerOrder]],
    stop: asyncio.Event,
) -> None:
    for channel, url in partners.items():
        baskets = BuyerOrders(tuple(basket for name, basket in orders if name == channel))
        while baskets.orders and not stop.is_set():
            try:
                async with session.post(f"{url}/_control/order", data=msgspec.json.encode(baskets)) as response:
                    if response.status == 201:
                        break
            except (aiohttp.ClientConnectorError, TimeoutError):
                pass
            await asyncio.sleep(1.0)
