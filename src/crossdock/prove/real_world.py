"""What the proof with real processes is made of: six partners, their configuration, buyers, by seed.

A shop and a portal sell; tax, payment, warehouse and carrier do their part. The same as in the demonstration, but for
the ERP: its real program has proofs of its own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import asyncpg

from crossdock.ledger import master_data
from crossdock.model.documents import Pack, Product
from crossdock.model.values import Money
from crossdock.prove.canaries import Person
from crossdock.prove.estate import Estate
from crossdock.sandbox.world import make_world

KINDS: Final = ("shop", "portal", "wms", "tax", "payment", "carrier")
PUSHING: Final = ("shop", "wms", "carrier")
SCOPES: Final = ("availability:read", "orders:write", "orders:read", "shipments:read")
PLACED_AT_ONCE: Final = 20
DECLINED: Final = "tok_declined"
_LONG_AGO: Final = datetime(2026, 1, 1, tzinfo=UTC)
_CONFIGURATION: Final = """
[cell]
name = "proof"
environment = "demo"
erp = "tax"
[regions]
DE = "EU"
AT = "EU"
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
[channels.shop]
connection = "shop"
currencies = ["EUR"]
payments = ["card"]
price_source = "channel"
[channels.portal]
connection = "portal"
currencies = ["EUR"]
payments = ["card"]
price_source = "channel"
[stock.channels.shop]
compare_calls_per_minute = 60
[stock.channels.portal]
compare_calls_per_minute = 60
[[plans]]
name = "card"
steps = [
    { operation = "tax.quote", connection = "tax" },
    { operation = "payment.authorise", connection = "payment", needs = ["tax.quote"] },
    { operation = "channel.acknowledge", connection = "@channel", needs = ["payment.authorise"] },
    { operation = "wms.release", connection = "@warehouse", each = "warehouse", needs = ["payment.authorise"] },
]
shipment_steps = [
    { operation = "payment.capture", connection = "payment" },
    { operation = "tax.commit", connection = "tax" },
    { operation = "channel.ship", connection = "@channel" },
    { operation = "carrier.track", connection = "carrier" },
]
on_refused = { "payment.authorise" = "cancel" }
[retry]
unavailable = { base_seconds = 0.5, factor = 2, cap_seconds = 2 }
in_doubt = { base_seconds = 0.5, factor = 2, cap_seconds = 2 }
[breaker]
failures_to_open = 30
open_seconds = 1
growth = 1
cap_seconds = 2
"""
_FEEDS: Final = {
    "shop": "feeds.orders = { interval_seconds = 2 }",
    "wms": "feeds.shipments = { interval_seconds = 1 }\nfeeds.stock = { interval_seconds = 5 }",
    "carrier": "feeds.trackings = { interval_seconds = 5 }",
}
FAULTS: Final[dict[str, Any]] = {
    "paths": "^/(api|v1)",
    "commit_then_drop": 0.15, "commit_then_500": 0.02, "truncate": 0.02, "break_off": 0.02, "wrong_content_type": 0.02,
    "status_429": 0.03, "retry_after": 1, "retry_after_left_out": 0.5, "status_503": 0.03, "reset": 0.02,
    "duplicate": 0.15, "duplicate_answer": 0.5, "callback_first": 0.1, "delay_ms": (0, 150),
    "page_reorder": 0.5, "page_repeat": 0.5, "page_stale": 0.1,
    "webhook_duplicate": 1, "webhook_again": 0.2, "webhook_reorder": True, "webhook_drop": 0.1,
}  # fmt: skip
"""How partners misbehave by themselves while the nemesis `partners` is there."""
# The shop takes each fulfilment that arrives as a further one and knows no key: what its own network delivers twice,
# nobody on our side can prevent. There only the acknowledgment is doubled.
_OWN_FAULTS: Final[dict[str, dict[str, Any]]] = {
    "shop": {"duplicate_paths": "/acknowledgment$"}, "payment": {"delay_after_commit": True},
    "tax": {"delay_after_commit": True},
}  # fmt: skip


def make_configuration() -> str:
    """Addresses and secrets come from the environment: PROVE_SHOP, PROVE_KEY, PROVE_WEBHOOK_SECRET and so on."""
    tables = []
    for kind in KINDS:
        settings = f'url = {{ env = "PROVE_{kind.upper()}" }}, key = {{ env = "PROVE_KEY" }}'
        lines = [f"[connections.{kind}]", f'system = "{kind}"', f"settings = {{ {settings} }}"]
        if kind in PUSHING:
            lines.append('webhook_secrets = [{ env = "PROVE_WEBHOOK_SECRET" }]')
        lines.append(_FEEDS.get(kind, ""))
        tables.append("\n".join(lines))
    return "\n".join([_CONFIGURATION, *tables])


def faults_of(kind: str, seed: int) -> dict[str, Any]:
    """A partner's plan of misbehaviour."""
    return {"seed": seed, **FAULTS, **_OWN_FAULTS.get(kind, {})}


