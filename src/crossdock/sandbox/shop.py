"""The web shop: consumers who pay by card at checkout.

Its habits: own order numbers and unit words, local time with offset, webhooks that tell the whole order and may come
in any order, a list to poll. It takes every fulfilment that it is sent as a further one: telling it twice is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from crossdock.sandbox.inventory import ShopInventory
from crossdock.sandbox.listings import Listings
from crossdock.sandbox.orders import BuyerOrder, BuyerOrders, line_net, line_tax
from crossdock.sandbox.service import Answer, Call, Refusal, Route, wait_for_ever
from crossdock.sandbox.storage import Storage
from crossdock.sandbox.world import World

PAGE: Final = 50
UNIT_WORDS: Final = {
    "C62": "each", "MTR": "metre", "KGM": "kilogram", "PR": "pair", "LTR": "litre", "XBX": "box", "XPX": "pallet",
}  # fmt: skip


class ShopAddress(msgspec.Struct, frozen=True):
    full_name: str
    street: str
    city: str
    zip: str
    country: str


class ShopLine(msgspec.Struct, frozen=True):
    """`price` is net per `unit`; `tax` is for the whole line."""

    id: str
    sku: str
    title: str
    quantity: Decimal
    unit: str
    price: Decimal
    tax: Decimal


class ShopPayment(msgspec.Struct, frozen=True):
    method: str
    token: str
    state: Literal["pending", "paid"]
    paid_at: str | None = None


class ShopFulfilment(msgspec.Struct, frozen=True):
    id: str
    order_number: str
    reference: str
    carrier: str
    tracking_numbers: tuple[str, ...]
    lines: tuple[dict[str, Any], ...]
    created_at: str


class ShopOrder(msgspec.Struct, frozen=True):
    number: str
    state: Literal["open", "acknowledged", "cancelled"]
    created_at: str
    changed_at: str
    currency: str
    email: str
    shipping_address: ShopAddress
    lines: tuple[ShopLine, ...]
    total_net: Decimal
    total_tax: Decimal
    payment: ShopPayment
    note: str = ""
    merchant_reference: str = ""
    cancelled_at: str | None = None
    cancel_reason: str = ""
    cancellations: tuple[dict[str, Any], ...] = ()


class AcknowledgmentRequest(msgspec.Struct, frozen=True):
    merchant_reference: str


class FulfilledLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """Without `unit`: in the unit of the order's line."""

    line_id: str
    quantity: Decimal
    unit: str = ""


class FulfilmentRequest(msgspec.Struct, frozen=True):
    lines: tuple[FulfilledLine, ...]
    tracking_numbers: tuple[str, ...] = ()
    carrier: str = ""
    reference: str = ""


class CancellationRequest(msgspec.Struct, frozen=True):
    reason: str
    reference: str = ""
    lines: tuple[FulfilledLine, ...] = ()


class CancelControl(msgspec.Struct, frozen=True):
    number: str
    reason: str = "changed my mind"


