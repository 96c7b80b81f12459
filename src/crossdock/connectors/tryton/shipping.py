"""Shipment parts in Tryton: each goods issue really done and its invoice really posted, many parts in the same calls.

Tryton keeps one waiting shipment per sale for all that is still to go. A part takes it over: the waiting shipment is
cut down to exactly what left and gets our shipment number; when it is done Tryton itself makes the next waiting
shipment for the rest, and the invoice of what left. Every stage looks what is there and does what is missing, so that
a batch that broke off anywhere is simply begun again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.connectors.tryton.client import TrytonClient, WarehouseRef, may_be_one
from crossdock.connectors.tryton.invoicing import Booking, Row, book_invoices, done_of, invoices_of
from crossdock.connectors.tryton.translate import quantity_of, wire_quantity
from crossdock.kit.connector import Call, Done
from crossdock.model.errors import CrossdockError, Misconfigured, Refused, Unavailable
from crossdock.model.fulfilment import ShipmentPart

_SHIPMENT: Final = "stock.shipment.out"
_SHIPMENT_FIELDS: Final = ("number", "reference", "state", "_timestamp")
_MOVE_FIELDS: Final = ("origin", "quantity", "shipment", "state", "invoice_lines")
# State -> the button that is due and the state that it leads to, in the order of the work.
_NEXT: Final[Mapping[str, tuple[str, str]]] = {
    "draft": ("wait", "waiting"), "waiting": ("assign_force", "assigned"), "assigned": ("pack", "packed"),
    "picked": ("pack", "packed"), "packed": ("do", "done"), "shipped": ("do", "done"),
}  # fmt: skip


async def ship(client: TrytonClient, calls: Sequence[Call]) -> Sequence[Done | CrossdockError]:
    """Two parts of one order never together: Tryton would put both on one invoice."""
    answers: dict[str, Done | CrossdockError] = {}
    for together in _one_per_order(calls):
        for call, answer in zip(together, await _ship_each(client, together), strict=True):
            answers[call.key] = answer
    return [answers[call.key] for call in calls]


async def find_shipment(client: TrytonClient, call: Call) -> Done | None:
    part = msgspec.json.decode(call.payload, type=ShipmentPart)
    found = await client.rows(call, _SHIPMENT, [["reference", "=", part.shipment]], _SHIPMENT_FIELDS)
    if not found or found[0]["state"] != "done":
        return None
    invoice = (await invoices_of(client, call, [found[0]["id"]])).get(found[0]["id"])
    posted = invoice is not None and invoice["state"] in ("posted", "paid") and invoice["reference"] == part.shipment
    return done_of(found[0], invoice) if posted and invoice else None


def _one_per_order(calls: Sequence[Call]) -> list[list[Call]]:
    rounds: list[dict[str, Call]] = []
    for call in calls:
        free = next((round_ for round_ in rounds if call.number not in round_), None)
        if free is None:
            rounds.append({call.number: call})
        else:
            free[call.number] = call
    return [list(round_.values()) for round_ in rounds]


async def _ship_each(client: TrytonClient, calls: Sequence[Call]) -> Sequence[Done | CrossdockError]:
    """All together; when Tryton objects to one, each by itself, so that it stops only itself."""
    try:
        return await _ship_together(client, calls)
    except CrossdockError as error:
        if not may_be_one(error):
            return [error] * len(calls)
    return [await _ship_alone(client, call) for call in calls]


async def _ship_alone(client: TrytonClient, call: Call) -> Done | CrossdockError:
    try:
        return (await _ship_together(client, [call]))[0]
    except CrossdockError as error:
        return error


async def _ship_together(client: TrytonClient, calls: Sequence[Call]) -> list[Done | CrossdockError]:
    bookings = [Booking(call, msgspec.json.decode(call.payload, type=ShipmentPart)) for call in calls]
    async with AsyncExitStack() as stack:
        for number in sorted({call.number for call in calls}):
            await stack.enter_async_context(client.lock(number))
        await _find_shipments(client, bookings)
        await _take_over(client, bookings)
        await _drive(client, bookings)
        await book_invoices(client, _good(bookings))
    return [booking.error or done_of(booking.shipment, booking.invoice) for booking in bookings]


async def _find_shipments(client: TrytonClient, bookings: Sequence[Booking]) -> None:
    """Those of an earlier attempt, by our shipment number; and the sale of each."""
    numbers = [booking.part.shipment for booking in bookings]
    found = await client.rows(_calls(bookings), _SHIPMENT, [["reference", "in", numbers]], _SHIPMENT_FIELDS)
    shipments = {row["reference"]: row for row in reversed(found)}
    domain = [
        ["reference", "in", sorted({booking.call.number for booking in bookings})],
        ["state", "in", ["confirmed", "processing", "done"]],
    ]  # fmt: skip
    sales = {
        row["reference"]: row["id"]
        for row in reversed(await client.rows(_calls(bookings), "sale.sale", domain, ["reference"]))
    }
    for booking in bookings:
        booking.shipment = shipments.get(booking.part.shipment, {})
        booking.sale = sales.get(booking.call.number, 0)
        if not booking.sale:
            booking.error = Refused(
                "erp_sale_missing", f"Tryton has no confirmed sale for order {booking.call.number}.",
                next_action="Place the order in Tryton first.",
            )  # fmt: skip


async def _take_over(client: TrytonClient, bookings: Sequence[Booking]) -> None:
    """Cut waiting shipments down to the parts. Time stamps make Tryton refuse when another was quicker."""
    new = [booking for booking in _good(bookings) if not booking.shipment]
    warehouses = (await client.ensure_references()).warehouses
    for booking in new:
        if booking.part.warehouse not in warehouses:
            booking.error = Misconfigured("erp_warehouse_unknown", f"Tryton has no warehouse {booking.part.warehouse}.")
    sale_of = await _read_wanted(client, new)
    moves = await _find_waiting(client, new, sale_of)
    new = _good(new)
    if not new:
        return
    waiting = [booking.shipment["id"] for booking in new if booking.shipment["state"] == "waiting"]
    if waiting:
        await client.call(_calls(new), f"model.{_SHIPMENT}.draft", waiting)
    ids = [booking.shipment["id"] for booking in new]
    drafts = {
        row["id"]: row for row in await client.rows(_calls(new), _SHIPMENT, [["id", "in", ids]], _SHIPMENT_FIELDS)
    }
    changes: list[Any] = []
    stamps: dict[str, Any] = {}
    for booking in new:
        draft = drafts.get(booking.shipment["id"])
        if draft is None or draft["reference"]:
            booking.error = _taken()
            continue
        booking.shipment = draft
        warehouse = warehouses[booking.part.warehouse]
        changes += [[draft["id"]], _cut_down(booking, moves[draft["id"]], warehouse)]
        stamps[f"{_SHIPMENT},{draft['id']}"] = draft["_timestamp"]
    if changes:
        context = {"_timestamp": stamps}
        await client.call(_calls(new), f"model.{_SHIPMENT}.write", *changes, context=context)


def _cut_down(booking: Booking, moves: Sequence[Row], warehouse: WarehouseRef) -> dict[str, Any]:
    changes: list[Any] = []
    for move in moves:
        if move["line"] in booking.wanted:
            count = wire_quantity(booking.wanted[move["line"]])
            changes.append(["write", [move["id"]], {"quantity": count, "from_location": warehouse.output}])
    dropped = [move["id"] for move in moves if move["line"] not in booking.wanted]
    if dropped:
        changes.append(["delete", dropped])
    return {
        "reference": booking.part.shipment, "warehouse": warehouse.id, "warehouse_storage": warehouse.storage,
        "warehouse_output": warehouse.output, "moves": changes,
    }  # fmt: skip


async def _read_wanted(client: TrytonClient, bookings: Sequence[Booking]) -> dict[int, int]:
    """Sale line -> quantity of each part. Sale lines stand in the order of ours. Returns the sale of every line."""
    good = _good(bookings)
    if not good:
        return {}
    domain = [["sale", "in", [booking.sale for booking in good]], ["type", "=", "line"]]
    rows = await client.rows(_calls(good), "sale.line", domain, ["sale", "sequence"])
    line_ids = {(row["sale"], row["sequence"]): row["id"] for row in rows}
    for booking in good:
        places = {line.line: place for place, line in enumerate(booking.call.order.lines, start=1)}
        wanted: dict[int, Decimal] = {}
        for line in booking.part.lines:
            line_id = line_ids.get((booking.sale, places.get(line.line)))
            if line_id is None:
                booking.error = Refused(
                    "erp_line_missing", f"The sale in Tryton has no line {line.line} any more.",
                    next_action="Look at the sale in Tryton: what left the warehouse must be on it.",
                )  # fmt: skip
                break
            wanted[line_id] = wanted.get(line_id, Decimal(0)) + line.quantity.value
        booking.wanted = wanted
    return {row["id"]: row["sale"] for row in rows}


async def _find_waiting(
    client: TrytonClient, bookings: Sequence[Booking], sale_of: Mapping[int, int]
) -> dict[int, list[Row]]:
    """Find the open shipment that holds each part; Tryton is asked once to make those that are missing.

    It is asked, too, where something left that is on no invoice yet (Tryton ended between its two transactions): that
    would go onto one invoice with the part. Returns the moves by shipment.
    """
    found: dict[int, list[Row]] = {}
    for attempt in range(2):
        missing = [booking for booking in _good(bookings) if not booking.shipment]
        if not missing:
            break
        sales = [booking.sale for booking in missing]
        domain = [
            ["origin.sale", "in", sales, "sale.line"], ["state", "in", ["draft", "assigned", "done"]],
            ["shipment", "!=", None],
        ]  # fmt: skip
        moves = await client.rows(_calls(missing), "stock.move", domain, _MOVE_FIELDS)
        found |= _by_shipment(moves)
        shipments = await client.rows(_calls(missing), _SHIPMENT, [["id", "in", sorted(found)]], _SHIPMENT_FIELDS)
        busy = {
            sale_of.get(found[row["id"]][0]["line"]) for row in shipments
            if row["reference"] and row["state"] not in ("done", "cancelled")
        }  # fmt: skip
        owing = {sale_of.get(move["line"]) for move in moves if move["state"] == "done" and not move["invoice_lines"]}
        free = [row for row in shipments if not row["reference"] and row["state"] in ("draft", "waiting")]
        for booking in missing:
            if booking.sale in busy:
                booking.error = _taken()
            elif booking.sale not in owing or attempt:
                booking.shipment = next((row for row in free if _holds(found[row["id"]], booking.wanted)), {})
        again = [booking.sale for booking in _good(missing) if not booking.shipment]
        if again and attempt == 0:
            await client.call(_calls(missing), "model.sale.sale.process", again)
    for booking in _good(bookings):
        if not booking.shipment:
            booking.error = Unavailable(
                "erp_nothing_waiting", "Tryton has no open shipment that holds what left the warehouse."
            )
    return found


def _by_shipment(moves: Sequence[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for move in moves:
        owner, _, number = str(move["shipment"]).partition(",")
        move["line"] = int(str(move["origin"]).partition(",")[2])
        if owner == _SHIPMENT:
            found.setdefault(int(number), []).append(move)
    return found


def _holds(moves: Sequence[Row], wanted: Mapping[int, Decimal]) -> bool:
    held = {move["line"]: quantity_of(move["quantity"]) for move in moves}
    return all(held.get(line, Decimal(0)) >= count for line, count in wanted.items())


def _taken() -> Unavailable:
    return Unavailable("erp_shipment_taken", "Another shipment of this order is just being booked.")


async def _drive(client: TrytonClient, bookings: Sequence[Booking]) -> None:
    """Forced: the goods have left, whatever Tryton believes to be in stock."""
    for state, (button, after) in _NEXT.items():
        due = [booking for booking in _good(bookings) if booking.shipment["state"] == state]
        if due:
            ids = [booking.shipment["id"] for booking in due]
            await client.call(_calls(due), f"model.{_SHIPMENT}.{button}", ids)
            for booking in due:
                booking.shipment["state"] = after
    for booking in _good(bookings):
        if booking.shipment["state"] != "done":
            booking.error = Refused(
                "erp_shipment_stuck", f"The shipment in Tryton is {booking.shipment['state']} and cannot be done.",
                next_action="Look at the shipment in Tryton.",
            )  # fmt: skip


def _good(bookings: Sequence[Booking]) -> list[Booking]:
    return [booking for booking in bookings if booking.error is None]


def _calls(bookings: Sequence[Booking]) -> list[Call]:
    return [booking.call for booking in bookings]
