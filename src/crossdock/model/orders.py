"""The order: as the channel placed it, as we accepted it, and how far it has come."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Literal

import msgspec

from crossdock.model.documents import Address, Component
from crossdock.model.values import Money, Quantity

FulfilmentPolicy = Literal["complete", "split", "backorder"]
OrderState = Literal["accepted", "held", "refused", "shipping", "shipped", "completed", "cancelled"]
TaxTreatment = Literal["taxed", "reverse_charge", "exempt", "export"]
"""taxed: as the tax engine reckons for the place of delivery. The others bear no tax of ours."""
PaymentMethod = Literal["terms", "card", "collected"]
"""terms: on account, invoiced. card: we authorise and capture. collected: the channel collects (marketplace)."""


class PaymentIntent(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How the buyer pays. `token` is a payment provider's token, never a card number."""

    method: PaymentMethod
    token: str = ""


class PlacedLine(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """A line as the channel sent it: `sku` or `gtin`; `unit_price` (net of tax, per `quantity.unit`) or "price me"."""

    line: str
    quantity: Quantity
    sku: str = ""
    gtin: str = ""
    unit_price: Money | None = None
    name: str = ""
    note: str = ""


class OrderPlaced(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """The body of an `order.placed` fact and of `POST /v1/orders`. `placed_at` keeps the channel's own offset.
    `reservation` is what the cart holds: the order takes it over."""

    channel_number: str
    placed_at: datetime
    currency: str
    ship_to: Address
    lines: tuple[PlacedLine, ...]
    payment: PaymentIntent
    customer: str = ""
    customer_reference: str = ""
    order_type: str = ""
    bill_to: Address | None = None
    fulfilment: FulfilmentPolicy | None = None
    requested_on: date | None = None
    note: str = ""
    reservation: str = ""


class Reason(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why something was refused or held: field, rule, who must act, what to do next. `line` is "" for the order."""

    code: str
    message: str
    owner: str
    next_action: str
    line: str = ""
    field: str = ""


class PriceProvenance(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Where the line's price comes from: `source` is contract, list or channel; all prices per base unit."""

    source: Literal["contract", "list", "channel"]
    expected: Decimal
    agreement: str = ""
    quantity_min: Decimal = Decimal(1)
    asked: Decimal | None = None
    deviation_percent: Decimal = Decimal(0)
    priced_on: date | None = None


class TaxDecision(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How the order is taxed and why: the policy's `rule`, and the identifier that it was shown. `rule` is "" where
    a person released the order although no rule let it pass: it is then taxed."""

    treatment: TaxTreatment
    rule: str = ""
    identifier: str = ""


class Allocation(msgspec.Struct, frozen=True, gc=False):
    """`quantity` base units promised from `location`."""

    location: str
    quantity: Decimal


class OrderLine(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An accepted line. `quantity` is in base units; `ordered` is as the buyer asked; `unit_price` per base unit, net;
    `amount` = quantity x unit_price rounded half up once. `components` are those of a kit when it was accepted;
    `allocations` count the kit, stock is held of the components."""

    line: str
    sku: str
    name: str
    ordered: Quantity
    quantity: Quantity
    unit_price: Money
    amount: Money
    price: PriceProvenance
    tax_category: str
    allocations: tuple[Allocation, ...] = ()
    backordered: Decimal = Decimal(0)
    components: tuple[Component, ...] = ()


class Order(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A customer's commitment to buy, as accepted by us. Never changes; progress is kept beside it. `tax` is there
    where the cell has a tax policy; `tax_exempt` says that it bears no tax of ours."""

    order_id: int
    number: str
    channel: str
    channel_number: str
    order_type: str
    region: str
    currency: str
    placed_at: datetime
    accepted_at: datetime
    ship_to: Address
    lines: tuple[OrderLine, ...]
    net: Money
    payment: PaymentIntent
    plan: str
    fulfilment: FulfilmentPolicy
    customer: str = ""
    customer_reference: str = ""
    payment_term_days: int = 0
    tax_exempt: bool = False
    bill_to: Address | None = None
    requested_on: date | None = None
    note: str = ""
    tax: TaxDecision | None = None


class Hold(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A business stop: `cause` groups holds in the console, `reasons` say it in sentences."""

    cause: str
    owner: str
    next_action: str
    since: datetime
    reasons: tuple[Reason, ...] = ()


class LineProgress(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Base units. ordered = open + shipped + backordered + cancelled; `open` is derived, so it always holds.

    `supplied`: what was given to the line at a location after its acceptance, less what came short there. `left`: what
    left each location, kept only where another line has the same SKU: a warehouse may name no line.
    """

    ordered: Decimal
    shipped: Decimal = Decimal(0)
    backordered: Decimal = Decimal(0)
    cancelled: Decimal = Decimal(0)
    supplied: dict[str, Decimal] = {}
    left: dict[str, Decimal] = {}

    @property
    def open(self) -> Decimal:
        return self.ordered - self.shipped - self.backordered - self.cancelled


class LineTax(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The tax engine's word on a line: `amount` for the whole ordered quantity."""

    code: str
    rate: Decimal
    amount: Decimal


class OrderProgress(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How far an order has come. `milestones` maps a milestone's name to when it was reached (ISO 8601, UTC). `shorts`
    are those that were told, so that one told again counts once."""

    state: OrderState
    lines: dict[str, LineProgress]
    hold: Hold | None = None
    refused: tuple[Reason, ...] = ()
    taxes: dict[str, LineTax] = {}
    milestones: dict[str, str] = {}
    numbers: dict[str, str] = {}
    shipments: tuple[str, ...] = ()
    paid: bool = False
    shorts: tuple[str, ...] = ()


class OrderAcknowledgment(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Our answer to a placed order: accepted, held or refused, every reason by line."""

    number: str
    channel_number: str
    state: OrderState
    net: Money | None = None
    lines: tuple[OrderLine, ...] = ()
    hold: Hold | None = None
    reasons: tuple[Reason, ...] = ()
