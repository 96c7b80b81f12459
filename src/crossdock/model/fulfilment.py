"""FulfilmentOrder, Shipment and the money documents that follow a shipment: Invoice, Payment."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from crossdock.model.documents import Address
from crossdock.model.values import Money, Quantity


class FulfilmentLine(msgspec.Struct, frozen=True, gc=False):
    line: str
    sku: str
    quantity: Quantity


class FulfilmentOrder(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The instruction to one warehouse (X12 940). `number` = order number + "-" + warehouse (+ "-" + release)."""

    number: str
    order_number: str
    warehouse: str
    ship_to: Address
    lines: tuple[FulfilmentLine, ...]
    service: str = "standard"


class Package(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """`label`: what the warehouse gave as an SSCC and is none; kept as given, and told to nobody as an SSCC."""

    sscc: str
    tracking: str = ""
    carrier: str = ""
    label: str = ""


class ShippedLine(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What left, in base units. `line` may be "" when the warehouse only names the SKU: we correlate."""

    sku: str
    quantity: Quantity
    line: str = ""


class Shipment(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Goods that left a warehouse; the body of a `shipment.confirmed` fact. `number` is the warehouse's own."""

    number: str
    fulfilment_number: str
    warehouse: str
    shipped_at: datetime
    lines: tuple[ShippedLine, ...]
    packages: tuple[Package, ...] = ()


class PartLine(msgspec.Struct, frozen=True, gc=False):
    """One order line's part in a shipment: base units, net and tax amount of exactly this part."""

    line: str
    sku: str
    quantity: Quantity
    net: Decimal
    tax: Decimal
    tax_code: str


class ShipmentPart(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A shipment correlated to the order's lines, with its money; the payload of each step that follows it."""

    shipment: str
    warehouse: str
    shipped_at: datetime
    lines: tuple[PartLine, ...]
    net: Money
    tax: Money
    packages: tuple[Package, ...] = ()
    final: bool = False

    @property
    def gross(self) -> Money:
        return self.net + self.tax


class Invoice(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Posted by the ERP for one shipment part."""

    number: str
    order_number: str
    shipment: str
    net: Money
    tax: Money
    posted_at: datetime


class Payment(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A movement of money at the payment provider for an order."""

    kind: Literal["authorisation", "capture", "void", "refund"]
    reference: str
    amount: Money
    external_id: str = ""


class LineTakenOff(msgspec.Struct, frozen=True, gc=False):
    """`quantity` base units of a line that are not wanted any more."""

    line: str
    sku: str
    quantity: Quantity


class TakenOff(msgspec.Struct, frozen=True, gc=False):
    """What a channel is told of a change that it did not ask for itself."""

    reason: str
    lines: tuple[LineTakenOff, ...]