def partner_options(kind: str, api_url: str) -> list[str]:
    """Where it finds us."""
    options = ["--webhook-url", f"{api_url}/hooks/{kind}"] if kind in PUSHING else []
    if kind == "portal":
        options = ["--crossdock-url", api_url]
    return [*options, "--deliver-after", "1", "3"] if kind == "carrier" else options


async def place_orders(estate: Estate, orders: int, seed: int, seconds: float, person: Person) -> None:
    """Buyers at both channels, spread over the time; some cards are declined, some of the shop's buyers regret it.

    What was placed is what the channels wrote down: they may be killed while they take an order.
    """
    chance = random.Random(f"{seed}/buyers")
    batch = max(1, min(PLACED_AT_ONCE, orders // 10))
    async with asyncio.TaskGroup() as tasks:
        for start in range(0, orders, batch):
            baskets: dict[str, list[dict[str, Any]]] = {"shop": [], "portal": []}
            for _ in range(min(batch, orders - start)):
                card = {"card_token": DECLINED} if chance.random() < 0.06 else {}
                baskets["shop" if chance.random() < 0.6 else "portal"].append(
                    make_basket(chance, **{**person.basket, **card})
                )
            for channel, wanted in baskets.items():
                regret_after = [chance.uniform(0, 12) if chance.random() < 0.12 else 0.0 for _ in wanted]
                if wanted:
                    tasks.create_task(_place(estate, channel, wanted, regret_after))
            await asyncio.sleep(seconds * batch / orders)


async def _place(estate: Estate, channel: str, wanted: list[dict[str, Any]], regret_after: Sequence[float]) -> None:
    answer = await estate.insist(channel, "POST", "/_control/order", {"orders": wanted})
    if answer is None or channel != "shop":
        return
    async with asyncio.TaskGroup() as tasks:
        for number, seconds in zip(answer["numbers"], regret_after, strict=True):
            if seconds:
                tasks.create_task(_regret(estate, number, seconds))


async def _regret(estate: Estate, number: str, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await estate.insist("shop", "POST", "/_control/cancel", {"number": number})


def make_basket(chance: random.Random, **personal: Any) -> dict[str, Any]:
    """What a buyer puts together at a channel; `personal` replaces who it is for."""
    products = chance.sample(make_world().shelved, chance.choice((1, 2, 3, 5)))
    address = {"name": "Ada", "street": "Quay 1", "city": "Bremen", "postal_code": "28195", "country": "DE"}
    return {
        "currency": "EUR", "card_token": personal.pop("card_token", "tok_visa"),
        "email": personal.pop("email", "ada@example.com"), "note": personal.pop("note", ""),
        "ship_to": {**address, **personal},
        "lines": [
            {
                "sku": row.sku, "quantity": str(chance.randint(1, 4)), "unit": row.base_unit,
                "unit_price": str(row.list_price_eur),
            }
            for row in products
        ],
    }  # fmt: skip


async def place_products(pool: asyncpg.Pool[Any]) -> None:
    """The sandbox's goods as an ERP would have told them."""
    products: Sequence[Product] = [
        Product(
            row.sku, row.name, row.base_unit, row.tax_category, (Money(row.list_price_eur, "EUR"),),
            tuple(Pack(pack.unit, Decimal(pack.quantity)) for pack in row.packs),
        )
        for row in make_world().products
    ]  # fmt: skip
    async with pool.acquire() as connection, connection.transaction():
        await master_data.place_products(connection, [("erp", row) for row in products], _LONG_AGO)
