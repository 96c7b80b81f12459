"""The table of endpoints: the one place that says what is served, with which scope, taking and answering what."""

from __future__ import annotations

from typing import Final

from crossdock.api import (
    availability,
    changes,
    hooks,
    operations,
    orders,
    reservations,
    status,
    stock,
    stock_figures,
    tokens,
    validation,
)
from crossdock.api.endpoint import Endpoint, Reply
from crossdock.insight.connections import ConnectionState
from crossdock.insight.orders import OrderDetail, OrderSummary, ShipmentSummary
from crossdock.insight.paging import Listing
from crossdock.insight.stock import DriftItem, StockKpis
from crossdock.insight.timeline import Timeline
from crossdock.model.orders import OrderAcknowledgment, OrderPlaced
from crossdock.model.stock import Reservation

_JSON: Final = "application/json"
_CHANNEL: Final = {"Crossdock-Channel": (False, "For which channel this is; needed by clients of several channels")}
_KEY: Final = {"Idempotency-Key": (True, "Chosen by the sender; the same for every sending of the same order")}
_SOURCE: Final = {"Crossdock-Source": (False, "The connection that this is reported by; needed by clients of several")}
_WEBHOOK: Final = {
    "webhook-id": (True, "The webhook's identifier"), "webhook-timestamp": (True, "Seconds since 1970"),
    "webhook-signature": (True, "Standard Webhooks signatures, v1"),
}  # fmt: skip

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        "POST", "/oauth/token", tokens.grant_token, "Get an access token (client credentials)", "access",
        (Reply(200, "The token", tokens.TokenGrant), Reply(400, "Not granted", tokens.TokenRefusal),
         Reply(401, "Unknown client or wrong secret", tokens.TokenRefusal)),
        body_media_type="application/x-www-form-urlencoded", problems=(413, 415, 429),
        description="OAuth 2.1. The client authenticates by HTTP Basic or by client_id and client_secret in the form.",
    ),
    Endpoint(
        "GET", "/v1/availability", availability.show_availability, "What may be promised, and why", "validation",
        (Reply(200, "Availability with its age", availability.Availability),),
        scope="availability:read", query=availability.AvailabilityQuery,
    ),
    Endpoint(
        "GET", "/v1/availability/changes", changes.stream_changes, "Be told what may be promised", "validation",
        (Reply(200, "Server-sent events; the data of `availability` is what GET /v1/availability answers", None,
               "text/event-stream"),),
        scope="availability:read", query=changes.ChangesQuery,
        headers={"Last-Event-ID": (False, "Where to go on; without it the stream begins now")}, problems=(503,),
        description="`beginning` comes first, or `reset` when too much was missed: then read the availability anew.",
    ),
    Endpoint(
        "POST", "/v1/prices:quote", validation.quote_prices, "What lines would cost", "validation",
        (Reply(200, "Prices with provenance", validation.Quote),),
        scope="prices:quote", body=validation.QuoteBody, body_media_type=_JSON, headers=_CHANNEL,
    ),
    Endpoint(
        "POST", "/v1/accounts/{code}:validate", validation.validate_account, "May this account buy?", "validation",
        (Reply(200, "Status and credit with their age", validation.AccountAnswer),),
        scope="accounts:validate", body=validation.ValidateBody, body_media_type=_JSON, body_optional=True,
        problems=(404,),
    ),
    Endpoint(
        "POST", "/v1/orders", orders.place_order, "Place an order", "orders",
        (Reply(201, "Accepted", OrderAcknowledgment), Reply(202, "Held: a person decides", OrderAcknowledgment),
         Reply(200, "Placed before with this key; the stored answer", OrderAcknowledgment)),
        scope="orders:write", body=OrderPlaced, body_media_type=_JSON, headers={**_KEY, **_CHANNEL}, problems=(409,),
        description="A refused order is a problem (422, code order_refused) that names every reason by line.",
    ),
    Endpoint(
        "GET", "/v1/orders", orders.list_orders, "Search orders, newest first", "orders",
        (Reply(200, "A page", Listing[OrderSummary]),), scope="orders:read", query=orders.OrderQuery,
    ),
    Endpoint(
        "GET", "/v1/orders/{number}", orders.show_order, "One order whole", "orders",
        (Reply(200, "The order, its progress and documents", OrderDetail),), scope="orders:read", problems=(404,),
    ),
    Endpoint(
        "GET", "/v1/orders/{number}/timeline", orders.show_timeline, "What happened, and what happens next", "orders",
        (Reply(200, "The timeline over all systems", Timeline),), scope="orders:read", problems=(404,),
    ),
    Endpoint(
        "POST", "/v1/orders/{number}:change", orders.change_order, "Lower lines, or take them off", "orders",
        (Reply(200, "The order's lines after it", orders.OrderChanged),),
        scope="orders:write", body=orders.ChangeBody, body_media_type=_JSON, problems=(404, 409),
        description="As far as no warehouse has been told of them: all that is asked, or nothing. It says what is "
        "wanted in all, so the same change again changes nothing. Prices stay as they were agreed. More of a line is "
        "another order. A change that comes too late (409, code change_too_late) says how much could be taken off.",
    ),
    Endpoint(
        "POST", "/v1/orders/{number}:cancel", orders.cancel_order, "Cancel what has not left", "orders",
        (Reply(202, "Being undone at the partners", orders.OrderCancelled),),
        scope="orders:write", body=orders.CancelBody, body_media_type=_JSON, problems=(404, 409),
    ),
    Endpoint(
        "POST", "/v1/reservations", reservations.reserve_stock, "Hold a cart's stock", "reservations",
        (Reply(201, "Held until its time is over", Reservation),
         Reply(200, "Asked for before with this key; as it stands now", Reservation)),
        scope="orders:write", body=reservations.ReservationBody, body_media_type=_JSON, headers={**_KEY, **_CHANNEL},
        problems=(409,),
        description="All lines whole, or nothing: a problem (409, code stock_short) names every line's shortage. "
        "An order redeems it by its field `reservation`.",
    ),
    Endpoint(
        "GET", "/v1/reservations/{reservation}", reservations.show_reservation, "Where a reservation stands",
        "reservations", (Reply(200, "The reservation", Reservation),), scope="orders:read", problems=(404,),
    ),
    Endpoint(
        "DELETE", "/v1/reservations/{reservation}", reservations.release_reservation, "Give back what a cart holds",
        "reservations", (Reply(200, "The reservation, released", Reservation),), scope="orders:write",
        problems=(404, 409),
    ),
    Endpoint(
        "GET", "/v1/shipments", orders.show_shipments, "Shipments, newest orders first", "shipments",
        (Reply(200, "A page", Listing[ShipmentSummary]),), scope="shipments:read", query=orders.ShipmentQuery,
    ),
    Endpoint(
        "POST", "/v1/balances", stock.report_balances, "Report what is there", "stock",
        (Reply(202, "Kept; decided in a moment", stock.StockReceived),),
        scope="stock:write", body=stock.BalancesBody, body_media_type=_JSON, headers={**_KEY, **_SOURCE},
        description="Absolute figures as of a time, in any unit of the product. Rows that cannot be taken are parked "
        "alone: GET /v1/quarantine shows them with line, reason and fix.",
    ),
    Endpoint(
        "POST", "/v1/movements", stock.report_movements, "Report what moved", "stock",
        (Reply(202, "Kept; decided in a moment", stock.StockReceived),),
        scope="stock:write", body=stock.MovementsBody, body_media_type=_JSON, headers={**_KEY, **_SOURCE},
    ),
    Endpoint(
        "POST", "/v1/inbound", stock.report_inbound, "Report what purchase orders will bring", "stock",
        (Reply(202, "Kept; decided in a moment", stock.StockReceived),),
        scope="stock:write", body=stock.InboundBody, body_media_type=_JSON, headers={**_KEY, **_SOURCE},
    ),
    Endpoint(
        "GET", "/v1/stock/kpis", stock_figures.show_kpis, "How fast, how stale, how often short", "stock",
        (Reply(200, "The figures of this moment", StockKpis),), scope="stock:read",
    ),
    Endpoint(
        "GET", "/v1/stock/drift", stock_figures.show_drift, "Where owners, Crossdock and channels differ", "stock",
        (Reply(200, "A page", Listing[DriftItem]),), scope="stock:read", query=stock_figures.DriftQuery,
    ),
    Endpoint(
        "GET", "/v1/holds", operations.show_holds, "Held orders, oldest first", "operations",
        (Reply(200, "A page, and counts by cause", operations.HoldPage),),
        scope="holds:read", query=operations.HoldQuery,
    ),
    Endpoint(
        "POST", "/v1/holds:release", operations.release_holds, "Accept held orders after all", "operations",
        (Reply(200, "How many were released", operations.HoldsDecided),),
        scope="holds:write", body=operations.ReleaseBody, body_media_type=_JSON, problems=(404, 409),
    ),
    Endpoint(
        "POST", "/v1/holds:refuse", operations.refuse_holds, "Refuse held orders for good", "operations",
        (Reply(200, "How many were refused", operations.HoldsDecided),),
        scope="holds:write", body=operations.RefuseBody, body_media_type=_JSON, problems=(404, 409),
    ),
    Endpoint(
        "GET", "/v1/connections", operations.show_connections, "State of every connection", "operations",
        (Reply(200, "All connections", operations.ConnectionPage),), scope="connections:read",
    ),
    Endpoint(
        "POST", "/v1/connections/{name}:pause", operations.pause_connection, "Send nothing to it", "operations",
        (Reply(200, "The connection", ConnectionState),),
        scope="connections:write", body_optional=True, problems=(404,),
    ),
    Endpoint(
        "POST", "/v1/connections/{name}:resume", operations.resume_connection, "Send to it again", "operations",
        (Reply(200, "The connection", ConnectionState),),
        scope="connections:write", body_optional=True, problems=(404,),
    ),
    Endpoint(
        "GET", "/v1/quarantine", operations.show_quarantine, "What is parked, oldest first", "operations",
        (Reply(200, "A page, and counts by cause", operations.QuarantinePage),),
        scope="quarantine:read", query=operations.QuarantineQuery,
    ),
    Endpoint(
        "POST", "/v1/quarantine:replay", operations.replay_quarantine, "Begin parked ones again", "operations",
        (Reply(200, "How many began again", operations.Replayed),),
        scope="quarantine:write", body=operations.ReplayBody, body_media_type=_JSON, problems=(404,),
    ),
    Endpoint(
        "POST", "/v1/quarantine:dismiss", operations.dismiss_quarantine, "Close messages settled otherwise",
        "operations", (Reply(200, "How many are closed", operations.Dismissed),),
        scope="quarantine:write", body=operations.DismissBody, body_media_type=_JSON,
    ),
    Endpoint(
        "POST", "/v1/quarantine:settle", operations.settle_parked_step, "End a parked step by hand", "operations",
        (Reply(200, "It has ended so", operations.Settled),),
        scope="quarantine:write", body=operations.SettleBody, body_media_type=_JSON, problems=(404, 409),
        description="What a person found at the partner: it is done, under the partner's number, or it is refused for "
        "good. What follows goes on as after the partner's own answer. Quotes, authorisations and recalls from a "
        "warehouse need that answer: mend what stopped them and replay them.",
    ),
    Endpoint(
        "GET", "/v1/quarantine/facts/{fact}", operations.show_parked_fact, "A parked message", "operations",
        (Reply(200, "As it would be decided again; it may name people", operations.ParkedFact),),
        scope="quarantine:write", problems=(404,),
    ),
    Endpoint(
        "POST", "/v1/quarantine/facts/{fact}:correct", operations.correct_parked_fact, "Correct a parked message",
        "operations", (Reply(200, "It is decided again", operations.Replayed),),
        scope="quarantine:write", body=operations.CorrectBody, body_media_type=_JSON, problems=(404,),
        description="What was received is kept beside it. An order keeps its channel's number.",
    ),
    Endpoint(
        "POST", "/hooks/{connection}", hooks.receive_webhook, "A partner's signed webhook", "webhooks",
        (Reply(200, "Kept", hooks.Received),
         Reply(202, "Kept, but parked: it could not be translated", hooks.Received)),
        headers=_WEBHOOK, problems=(401, 404, 413, 415),
        description="The body is the partner's own, signed after Standard Webhooks; kept before it is acknowledged.",
    ),
    Endpoint(
        "GET", "/healthz", status.show_health, "Can orders be accepted?", "status",
        (Reply(200, "They can", status.Health),), problems=(503,),
    ),
    Endpoint(
        "GET", "/metrics", status.show_metrics, "Prometheus metrics", "status",
        (Reply(200, "Metrics as text", None, "text/plain"),), problems=(503,),
    ),
)  # fmt: skip
