"""Two marketplaces that agree on nothing.

`bazaar` is polled: SKUs, prices in minor units, an acknowledgment is due within the hour. `agora` calls with a thin
signed webhook and must then be read: GTINs, numbers of packs, prices per pack as text. Both collect the money from the
buyer themselves and both count every shipment that they are sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.sandbox.inventory import AgoraInventory, BazaarInventory
from crossdock.sandbox.listings import Listings
from crossdock.sandbox.orders import BuyerOrder, BuyerOrders
from crossdock.sandbox.service import Answer, Call, Refusal, Route, wait_for_ever
from crossdock.sandbox.storage import Storage
from crossdock.sandbox.world import World

PAGE: Final = 50
PACK_TYPES: Final = {
    "C62": "PIECE", "MTR": "METRE", "KGM": "KILO", "PR": "PAIR", "LTR": "LITRE", "XBX": "CARTON", "XPX": "PALLET",
}  # fmt: skip


class BazaarAcknowledge(msgspec.Struct, frozen=True):
    seller_reference: str


class BazaarItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Without `unit`: in the unit of the order's item."""

    item_id: int
    quantity: Decimal
    unit: str = ""


class BazaarShipment(msgspec.Struct, frozen=True):
    carrier: str
    tracking: str
    items: tuple[BazaarItem, ...]
    seller_shipment_id: str = ""


class BazaarCancel(msgspec.Struct, frozen=True):
    reason: str
    seller_reference: str = ""
    items: tuple[BazaarItem, ...] = ()


class AgoraParcel(msgspec.Struct, frozen=True, rename="camel"):
    carrier_name: str
    tracking_code: str


