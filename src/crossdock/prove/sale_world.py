"""What a flash sale is made of: the estate's configuration, goods that are scarce, buyers and bad luck, by seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import asyncpg
import msgspec

from crossdock.ledger import master_data
from crossdock.model.documents import Component, Pack, Product
from crossdock.model.values import Money
from crossdock.prove.shrinking import leave_out, make_fewer
from crossdock.sandbox.orders import BuyerAddress, BuyerLine, BuyerOrder
from crossdock.sandbox.world import WorldProduct, make_world

CHANNELS: Final = ("portal", "shop", "bazaar", "agora")
LOCATIONS: Final = ("HAM", "BHX")
SHARES: Final[Mapping[str, Mapping[str, int]]] = {
    "divided": {"portal": 25, "shop": 25, "bazaar": 25, "agora": 25},
    "shared": {"portal": 100, "shop": 70, "bazaar": 30, "agora": 40},
}
"""Policy of the run -> channel -> percent of the stock. Only shares up to 100 together rule overselling out."""
NEMESES: Final = ("kill", "pause")
"""They strike all the time beside the planned faults, when they are asked for."""
FAULTS: Final = ("kill_worker", "kill_api", "pause_partner", "lost_answers")
KIT_SHARE: Final = 0.3
ORDERS_MIN: Final = 8
HALVINGS_MAX: Final = 3
_LONG_AGO: Final = datetime(2026, 1, 1, tzinfo=UTC)
_ADDRESS: Final = BuyerAddress("Ada", "Quay 1", "Bremen", "28195", "DE")
_CONFIGURATION: Final = """
[cell]
name = "proof"
environment = "demo"
erp = "wms"
[regions]
DE = "EU"
[[locations]]
code = "HAM"
region = "EU"
connection = "wms"
[[locations]]
code = "BHX"
region = "EU"
connection = "wms"
[sourcing.preference]
EU = ["HAM", "BHX"]
[[stock.owners]]
location = "HAM"
connection = "wms"
[[stock.owners]]
location = "BHX"
connection = "wms"
[[plans]]
name = "sale"
steps = [
    { operation = "channel.acknowledge", connection = "@channel" },
    { operation = "wms.release", connection = "@warehouse", each = "warehouse" },
]
shipment_steps = [{ operation = "channel.ship", connection = "@channel" }]
[retry]
unavailable = { base_seconds = 0.5, factor = 2, cap_seconds = 2 }
in_doubt = { base_seconds = 0.5, factor = 2, cap_seconds = 2 }
[breaker]
failures_to_open = 30
open_seconds = 1
growth = 1
cap_seconds = 2
"""
_CHANNEL: Final = """
[channels.{name}]
connection = "{name}"
currencies = ["EUR"]
payments = ["card", "collected"]
price_source = "channel"
fulfilment = "complete"
[stock.channels.{name}]
share_percent = {share}
buffer = {buffer}
compare_calls_per_minute = 30
{pace}
[connections.{name}]
system = "{name}"
settings = {{ url = {{ env = "PROVE_{upper}" }}, key = {{ env = "PROVE_KEY" }} }}
{more}
"""
_MORE: Final = {
    "shop": 'webhook_secrets = [{ env = "PROVE_WEBHOOK_SECRET" }]\nfeeds.orders = { interval_seconds = 2 }',
    "agora": 'webhook_secrets = [{ env = "PROVE_WEBHOOK_SECRET" }]\nfeeds.orders = { interval_seconds = 2 }',
    "bazaar": "feeds.orders = { interval_seconds = 1 }",
    "portal": "",
}
_WAREHOUSE: Final = """
[connections.wms]
system = "wms"
settings = { url = { env = "PROVE_WMS" }, key = { env = "PROVE_KEY" } }
webhook_secrets = [{ env = "PROVE_WEBHOOK_SECRET" }]
feeds.shipments = { interval_seconds = 1 }
feeds.shorts = { interval_seconds = 2 }
feeds.stock = { interval_seconds = 3 }
"""


class Sale(msgspec.Struct, frozen=True):
    """How large the sale is. `buffer` is taken off each channel's share; so many `kits` are sold beside their scarce
    components. `nemeses` strike beside the planned `faults`, of which those of these numbers are `left_out`."""

    seed: int
    skus: int = 40
    orders: int = 240
    policy: str = "divided"
    buffer: int = 0
    faults: tuple[str, ...] = FAULTS
    fault_count: int = 8
    kits: int = 0
    nemeses: tuple[str, ...] = ()
    left_out: tuple[int, ...] = ()


class Trouble(msgspec.Struct, frozen=True):
    """A fault that comes when so many orders were tried. `place` says which process of its kind, or which partner."""

    after: int
    kind: str
    place: int
    seconds: float = 0.0


def make_configuration(sale: Sale) -> str:
    """Bazaar takes ten feeds an hour by itself; for a sale that lasts minutes a faster pace was agreed with it."""
    tables = [
        _CHANNEL.format(
            name=name, upper=name.upper(), share=SHARES[sale.policy][name], buffer=sale.buffer, more=_MORE[name],
            pace="calls_per_second = 2" if name == "bazaar" else "",
        )
        for name in CHANNELS
    ]  # fmt: skip
    return "\n".join([_CONFIGURATION, *tables, _WAREHOUSE])


def make_hot(sale: Sale) -> dict[WorldProduct, dict[str, int]]:
    """The goods of the sale and how few there are of them, by location."""
    chance = random.Random(f"{sale.seed}/hot")
    world = make_world()
    products = chance.sample(world.products, sale.skus)
    parts = {part.sku for kit in world.kits[: sale.kits] for part in kit.components}
    products += [product for product in world.products if product.sku in parts and product not in products]
    return {
        product: {
            # A kit takes several of a component.
            "HAM": chance.randint(2, 12) + (10 if product.sku in parts else 0), "BHX": chance.choice((0, 0, 3, 6)),
        }
        for product in products
    }  # fmt: skip


def make_orders(sale: Sale, hot: Sequence[WorldProduct]) -> list[tuple[str, BuyerOrder]]:
    """(channel, basket): few goods are wanted by most, and many want the last one."""
    chance = random.Random(f"{sale.seed}/buyers")
    of_kits = random.Random(f"{sale.seed}/kits")
    kits = make_world().kits[: sale.kits]
    weights = [1 / (1 + place / 8) for place in range(len(hot))]
    found = []
    for _ in range(sale.orders):
        channel = chance.choice(CHANNELS)
        wanted = {product.sku: product for product in chance.choices(hot, weights, k=chance.choice((1, 1, 2)))}
        lines = [(product, chance.choice((1, 1, 2, 3))) for product in wanted.values()]
        if kits and of_kits.random() < KIT_SHARE:
            lines.append((of_kits.choice(kits), of_kits.choice((1, 1, 2))))
        found.append((channel, make_basket(channel, lines)))
    return found


def make_basket(channel: str, lines: Sequence[tuple[WorldProduct, int]]) -> BuyerOrder:
    return BuyerOrder(
        currency="EUR", ship_to=_ADDRESS, email="ada@example.com",
        card_token="tok_visa" if channel in ("shop", "portal") else "",
        lines=tuple(
            BuyerLine(product.sku, Decimal(quantity), product.base_unit, product.list_price_eur)
            for product, quantity in lines
        ),
    )  # fmt: skip


def draw_troubles(sale: Sale) -> list[Trouble]:
    """All are drawn from the seed, and only the kinds that are wanted are kept."""
    chance = random.Random(f"{sale.seed}/troubles")
    drawn = [
        Trouble(
            chance.randint(sale.orders // 20, sale.orders * 9 // 10), FAULTS[number % len(FAULTS)],
            chance.randrange(100), round(chance.uniform(0.5, 4.0), 2),
        )
        for number in range(sale.fault_count)
    ]  # fmt: skip
    kept = [one for number, one in enumerate(drawn) if one.kind in sale.faults and number not in sale.left_out]
    return sorted(kept, key=lambda one: one.after)


def shrink_sale(sale: Sale, checkers: Collection[str], play: Callable[[Sale], Collection[str]], runs_max: int) -> Sale:
    """The sale with the fewest nemeses, planned faults, then baskets, in which one of these checkers was seen to find
    something again. `play` says which checkers find something in a sale."""

    def still_fails(tried: Sale) -> bool:
        return bool(set(checkers) & set(play(tried)))

    def with_only(parts: Collection[str | int]) -> Sale:
        return msgspec.structs.replace(
            sale, nemeses=tuple(part for part in parts if isinstance(part, str)),
            left_out=tuple(number for number in range(sale.fault_count) if number not in parts),
        )  # fmt: skip

    drawn = [number for number in range(sale.fault_count) if number not in sale.left_out]
    planned = [number for number in drawn if FAULTS[number % len(FAULTS)] in sale.faults]
    parts: list[str | int] = [*sale.nemeses, *planned]
    fewest = with_only(leave_out(parts, lambda some: still_fails(with_only(some)), runs_max))

    def fails_with(orders: int) -> bool:
        return still_fails(msgspec.structs.replace(fewest, orders=orders))

    orders = make_fewer(sale.orders, ORDERS_MIN, fails_with, HALVINGS_MAX)
    return msgspec.structs.replace(fewest, orders=orders)


def lost_answers(seed: int) -> dict[str, Any]:
    """A partner's plan of misbehaviour."""
    return {"seed": seed, "commit_then_drop": 0.15, "status_429": 0.05, "retry_after": 1.0, "status_503": 0.05}


def components_of() -> dict[str, dict[str, Decimal]]:
    """Kit -> units of each component."""
    return {kit.sku: {part.sku: Decimal(part.quantity) for part in kit.components} for kit in make_world().kits}


def sku_of_codes(products: Sequence[WorldProduct]) -> dict[str, str]:
    return {pack.gtin: product.sku for product in products for pack in product.packs}


async def place_products(pool: asyncpg.Pool[Any]) -> None:
    """The sandbox's goods as an ERP would have told them."""
    products = [
        Product(
            row.sku, row.name, row.base_unit, row.tax_category, (Money(row.list_price_eur, "EUR"),),
            tuple(Pack(pack.unit, Decimal(pack.quantity), pack.gtin) for pack in row.packs),
            components=tuple(Component(part.sku, Decimal(part.quantity)) for part in row.components),
        )
        for row in make_world().sold
    ]  # fmt: skip
    async with pool.acquire() as connection, connection.transaction():
        await master_data.place_products(connection, [("wms", row) for row in products], _LONG_AGO)