class Shop:
    def __init__(self, storage: Storage, world: World, listings: Listings) -> None:
        self._storage = storage
        self._listings = listings
        self._products = {product.sku: product for product in world.sold}

    async def live(self) -> None:
        await wait_for_ever()

    def routes(self) -> Sequence[Route]:
        return (
            Route("GET", "/api/orders", self.list_orders),
            Route("GET", "/api/orders/{number}", self.read_order),
            Route("GET", "/api/orders/{number}/fulfilments", self.list_fulfilments),
            Route("POST", "/api/orders/{number}/acknowledgment", self.acknowledge),
            Route("POST", "/api/orders/{number}/fulfilments", self.fulfil),
            Route("POST", "/api/orders/{number}/cancellation", self.cancel),
            Route("POST", "/_control/order", self.take_orders),
            Route("POST", "/_control/cancel", self.buyer_cancels),
            *ShopInventory(self._listings).routes(),
        )

    def list_orders(self, call: Call) -> Answer:
        changes = self._storage.read_changes("order", call.number("cursor", 0), PAGE + 1, ShopOrder)
        since = call.query.get("updated_since", "")
        page = changes[:PAGE]
        orders = [order for _, order in page if not since or _instant(order.changed_at) >= _instant(since)]
        cursor = str(page[-1][0]) if page else call.query.get("cursor", "0")
        return Answer({"orders": orders, "next_cursor": cursor, "has_more": len(changes) > PAGE})

    def read_order(self, call: Call) -> Answer:
        return Answer(self._order(call))

    def list_fulfilments(self, call: Call) -> Answer:
        number = self._order(call).number
        return Answer({"fulfilments": self._storage.read_children("fulfilment", number, ShopFulfilment)})

    def acknowledge(self, call: Call) -> Answer:
        order = self._order(call)
        request = call.read(AcknowledgmentRequest)
        if order.merchant_reference == request.merchant_reference:
            return Answer(order)
        if order.merchant_reference:
            raise Refusal(409, "already_acknowledged", "the order was acknowledged under another reference", order)
        state: Literal["acknowledged", "cancelled"] = "cancelled" if order.state == "cancelled" else "acknowledged"
        order = msgspec.structs.replace(order, state=state, merchant_reference=request.merchant_reference)
        self._keep(order)
        self._listings.confirm(order.number)
        self._storage.append_log("acknowledgment", order.number, request)
        return Answer(order)

    def fulfil(self, call: Call) -> Answer:
        order = self._order(call)
        request = call.read(FulfilmentRequest)
        known = {line.id for line in order.lines}
        if not request.lines or any(line.line_id not in known or line.quantity <= 0 for line in request.lines):
            raise Refusal(422, "unknown_line", "a fulfilment needs lines of this order with a quantity")
        fulfilment = ShopFulfilment(
            id=f"F-{self._storage.next_number('fulfilment', 5001)}", order_number=order.number,
            reference=request.reference, carrier=request.carrier, tracking_numbers=request.tracking_numbers,
            lines=tuple(msgspec.to_builtins(line) for line in request.lines), created_at=_now("DE"),
        )  # fmt: skip
        self._storage.place("fulfilment", fulfilment.id, fulfilment, parent=order.number)
        self._storage.append_log("fulfilment", f"{order.number}/{request.reference}", fulfilment)
        self._keep(order)
        return Answer(fulfilment, 201)

    def cancel(self, call: Call) -> Answer:
        order = self._order(call)
        request = call.read(CancellationRequest)
        entry = {**msgspec.to_builtins(request), "at": _now("DE")}
        whole = not request.lines
        order = msgspec.structs.replace(
            order, cancellations=(*order.cancellations, entry), state="cancelled" if whole else order.state
        )
        self._keep(order)
        if whole:
            self._listings.release(order.number)
        self._storage.append_log("cancellation", f"{order.number}/{request.reference}", request)
        return Answer(order)

    def take_orders(self, call: Call) -> Answer:
        return Answer({"numbers": [self._place(order) for order in call.read(BuyerOrders).orders]}, 201)

    def buyer_cancels(self, call: Call) -> Answer:
        request = call.read(CancelControl)
        order = self._storage.read("order", request.number, ShopOrder)
        if order is None:
            raise Refusal(404, "not_found", "no such order")
        cancelled_at = _now(order.shipping_address.country)
        order = msgspec.structs.replace(
            order, state="cancelled", cancelled_at=cancelled_at, cancel_reason=request.reason
        )
        self._keep(order)
        self._listings.release(order.number)
        self._storage.append_log("buyer_cancellation", order.number, request)
        self._tell("order.cancelled", order)
        return Answer(order)

    def _place(self, wish: BuyerOrder) -> str:
        """The order's number; "" when all of it is sold out."""
        number = f"S-{self._storage.next_number('order', 100001)}"
        basket = self._listings.sell(number, wish)
        if basket is None:
            return ""
        country = basket.ship_to.country
        now = _now(country)
        lines = []
        for index, line in enumerate(basket.lines, start=1):
            product = self._products.get(line.sku)
            tax = line_tax(line_net(line), product, country)
            title = product.name if product is not None else line.sku
            unit = UNIT_WORDS.get(line.unit, line.unit)
            lines.append(ShopLine(str(index), line.sku, title, line.quantity, unit, line.unit_price, tax))
        to = basket.ship_to
        order = ShopOrder(
            number=number, state="open", created_at=now, changed_at=now, currency=basket.currency, email=basket.email,
            shipping_address=ShopAddress(to.name, to.street, to.city, to.postal_code, to.country),
            lines=tuple(lines), total_net=sum((line_net(line) for line in basket.lines), Decimal(0)),
            total_tax=sum((line.tax for line in lines), Decimal(0)),
            payment=ShopPayment("card", basket.card_token, "pending"), note=basket.note,
        )  # fmt: skip
        paid = msgspec.structs.replace(
            order, payment=msgspec.structs.replace(order.payment, state="paid", paid_at=now)
        )
        self._keep(paid)
        self._storage.append_log("order", number, paid)
        self._tell("order.created", order)
        self._tell("order.paid", paid)
        return number

    def _order(self, call: Call) -> ShopOrder:
        order = self._storage.read("order", call.path["number"], ShopOrder)
        if order is None:
            raise Refusal(404, "not_found", "no such order")
        return order

    def _keep(self, order: ShopOrder) -> None:
        changed = msgspec.structs.replace(order, changed_at=_now(order.shipping_address.country))
        self._storage.place("order", order.number, changed)

    def _tell(self, topic: str, order: ShopOrder) -> None:
        body = {"type": topic, "timestamp": datetime.now(UTC).isoformat(), "data": order}
        self._storage.queue_message(topic, msgspec.json.encode(body))


def _now(country: str) -> str:
    """The shop writes times as the clock on its wall shows them."""
    offset = timezone.utc if country == "GB" else timezone(timedelta(hours=1))  # noqa: UP017 - a wall clock, not UTC
    return datetime.now(offset).isoformat(timespec="seconds")


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise Refusal(400, "malformed_request", "updated_since must be an ISO 8601 time with offset") from None