class AgoraShippedLine(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Whole packs, or single pieces out of one."""

    line_no: str
    packs: Decimal = Decimal(0)
    pieces: Decimal = Decimal(0)


class AgoraShipment(msgspec.Struct, frozen=True, rename="camel"):
    parcels: tuple[AgoraParcel, ...]
    lines: tuple[AgoraShippedLine, ...]
    shipment_number: str = ""


class AgoraAcknowledge(msgspec.Struct, frozen=True, rename="camel"):
    supplier_order_number: str


class AgoraCancel(msgspec.Struct, frozen=True, rename="camel"):
    reason_code: str
    cancellation_number: str = ""
    lines: tuple[AgoraShippedLine, ...] = ()


class CancelControl(msgspec.Struct, frozen=True):
    number: str


class Marketplace:
    """What the two have in common: an order with a list of shipments and cancellations."""

    def __init__(self, storage: Storage, world: World, listings: Listings) -> None:
        self.storage = storage
        self.listings = listings
        self.products = {product.sku: product for product in world.sold}

    def order(self, number: str) -> dict[str, Any]:
        order = self.storage.read("order", number, dict[str, Any])
        if order is None:
            raise Refusal(404, "not_found", "no such order")
        return order

    def keep(self, number: str, order: dict[str, Any]) -> None:
        self.storage.place("order", number, order)

    def page(self, call: Call, name: str) -> tuple[list[dict[str, Any]], str, bool]:
        after = call.number(name, 0)
        changes = self.storage.read_changes("order", after, PAGE + 1, dict[str, Any])
        page = changes[:PAGE]
        return [order for _, order in page], str(page[-1][0] if page else after), len(changes) > PAGE

    def add(self, number: str, order: dict[str, Any], kind: str, entry: dict[str, Any], reference: str) -> None:
        order.setdefault(kind, []).append(entry)
        self.keep(number, order)
        self.storage.append_log(kind.rstrip("s"), f"{number}/{reference}", entry)


class Bazaar:
    def __init__(self, storage: Storage, world: World, listings: Listings) -> None:
        self._market = Marketplace(storage, world, listings)
        self._inventory = BazaarInventory(storage, listings)

    async def live(self) -> None:
        await self._inventory.live()

    def routes(self) -> Sequence[Route]:
        return (
            Route("GET", "/v2/orders", self.list_orders),
            Route("GET", "/v2/orders/{number}", self.read_order),
            Route("POST", "/v2/orders/{number}/acknowledge", self.acknowledge),
            Route("POST", "/v2/orders/{number}/shipments", self.ship),
            Route("POST", "/v2/orders/{number}/cancel", self.cancel),
            Route("POST", "/_control/order", self.take_orders),
            Route("POST", "/_control/cancel", self.buyer_cancels),
            *self._inventory.routes(),
        )

    def list_orders(self, call: Call) -> Answer:
        orders, cursor, more = self._market.page(call, "cursor")
        since = call.query.get("since", "").replace(" ", "+")
        found = [order for order in orders if order["placed_at"] >= since]
        return Answer({"orders": found, "next_cursor": cursor, "has_more": more})

    def read_order(self, call: Call) -> Answer:
        return Answer(self._market.order(call.path["number"]))

    def acknowledge(self, call: Call) -> Answer:
        number, request = call.path["number"], call.read(BazaarAcknowledge)
        order = self._market.order(number)
        if order["seller_reference"] == request.seller_reference:
            return Answer(order)
        if order["seller_reference"]:
            raise Refusal(409, "already_acknowledged", "acknowledged under another reference", order)
        order["seller_reference"] = request.seller_reference
        if order["status"] == "UNACKNOWLEDGED":
            order["status"] = "ACKNOWLEDGED"
        self._market.keep(number, order)
        self._market.listings.confirm(number)
        self._market.storage.append_log("acknowledgment", number, request)
        return Answer(order)

    def ship(self, call: Call) -> Answer:
        number, request = call.path["number"], call.read(BazaarShipment)
        order = self._market.order(number)
        known = {item["item_id"] for item in order["items"]}
        if not request.items or any(item.item_id not in known or item.quantity <= 0 for item in request.items):
            raise Refusal(422, "unknown_item", "a shipment needs items of this order with a quantity")
        entry = {**msgspec.to_builtins(request), "shipment_id": self._market.storage.next_number("shipment", 90001)}
        self._market.add(number, order, "shipments", entry, request.seller_shipment_id)
        return Answer(entry, 201)

    def cancel(self, call: Call) -> Answer:
        number, request = call.path["number"], call.read(BazaarCancel)
        order = self._market.order(number)
        if not request.items:
            order["status"] = "CANCELLED"
            self._market.listings.release(number)
        self._market.add(number, order, "cancellations", msgspec.to_builtins(request), request.seller_reference)
        return Answer(order)

    def take_orders(self, call: Call) -> Answer:
        return Answer({"numbers": [self._place(basket) for basket in call.read(BuyerOrders).orders]}, 201)

    def buyer_cancels(self, call: Call) -> Answer:
        number = call.read(CancelControl).number
        order = self._market.order(number)
        order["status"] = "CANCELLED_BY_BUYER"
        order["cancelled_at"] = datetime.now(UTC).isoformat(timespec="seconds")
        self._market.keep(number, order)
        self._market.listings.release(number)
        self._market.storage.append_log("buyer_cancellation", number, {"number": number})
        return Answer(order)

    def _place(self, wish: BuyerOrder) -> str:
        """The order's number; "" when all of it is sold out."""
        number = f"BZ-{self._market.storage.next_number('order', 7000001)}"
        basket = self._market.listings.sell(number, wish)
        if basket is None:
            return ""
        now, to = datetime.now(UTC), basket.ship_to
        products = self._market.products
        order = {
            "order_id": number, "status": "UNACKNOWLEDGED", "placed_at": now.isoformat(timespec="seconds"),
            "acknowledge_by": (now + timedelta(hours=1)).isoformat(timespec="seconds"), "currency": basket.currency,
            "seller_reference": "", "buyer_email": basket.email, "message": basket.note,
            "ship_to": {
                "full_name": to.name, "line1": to.street, "city": to.city, "postcode": to.postal_code,
                "country_code": to.country,
            },
            "items": [
                {
                    "item_id": 10 * index, "sku": line.sku, "unit": line.unit, "quantity": str(line.quantity),
                    "title": products[line.sku].name if line.sku in products else line.sku,
                    "unit_price_minor": int(line.unit_price * 100),
                }
                for index, line in enumerate(basket.lines, start=1)
            ],
            "shipments": [], "cancellations": [],
        }  # fmt: skip
        self._market.keep(number, order)
        self._market.storage.append_log("order", number, order)
        return number


class Agora:
    def __init__(self, storage: Storage, world: World, listings: Listings) -> None:
        self._market = Marketplace(storage, world, listings)

    async def live(self) -> None:
        await wait_for_ever()

    def routes(self) -> Sequence[Route]:
        return (
            Route("GET", "/orders", self.list_orders),
            Route("GET", "/orders/{number}", self.read_order),
            Route("POST", "/orders/{number}/acknowledge", self.acknowledge),
            Route("POST", "/orders/{number}/shipments", self.ship),
            Route("POST", "/orders/{number}/cancel", self.cancel),
            Route("POST", "/_control/order", self.take_orders),
            Route("POST", "/_control/cancel", self.buyer_cancels),
            *AgoraInventory(self._market.listings).routes(),
        )

    def list_orders(self, call: Call) -> Answer:
        """Numbers only, in the order of change: the backstop for webhooks that went astray."""
        orders, cursor, more = self._market.page(call, "changedAfter")
        return Answer({"orderIds": [order["orderId"] for order in orders], "next": cursor, "more": more})

    def read_order(self, call: Call) -> Answer:
        return Answer(self._market.order(call.path["number"]))

    def acknowledge(self, call: Call) -> Answer:
        number, request = call.path["number"], call.read(AgoraAcknowledge)
        order = self._market.order(number)
        if order["supplierOrderNumber"] == request.supplier_order_number:
            return Answer(order)
        if order["supplierOrderNumber"]:
            raise Refusal(409, "already_acknowledged", "acknowledged under another number", order)
        order["supplierOrderNumber"] = request.supplier_order_number
        self._market.keep(number, order)
        self._market.listings.confirm(number)
        self._market.storage.append_log("acknowledgment", number, request)
        return Answer(order)

    def ship(self, call: Call) -> Answer:
        number, request = call.path["number"], call.read(AgoraShipment)
        order = self._market.order(number)
        known = {line["lineNo"] for line in order["lines"]}
        nothing = any(line.line_no not in known or line.packs + line.pieces <= 0 for line in request.lines)
        if not request.lines or nothing:
            raise Refusal(422, "unknownLine", "a shipment needs lines of this order with packs")
        numbers = {entry.get("shipmentNumber") for entry in order["shipments"]}
        if request.shipment_number and request.shipment_number in numbers:
            raise Refusal(409, "duplicateShipment", "this shipment was announced already")
        self._market.add(number, order, "shipments", msgspec.to_builtins(request), request.shipment_number)
        return Answer({"accepted": True}, 202)

    def cancel(self, call: Call) -> Answer:
        number, request = call.path["number"], call.read(AgoraCancel)
        order = self._market.order(number)
        if not request.lines:
            order["state"] = "cancelledBySupplier"
            self._market.listings.release(number)
        self._market.add(number, order, "cancellations", msgspec.to_builtins(request), request.cancellation_number)
        return Answer(order)

    def take_orders(self, call: Call) -> Answer:
        return Answer({"numbers": [self._place(basket) for basket in call.read(BuyerOrders).orders]}, 201)

    def buyer_cancels(self, call: Call) -> Answer:
        number = call.read(CancelControl).number
        order = self._market.order(number)
        order["state"] = "cancelledByBuyer"
        order["cancelledOn"] = datetime.now(UTC).isoformat(timespec="seconds")
        self._market.keep(number, order)
        self._market.listings.release(number)
        self._market.storage.append_log("buyer_cancellation", number, {"orderId": number})
        self._tell(number)
        return Answer(order)

    def _place(self, wish: BuyerOrder) -> str:
        """The order's number; "" when all of it is sold out."""
        number = f"AG{self._market.storage.next_number('order', 31000001)}"
        basket = self._market.listings.sell(number, wish)
        if basket is None:
            return ""
        to = basket.ship_to
        order = {
            "orderId": number, "state": "placed",
            "createdOn": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "currencyCode": basket.currency, "supplierOrderNumber": "", "remark": basket.note,
            "deliverTo": {
                "name": to.name, "address": to.street, "town": to.city, "postalCode": to.postal_code,
                "country": to.country, "mail": basket.email,
            },
            "lines": [
                {
                    "lineNo": f"L{index:02d}", "gtin": self._gtin(line.sku, line.unit), "packs": str(line.quantity),
                    "packType": PACK_TYPES.get(line.unit, line.unit), "pricePerPack": str(line.unit_price),
                }
                for index, line in enumerate(basket.lines, start=1)
            ],
            "shipments": [], "cancellations": [],
        }  # fmt: skip
        self._market.keep(number, order)
        self._market.storage.append_log("order", number, order)
        self._tell(number)
        return number

    def _gtin(self, sku: str, unit: str) -> str:
        """Agora knows goods by the GTIN of the pack that is sold; what it does not know it passes on as it came."""
        product = self._market.products.get(sku)
        packs = {pack.unit: pack.gtin for pack in product.packs} if product is not None else {}
        return packs.get(unit, sku)

    def _tell(self, number: str) -> None:
        self._market.storage.queue_message("order", msgspec.json.encode({"order_id": number}))
