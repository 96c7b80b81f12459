"""A buyer's basket, as the order stream puts it to any partner's `POST /_control/order`.

Partners turn it into their own shape. Nothing is checked here: buyers and channels send what they like.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Final, Literal

import msgspec

from crossdock.sandbox.world import CENT, REGION_OF_COUNTRY, TAX_CODES, WorldProduct

RATE_WHEN_UNKNOWN: Final = Decimal("0.19")


class BuyerAddress(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    street: str
    city: str
    postal_code: str
    country: str
    phone: str = ""


class BuyerLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """`unit_price` is net, per one `unit` (UN/ECE Rec 20 code)."""

    sku: str
    quantity: Decimal
    unit: str
    unit_price: Decimal


class BuyerOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    currency: str
    ship_to: BuyerAddress
    lines: tuple[BuyerLine, ...]
    email: str = ""
    customer: str = ""
    customer_reference: str = ""
    card_token: str = ""
    note: str = ""
    fulfilment: Literal["", "complete", "split", "backorder"] = ""


class BuyerOrders(msgspec.Struct, frozen=True):
    """Body of `POST /_control/order`."""

    orders: tuple[BuyerOrder, ...]


def line_net(line: BuyerLine) -> Decimal:
    return (line.quantity * line.unit_price).quantize(CENT, ROUND_HALF_UP)


def line_tax(net: Decimal, product: WorldProduct | None, country: str) -> Decimal:
    """Consumers pay the tax of where the goods go, rounded half up per line."""
    category = product.tax_category if product is not None else "standard"
    region = REGION_OF_COUNTRY.get(country, "")
    rate = TAX_CODES[region, category][1] if (region, category) in TAX_CODES else RATE_WHEN_UNKNOWN
    return (net * rate).quantize(CENT, ROUND_HALF_UP)
