"""The carrier: makes tracking numbers, follows registered ones, reports deliveries."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from crossdock.sandbox.service import Answer, Call, Refusal, Route
from crossdock.sandbox.storage import Storage
from crossdock.sandbox.webhooks import WebhookSender

PAGE: Final = 100


class LabelRequest(msgspec.Struct, frozen=True):
    sscc: str
    ship_to: dict[str, Any] = {}
    service: str = "standard"


class TrackingRequest(msgspec.Struct, frozen=True):
    tracking_number: str
    reference: str = ""


class Tracking(msgspec.Struct, frozen=True):
    tracking_number: str
    reference: str
    state: str
    registered_at: str
    due_at: float
    delivered_at: str | None = None


class DeliverControl(msgspec.Struct, frozen=True):
    tracking_number: str


class Carrier:
    def __init__(
        self, storage: Storage, sender: WebhookSender | None, deliver_after_seconds: tuple[float, float]
    ) -> None:
        self._storage = storage
        self._sender = sender
        self._deliver_after_seconds = deliver_after_seconds

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/v1/shipments", self.make_label),
            Route("POST", "/v1/trackings", self.register, sequel=self._deliver_registered),
            Route("GET", "/v1/trackings", self.list_trackings),
            Route("GET", "/v1/trackings/{number}", self.read_tracking),
            Route("POST", "/_control/deliver", self.deliver_now),
        )

    async def live(self) -> None:
        """Deliver what is due, once a second."""
        while True:
            await asyncio.sleep(1.0)
            waiting = self._storage.read_children("due", "", Tracking)
            due = [tracking for tracking in waiting if tracking.due_at <= time.time()][:100]
            if due:
                with self._storage.transaction():
                    for tracking in due:
                        self._deliver(tracking)
                if self._sender is not None:
                    self._sender.announce()

    def make_label(self, call: Call) -> Answer:
        request = call.read(LabelRequest)
        number = f"CD{self._storage.next_number('tracking', 880000001)}EU"
        label = {"tracking_number": number, "carrier": "swiftline", "sscc": request.sscc, "service": request.service}
        self._storage.place("label", number, label)
        self._storage.append_log("label", number, label)
        return Answer(label, 201)

    def register(self, call: Call) -> Answer:
        request = call.read(TrackingRequest)
        existing = self._storage.read("tracking", request.tracking_number, Tracking)
        if existing is not None:
            raise Refusal(409, "already_registered", "this number is followed already", existing)
        due_at = time.time() + random.uniform(*self._deliver_after_seconds)
        tracking = Tracking(
            request.tracking_number, request.reference, "in_transit", datetime.now(UTC).isoformat(), due_at
        )
        self._storage.place("tracking", tracking.tracking_number, tracking)
        self._storage.place("due", tracking.tracking_number, tracking)
        self._storage.append_log("tracking", tracking.tracking_number, request)
        return Answer(tracking, 201)

    def list_trackings(self, call: Call) -> Answer:
        after = call.number("after", 0)
        changes = self._storage.read_changes("tracking", after, PAGE + 1, Tracking)
        page = changes[:PAGE]
        cursor = str(page[-1][0] if page else after)
        return Answer({"trackings": [found for _, found in page], "cursor": cursor, "more": len(changes) > PAGE})

    def read_tracking(self, call: Call) -> Answer:
        return Answer(self._tracking(call.path["number"]))

    def deliver_now(self, call: Call) -> Answer:
        tracking = self._tracking(call.read(DeliverControl).tracking_number)
        if tracking.state != "delivered":
            self._deliver(tracking)
        return Answer(self._tracking(tracking.tracking_number))

    def _deliver_registered(self, call: Call) -> None:
        tracking = self._storage.read("tracking", call.read(TrackingRequest).tracking_number, Tracking)
        if tracking is not None and tracking.state != "delivered":
            self._deliver(tracking)

    def _deliver(self, tracking: Tracking) -> None:
        delivered = msgspec.structs.replace(
            tracking, state="delivered", delivered_at=datetime.now(UTC).isoformat(timespec="seconds")
        )
        self._storage.place("tracking", tracking.tracking_number, delivered)
        # Out of the list of what is due: the parent is what that list is read by.
        self._storage.place("due", tracking.tracking_number, delivered, parent="done")
        self._storage.append_log("delivery", tracking.tracking_number, delivered)
        body = {"type": "tracking.delivered", "timestamp": delivered.delivered_at, "data": delivered}
        self._storage.queue_message("tracking.delivered", msgspec.json.encode(body))

    def _tracking(self, number: str) -> Tracking:
        tracking = self._storage.read("tracking", number, Tracking)
        if tracking is None:
            raise Refusal(404, "not_found", "this number is not followed")
        return tracking
