"""Facts: what arrived. Events: what happened. Steps: what is to be done at one system."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import msgspec

from crossdock.model.documents import Customer, PriceAgreement, Product
from crossdock.model.fulfilment import Shipment
from crossdock.model.orders import OrderPlaced
from crossdock.model.stock import InboundSupply, InventoryBalance, StockMovement
from crossdock.model.values import Quantity


class OrderPaid(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The channel reports the buyer's payment; may arrive before the order."""

    channel_number: str
    reference: str
    paid_at: datetime


class CancellationRequested(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    channel_number: str
    requested_at: datetime
    reason: str = ""


class LineChange(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What the buyer still wants of a line in all, with what has left: in the unit that was ordered, or in the base
    unit. Zero: nothing of it."""

    line: str
    quantity: Quantity


class OrderChange(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Some lines are wanted in smaller quantities than were ordered; lines that are not named stay as they are."""

    channel_number: str
    requested_at: datetime
    lines: Annotated[tuple[LineChange, ...], msgspec.Meta(min_length=1)]
    reason: str = ""


class FulfilmentShorted(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The warehouse could not pick `quantity` (base units) of a SKU of an instruction and will not ship it."""

    fulfilment_number: str
    warehouse: str
    sku: str
    quantity: str
    at: datetime
    line: str = ""
    reason: str = ""


class DeliveryReported(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    tracking: str
    delivered_at: datetime


class BalancesReported(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Absolute balances from one reporter. `complete`: everything that it has at the locations named in it.

    A report in several facts names its `snapshot` and how many `parts` that has; only all of them are complete.
    """

    balances: tuple[InventoryBalance, ...]
    complete: bool = False
    snapshot: str = ""
    part: int = 1
    parts: int = 1


class StockMoved(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Deltas, each with its own key."""

    movements: tuple[StockMovement, ...]


class SupplyReported(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What purchase orders will still bring, absolute per line, as of a time."""

    supplies: tuple[InboundSupply, ...]
    as_of: datetime


FACT_BODIES: Final[Mapping[str, Any]] = MappingProxyType({
    "order.placed": OrderPlaced,
    "order.paid": OrderPaid,
    "order.cancellation_requested": CancellationRequested,
    "order.change_requested": OrderChange,
    "shipment.confirmed": Shipment,
    "fulfilment.shorted": FulfilmentShorted,
    "delivery.reported": DeliveryReported,
    "balances.reported": BalancesReported,
    "stock.moved": StockMoved,
    "supply.reported": SupplyReported,
    "product.published": Product,
    "customer.published": Customer,
    "price.published": PriceAgreement,
})  # fmt: skip
"""Fact kind -> type of its canonical body."""


class Fact(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Something that arrived, translated. Unique by (connection, kind, business_key, version).

    `subject` is what the fact is about, in the sender's words (for order facts the channel's order number, for
    warehouse facts the fulfilment number). `body` is the canonical body as JSON, `raw` the payload as received.
    """

    connection: str
    kind: str
    business_key: str
    body: bytes
    raw: bytes
    version: str = "1"
    subject: str = ""
    occurred_at: datetime | None = None
    traceparent: str = ""


UNTRANSLATED: Final = "arrival.untranslated"
"""The kind of a fact whose payload is kept because it could not be translated; its body is an `Untranslated`."""


class Untranslated(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why a payload could not be translated, and who translates it when it is replayed: a feed or the webhook."""

    source: str
    code: str
    message: str
    owner: str
    next_action: str
    headers: dict[str, str] = {}


class EventDraft(msgspec.Struct, frozen=True, gc=False):
    """What happened in the business, past tense; the ledger gives it its place in the document's history."""

    type: str
    body: dict[str, Any] = {}


StepState = Literal["waiting", "ready", "sending", "in_doubt", "done", "cancelled", "failed", "quarantined"]


class StepDraft(msgspec.Struct, frozen=True, gc=False):
    """One thing to be done at one system. `name` is unique in the order; `needs` are names that must be done first.

    The idempotency key towards the partner is "<order number>/<name>".
    """

    name: str
    connection: str
    operation: str
    needs: tuple[str, ...] = ()
    payload: bytes = b"{}"
