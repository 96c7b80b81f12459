"""A small business in the ledger, written row by row: orders in every state, an ERP that does not answer, holds,
parked facts and steps. For tests that read; nothing here goes through the engine.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from crossdock.kit.connector import Exchange
from crossdock.model.codes import gs1_check_digit
from crossdock.model.documents import Address
from crossdock.model.fulfilment import Package, PartLine, ShipmentPart
from crossdock.model.orders import (
    Allocation,
    Hold,
    LineProgress,
    LineTax,
    Order,
    OrderLine,
    OrderProgress,
    PaymentIntent,
    PriceProvenance,
    Reason,
)
from crossdock.model.values import Money, Quantity
from tests.integration.insight.estate_partners import (
    CHANNELS,
    CUSTOMERS,
    HOSTILE,
    PRODUCTS,
    place_parked_facts,
    place_partners,
)


def sscc_of(order_id: int) -> str:
    body = f"0034012345{order_id:07d}"
    return body + gs1_check_digit(body)


@dataclass(frozen=True, slots=True)
class Estate:
    """What a test may look for."""

    hostile: str
    shipped: str
    waiting: str
    held: str
    parked: str


async def place_estate(pool: Any, now: datetime, orders: int = 70) -> Estate:
    """Write the business as it stands at `now`."""
    chance = random.Random(7)
    await place_partners(pool, now)
    numbers: dict[str, str] = {}
    for order_id in range(1, orders + 1):
        kind = _kind(order_id, orders)
        accepted_at = now - timedelta(seconds=(orders - order_id) * 3300 // orders + 40)
        order = _order(chance, order_id, accepted_at, kind)
        await _place_order(pool, order, kind, now, chance)
        numbers.setdefault(kind, order.number)
    await place_parked_facts(pool, now)
    await pool.execute("ANALYZE")
    return Estate(numbers["hostile"], numbers["completed"], numbers["waiting"], numbers["held"], numbers["parked"])


def _kind(order_id: int, orders: int) -> str:
    if order_id > orders - 9:
        return "waiting"
    return {
        3: "hostile",
        5: "held",
        6: "held",
        11: "held",
        8: "cancelled",
        13: "parked",
        17: "unpublished",
        19: "shipping",
    }.get(order_id % 20, "completed")


def _order(chance: random.Random, order_id: int, accepted_at: datetime, kind: str) -> Order:
    channel = CHANNELS[order_id % 4]
    business = channel == "portal"
    customer = CUSTOMERS[order_id % len(CUSTOMERS)][0] if business else ""
    currency = "GBP" if customer == "C-1004" else "EUR"
    lines = []
    for index, (sku, name, unit, price) in enumerate(chance.sample(PRODUCTS, chance.randint(1, 4)), start=1):
        boxes = chance.randint(1, 9)
        quantity = Decimal(boxes * (10 if business else 1))
        amount = (quantity * Decimal(price)).quantize(Decimal("0.01"))
        lines.append(
            OrderLine(
                line=str(index),
                sku=HOSTILE if kind == "hostile" and index == 1 else sku,
                name=HOSTILE if kind == "hostile" else name,
                ordered=Quantity(Decimal(boxes), "XBX") if business else Quantity(quantity, unit),
                quantity=Quantity(quantity, unit),
                unit_price=Money(Decimal(price), currency),
                amount=Money(amount, currency),
                price=PriceProvenance("contract" if business else "list", Decimal(price), "PA-77" if business else ""),
                tax_category="standard",
                allocations=(Allocation("HAM" if index % 2 else "BHX", quantity),),
            )
        )
    return Order(
        order_id=order_id,
        number=f"CD{order_id:08d}",
        channel=channel,
        channel_number=f"{channel[:1].upper()}-{5000 + order_id}",
        order_type="business" if business else "consumer",
        region="UK" if currency == "GBP" else "EU",
        currency=currency,
        placed_at=accepted_at - timedelta(seconds=4),
        accepted_at=accepted_at,
        ship_to=Address(
            "Jette Musterfrau", "Hafenstrasse 9", "Bremen", "28195", "DE", "jette@example.org", "+49 421 5550"
        ),
        lines=tuple(lines),
        net=Money(sum((line.amount.amount for line in lines), Decimal(0)), currency),
        payment=PaymentIntent("terms" if business else "card", "" if business else "tok_secret_4711"),
        plan="business-eu" if business else "consumer",
        fulfilment="split",
        customer=customer,
        customer_reference="PO 4711/26" if business else "",
        payment_term_days=30 if business else 0,
        note=HOSTILE if kind == "hostile" else "",
    )


_STATES = {
    "completed": "completed",
    "hostile": "accepted",
    "held": "held",
    "cancelled": "cancelled",
    "parked": "shipping",
    "unpublished": "shipping",
    "shipping": "shipping",
    "waiting": "accepted",
}


async def _place_order(pool: Any, order: Order, kind: str, now: datetime, chance: random.Random) -> None:
    left = kind in ("completed", "parked", "unpublished", "shipping")
    half = kind in ("shipping", "unpublished")
    lines = {}
    for line in order.lines:
        shipped = line.quantity.value if left else Decimal(0)
        if half:
            shipped = (shipped / 2).to_integral_value()
        lines[line.line] = LineProgress(
            line.quantity.value, shipped=shipped, cancelled=line.quantity.value if kind == "cancelled" else Decimal(0)
        )
    hold = None
    if kind == "held":
        cause, owner, action, message = _HOLDS[order.order_id % len(_HOLDS)]
        hold = Hold(cause, owner, action, order.accepted_at, (Reason(cause, message, owner, action),))
    taxes = {
        line.line: LineTax("EU-STD", Decimal("0.19"), (line.amount.amount * Decimal("0.19")).quantize(Decimal("0.01")))
        for line in order.lines
    }
    progress = OrderProgress(_STATES[kind], lines, hold=hold, taxes=taxes if left else {})  # type: ignore[arg-type]
    await pool.execute(
        "INSERT INTO orders VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,'',$14)",
        order.order_id,
        order.number,
        order.channel,
        order.channel_number,
        order.customer,
        order.order_type,
        order.region,
        order.currency,
        order.net.amount,
        len(order.lines),
        order.plan,
        order.placed_at,
        order.accepted_at,
        msgspec.json.encode(order),
    )
    steps = _steps(order, kind, now, chance)
    await pool.execute(
        "INSERT INTO order_progress VALUES ($1,$2,1,1,$3,$4,$5,$6,$7,$8,$9)",
        order.order_id,
        progress.state,
        sum(step["state"] not in ("done", "cancelled") for step in steps),
        hold.cause if hold else None,
        hold.owner if hold else None,
        hold.since if hold else None,
        order.accepted_at,
        msgspec.json.encode(progress),
        order.channel,
    )
    for line in order.lines:
        await pool.execute(
            "INSERT INTO reservations (order_id, line, location, sku, quantity) VALUES ($1,$2,'HAM',$3,$4)",
            order.order_id,
            line.line,
            line.sku,
            line.quantity.value,
        )
    await _place_history(pool, order, kind, progress)
    for step in steps:
        await _place_step(pool, order, step)
    if left:
        await _place_shipment(pool, order, half)


_HOLDS = (
    (
        "credit_limit",
        "credit control",
        "Release it, or ask the customer to pay.",
        "The account owes 9,812.40 EUR and this order adds 1,204.00 EUR; the limit is 10,000.00 EUR.",
    ),
    (
        "price_deviation",
        "sales",
        "Confirm the asked price or refuse the order.",
        "Line 1 asks 2.10 EUR; the contract says 2.35 EUR, 10.6 % less.",
    ),
)


async def _place_history(pool: Any, order: Order, kind: str, progress: OrderProgress) -> None:
    await pool.execute(
        """INSERT INTO facts (connection, kind, business_key, version, subject, state, order_id, body, raw,
            received_at, due_at)
        VALUES ($1, 'order.placed', $2, '1', $2, 'applied', $3, '{}', '{}', $4, $4)""",
        order.channel,
        order.channel_number,
        order.order_id,
        order.placed_at,
    )
    events: list[tuple[str, dict[str, Any]]] = [
        ("OrderHeld" if kind == "held" else "OrderAccepted", {"state": progress.state, "policy": "3f2a9c"})
    ]
    if kind == "cancelled":
        events.append(("CancellationRequested", {"reason": "ordered twice"}))
    for version, (name, body) in enumerate(events, start=1):
        await pool.execute(
            "INSERT INTO events (order_id, version, type, at, body) VALUES ($1,$2,$3,$4,$5)",
            order.order_id,
            version,
            name,
            order.accepted_at + timedelta(seconds=version - 1),
            msgspec.json.encode(body),
        )


def _steps(order: Order, kind: str, now: datetime, chance: random.Random) -> list[dict[str, Any]]:
    if kind == "held":
        return []
    at = order.accepted_at
    names = [
        ("tax.quote", "tax", ()),
        ("payment.authorise", "payments", ("tax.quote",)),
        ("erp.place_order", "erp", ("payment.authorise",)),
        ("wms.release:HAM", "wms", ("erp.place_order",)),
        ("channel.acknowledge", order.channel, ("erp.place_order",)),
    ]
    if kind in ("completed", "parked", "unpublished", "shipping"):
        shipment = f"SH-{order.order_id}"
        names += [
            (f"erp.ship:{shipment}", "erp", ("erp.place_order",)),
            (f"payment.capture:{shipment}", "payments", ()),
            (f"channel.ship:{shipment}", order.channel, ()),
            (f"carrier.track:{shipment}", "carrier", ()),
        ]
    steps = []
    for index, (name, connection, needs) in enumerate(names):
        operation = name.partition(":")[0]
        began = at + timedelta(seconds=1 + index * 2)
        state = "done"
        if kind in ("waiting", "hostile") and index >= 2:
            state = "ready" if index == 2 else "waiting"
        if kind == "unpublished" and operation == "channel.ship":
            state = "ready"
        if kind == "parked" and operation == "erp.ship":
            state = "quarantined"
        if kind == "cancelled" and index > 2:
            state = "cancelled"
        steps.append(
            {
                "name": name,
                "connection": connection,
                "operation": operation,
                "needs": list(needs),
                "state": state,
                "began": began,
                "done": began + timedelta(milliseconds=chance.randint(20, 400)),
                "failing": state in ("ready", "quarantined"),
            }
        )
    return steps


async def _place_step(pool: Any, order: Order, step: dict[str, Any]) -> None:
    done = step["state"] in ("done", "cancelled")
    failing = step["failing"]
    exchange = Exchange(
        "POST",
        f"http://127.0.0.1:9100/{step['operation'].replace('.', '/')}",
        201 if done else 503,
        '{"number":"'
        + order.number
        + '","ship_to":{"name":"Jette Musterfrau","street":"Hafenstrasse 9"},"token":"tok_secret_4711"}',
        '{"id":"81","status":"ok"}' if done else '{"error":"service unavailable"}',
        38,
    )
    await pool.execute(
        """INSERT INTO steps (order_id, name, connection, operation, state, attempt, failures, needs, created_at,
            due_at,
            started_at, done_at, external_id, error_kind, error_code, error_message, next_action, payload, exchanges)
        VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,'{}',$18)""",
        order.order_id,
        step["name"],
        step["connection"],
        step["operation"],
        step["state"],
        3 if failing else 1,
        2 if failing else 0,
        step["needs"],
        order.accepted_at,
        step["began"],
        step["began"],
        step["done"] if done else None,
        f"X-{step['operation'][:3].upper()}-{order.order_id}" if step["state"] == "done" else None,
        "unavailable" if failing else None,
        "connection_refused" if failing else None,
        f"{step['connection']} cannot be reached." if failing else None,
        "Look at the period in the ERP, then replay." if step["state"] == "quarantined" else None,
        msgspec.json.encode([exchange]) if done else None,
    )
    for attempt in (1, 2) if failing else ():
        start = step["began"] + timedelta(seconds=attempt * 4)
        await pool.execute(
            "INSERT INTO step_attempts VALUES ($1,$2,$3,'w-1',$4,$5,'unavailable','connection_refused',$6,NULL,$7)",
            order.order_id,
            step["name"],
            attempt,
            start,
            start + timedelta(milliseconds=12),
            f"{step['connection']} cannot be reached.",
            msgspec.json.encode([exchange]),
        )


async def _place_shipment(pool: Any, order: Order, half: bool) -> None:
    shipment = f"SH-{order.order_id}"
    at = order.accepted_at + timedelta(seconds=30)
    share = Decimal(2) if half else Decimal(1)
    lines = tuple(
        PartLine(
            line.line,
            line.sku,
            line.quantity,
            (line.amount.amount / share).quantize(Decimal("0.01")),
            (line.amount.amount / share * Decimal("0.19")).quantize(Decimal("0.01")),
            "EU-STD",
        )
        for line in order.lines
    )
    net = sum((line.net for line in lines), Decimal(0))
    tax = sum((line.tax for line in lines), Decimal(0))
    part = ShipmentPart(
        shipment,
        "HAM",
        at,
        lines,
        Money(net, order.currency),
        Money(tax, order.currency),
        (Package(sscc_of(order.order_id), f"TRK{order.order_id:09d}", "Nordpost"),),
        not half,
    )
    await pool.execute(
        "INSERT INTO shipments VALUES ($1,'wms',$2,'HAM',$3,$3,NULL,$4)",
        shipment,
        order.order_id,
        at,
        msgspec.json.encode(part),
    )
    await pool.execute(
        "INSERT INTO shipment_packages VALUES ($1,$2,$3,$4)",
        part.packages[0].tracking,
        part.packages[0].sscc,
        shipment,
        order.order_id,
    )
    await pool.execute(
        "INSERT INTO invoices VALUES ($1,$2,$3,$4,$5,$6,$7,$8)",
        order.order_id,
        shipment,
        f"INV-{order.order_id:05d}",
        order.customer,
        order.currency,
        net,
        tax,
        at,
    )
    for kind, reference in (("authorisation", order.number), ("capture", shipment)):
        await pool.execute(
            "INSERT INTO payments VALUES ($1,$2,$3,$4,$5,$6,$7)",
            order.order_id,
            kind,
            reference,
            order.currency,
            net + tax,
            f"pay_{kind[:3]}_{order.order_id}",
            at,
        )
