"""The B2B portal: business buyers order on account; the portal asks Crossdock at once and shows the answer.

It calls `POST /v1/orders` with an OAuth client-credentials token and an `Idempotency-Key`, and keeps on asking until
it has an answer. Crossdock tells it later milestones by status updates, unique by event.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import msgspec

from crossdock.sandbox.inventory import PortalInventory
from crossdock.sandbox.listings import Listings
from crossdock.sandbox.orders import BuyerOrder, BuyerOrders
from crossdock.sandbox.service import Answer, Call, Refusal, Route
from crossdock.sandbox.storage import Storage

ASKING_AT_ONCE: Final = 16
ASK_AGAIN_SECONDS: Final = 1.0


class CrossdockAccess(msgspec.Struct, frozen=True):
    url: str
    client_id: str
    client_secret: str


class StatusRequest(msgspec.Struct, frozen=True):
    event_id: str
    status: str
    at: str = ""
    details: dict[str, Any] = {}


class PortalOrder(msgspec.Struct, frozen=True):
    number: str
    state: str
    placed_at: str
    request: dict[str, Any]
    answer_status: int = 0
    answer: Any = None
    attempts: int = 0


class Portal:
    def __init__(self, storage: Storage, access: CrossdockAccess | None, listings: Listings) -> None:
        self._storage = storage
        self._listings = listings
        self._access = access
        self._token = ""
        self._token_until = 0.0
        self._news = asyncio.Event()

    def routes(self) -> Sequence[Route]:
        return (
            Route("GET", "/api/orders/{number}", self.read_order),
            Route("GET", "/api/orders/{number}/status", self.list_statuses),
            Route("POST", "/api/orders/{number}/status", self.take_status),
            Route("POST", "/_control/order", self.take_orders),
            *PortalInventory(self._listings).routes(),
        )

    async def live(self) -> None:
        """Ask Crossdock about every order that has no answer yet."""
        if self._access is None:
            await asyncio.Event().wait()
            return
        timeout = aiohttp.ClientTimeout(total=15)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                self._news.clear()
                waiting = self._storage.read_children("waiting", "", str, ASKING_AT_ONCE)
                answered = await asyncio.gather(*(self._ask(session, self._access, number) for number in waiting))
                if not any(answered):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(ASK_AGAIN_SECONDS):
                            await self._news.wait()

    def read_order(self, call: Call) -> Answer:
        return Answer(self._order(call.path["number"]))

    def list_statuses(self, call: Call) -> Answer:
        number = self._order(call.path["number"]).number
        return Answer({"statuses": self._storage.read_children("status", number, StatusRequest)})

    def take_status(self, call: Call) -> Answer:
        order, request = self._order(call.path["number"]), call.read(StatusRequest)
        key = f"{order.number}/{request.event_id}"
        if self._storage.read("status", key, StatusRequest) is None:
            self._storage.place("status", key, request, parent=order.number)
            if request.status == "cancelled":
                self._listings.release(order.number)
            self._storage.append_log("status", key, request)
        return Answer({"event_id": request.event_id, "status": request.status})

    def take_orders(self, call: Call) -> Answer:
        numbers = [self._place(basket) for basket in call.read(BuyerOrders).orders]
        self._news.set()
        return Answer({"numbers": numbers}, 201)

    def _place(self, wish: BuyerOrder) -> str:
        """The order's number; "" when all of it is sold out."""
        number = f"P-{self._storage.next_number('order', 400001)}"
        basket = self._listings.sell(number, wish)
        if basket is None:
            return ""
        placed_at = datetime.now(UTC).isoformat(timespec="seconds")
        order = PortalOrder(number, "asking", placed_at, order_request(number, placed_at, basket))
        self._storage.place("order", number, order)
        self._storage.place("waiting", number, number)
        self._storage.append_log("order", number, order.request)
        return number

    async def _ask(self, session: aiohttp.ClientSession, access: CrossdockAccess, number: str) -> bool:
        order = self._order(number)
        headers = {
            "idempotency-key": number, "content-type": "application/json", "traceparent": traceparent_of(number),
        }  # fmt: skip
        try:
            headers["authorization"] = f"Bearer {await self._fresh_token(session, access)}"
            body = msgspec.json.encode(order.request)
            async with session.post(f"{access.url}/v1/orders", data=body, headers=headers) as response:
                status, raw = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, KeyError):
            return False
        if status == 401:
            self._token_until = 0.0
        if status in (401, 408, 409, 425, 429) or status >= 500:
            return False
        answer = _readable(raw)
        state = str(answer.get("state", "answered")) if status < 300 else "refused"
        answered = msgspec.structs.replace(
            order, state=state, answer_status=status, answer=answer, attempts=order.attempts + 1
        )
        with self._storage.transaction():
            self._storage.place("order", number, answered)
            self._storage.place("waiting", number, number, parent="answered")
            if state == "refused":
                self._listings.give_back(number)
            else:
                self._listings.confirm(number)
            self._storage.append_log("answer", number, {"status": status, "answer": answer})
        return True

    async def _fresh_token(self, session: aiohttp.ClientSession, access: CrossdockAccess) -> str:
        if time.monotonic() < self._token_until:
            return self._token
        form = {"grant_type": "client_credentials"}
        basic = aiohttp.BasicAuth(access.client_id, access.client_secret)
        async with session.post(f"{access.url}/oauth/token", data=form, auth=basic) as response:
            answer = msgspec.json.decode(await response.read(), type=dict[str, Any])
        self._token = str(answer["access_token"])
        self._token_until = time.monotonic() + float(answer.get("expires_in", 60)) * 0.8
        return self._token

    def _order(self, number: str) -> PortalOrder:
        order = self._storage.read("order", number, PortalOrder)
        if order is None:
            raise Refusal(404, "not_found", "no such order")
        return order


def traceparent_of(number: str) -> str:
    """The portal traces its orders: the same order is the same trace, however often it asks."""
    digest = hashlib.sha256(number.encode()).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-01"


def order_request(number: str, placed_at: str, basket: BuyerOrder) -> dict[str, Any]:
    """The body of Crossdock's `POST /v1/orders`."""
    payment = {"method": "card", "token": basket.card_token} if basket.card_token else {"method": "terms"}
    request: dict[str, Any] = {
        "channel_number": number, "placed_at": placed_at, "currency": basket.currency, "payment": payment,
        "ship_to": {**msgspec.to_builtins(basket.ship_to), "email": basket.email},
        "customer": basket.customer, "customer_reference": basket.customer_reference, "note": basket.note,
        "lines": [
            {
                "line": str(index), "sku": line.sku, "quantity": {"value": str(line.quantity), "unit": line.unit},
                "unit_price": {"amount": str(line.unit_price), "currency": basket.currency},
            }
            for index, line in enumerate(basket.lines, start=1)
        ],
    }  # fmt: skip
    if basket.fulfilment:
        request["fulfilment"] = basket.fulfilment
    return request


def _readable(raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError:
        return {"text": raw[:2000].decode("utf-8", "replace")}
