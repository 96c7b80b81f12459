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

from crossdock.connectors.tryton.client import TrytonClient, WarehouseRef, together_or_alone
from crossdock.connectors.tryton.invoicing import Booking, Row, book_invoices, done_of, invoices_of
from crossdock.connectors.tryton.translate import quantity_of, sale_parts, wire_quantity
from crossdock.kit.connector import Call, Done
from crossdock.model.errors import CrossdockError, Misconfigured, Refused, Unavailable
from crossdock.model.fulfilment import ShipmentPart

_SHIPMENT: Final = "stock.shipment.out"
_SHIPMENT_FIELDS: Final = ("number", "reference", "state", "_timestamp")
# All that a part's way begins with, in one question: its sale, the lines of that, and what was or will be shipped.
_SALE_FIELDS: Final = (
    "reference", "lines.sequence", "lines.type",
    *(f"shipments.{name}" for name in (*_SHIPMENT_FIELDS, "warehouse", "warehouse_storage", "warehouse_output")),
    *(f"shipments.moves.{name}" for name in ("origin", "quantity", "state", "from_location", "invoice_lines")),
)  # fmt: skip
_LINE: Final = "sale.line,"
# State -> the button that is due and the state that it leads to, in the order of the work.
_NEXT: Final[Mapping[str, tuple[str, str]]] = {
    "draft": ("wait", "waiting"), "waiting": ("assign_force", "assigned"), "assigned": ("pack", "packed"),
    "picked": ("pack", "packed"), "packed": ("do", "done"), "shipped": ("do", "done"),
}  # fmt: skip


async def ship(client: TrytonClient, calls: Sequence[Call]) -> Sequence[Done | CrossdockError]:
    """Two parts of one order never together: Tryton would put both on one invoice."""
    answers: dict[str, Done | CrossdockError] = {}
    for together in _one_per_order(calls):
        for call, answer in zip(together, await together_or_alone(_ship_together, client, together), strict=True):
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


async def _ship_together(client: TrytonClient, calls: Sequence[Call]) -> list[Done | CrossdockError]:
    bookings = [Booking(call, msgspec.json.decode(call.payload, type=ShipmentPart)) for call in calls]
    async with AsyncExitStack() as stack:
        for number in sorted({call.number for call in calls}):
            await stack.enter_async_context(client.lock(number))
        await _find_sales(client, bookings)
        await _take_over(client, bookings)
        await _drive(client, bookings)
        await book_invoices(client, _good(bookings))
    return [booking.error or done_of(booking.shipment, booking.invoice) for booking in bookings]


async def _find_sales(client: TrytonClient, bookings: Sequence[Booking]) -> None:
    """The sale of each, and its shipment where an earlier attempt came so far, by our shipment number."""
    sales = await _read_sales(client, bookings)
    for booking in bookings:
        booking.sale = sales.get(booking.call.number, {})
        booking.shipment = next(
            (row for row in _shipments(booking.sale) if row["reference"] == booking.part.shipment), {}
        )
        if not booking.sale:
            booking.error = Refused(
                "erp_sale_missing", f"Tryton has no confirmed sale for order {booking.call.number}.",
                next_action="Place the order in Tryton first.",
            )  # fmt: skip


async def _read_sales(client: TrytonClient, bookings: Sequence[Booking]) -> dict[str, Row]:
    """Order number -> its eldest confirmed sale."""
    domain = [
        ["reference", "in", sorted({booking.call.number for booking in bookings})],
        ["state", "in", ["confirmed", "processing", "done"]],
    ]  # fmt: skip
    rows = await client.rows(_calls(bookings), "sale.sale", domain, _SALE_FIELDS)
    return {row["reference"]: row for row in reversed(rows)}


def _shipments(sale: Row) -> list[Row]:
    return list(sale.get("shipments.", ()))


def _moves(shipment: Row) -> list[Row]:
    """Those of the sale's own lines that count; a warehouse with a gate of its own has others to get goods there."""
    return [
        move for move in shipment["moves."] if str(move["origin"]).startswith(_LINE) and move["state"] != "cancelled"
    ]  # fmt: skip


def _line_of(move: Row) -> int:
    return int(str(move["origin"]).removeprefix(_LINE))


async def _take_over(client: TrytonClient, bookings: Sequence[Booking]) -> None:
    """Cut waiting shipments down to the parts. Time stamps make Tryton refuse when another was quicker."""
    new = [booking for booking in _good(bookings) if not booking.shipment]
    warehouses = (await client.ensure_references()).warehouses
    for booking in new:
        if booking.part.warehouse not in warehouses:
            booking.error = Misconfigured("erp_warehouse_unknown", f"Tryton has no warehouse {booking.part.warehouse}.")
        else:
            _reckon_wanted(booking)
    await _find_waiting(client, _good(new))
    await _put_back(client, [
        booking for booking in _good(new) if not _stays(booking.shipment, warehouses[booking.part.warehouse])
    ])  # fmt: skip
    changes: list[Any] = []
    stamps: dict[str, Any] = {}
    for booking in _good(new):
        row = booking.shipment
        changes += [[row["id"]], _cut_down(booking, warehouses[booking.part.warehouse])]
        stamps[f"{_SHIPMENT},{row['id']}"] = row["_timestamp"]
    if changes:
        context = {"_timestamp": stamps}
        await client.call(_calls(_good(new)), f"model.{_SHIPMENT}.write", *changes, context=context)


def _stays(shipment: Row, warehouse: WarehouseRef) -> bool:
    """Whether Tryton lets it be changed as it waits: it leaves from there, and straight from the shelves."""
    straight = shipment["warehouse_storage"] == shipment["warehouse_output"] == warehouse.output
    return bool(straight and shipment["warehouse"] == warehouse.id)


async def _put_back(client: TrytonClient, bookings: Sequence[Booking]) -> None:
    """To drafts, which may go to another warehouse and have no moves of goods to the gate."""
    waiting = [booking.shipment["id"] for booking in bookings if booking.shipment["state"] == "waiting"]
    if not waiting:
        return
    calls = _calls(bookings)
    await client.call(calls, f"model.{_SHIPMENT}.draft", waiting)
    rows = await client.rows(calls, _SHIPMENT, [["id", "in", waiting]], _SHIPMENT_FIELDS)
    drafts = {row["id"]: row for row in rows}
    for booking in bookings:
        draft = drafts.get(booking.shipment["id"], booking.shipment)
        if draft["reference"]:
            booking.error = _taken()
        booking.shipment |= draft


def _cut_down(booking: Booking, warehouse: WarehouseRef) -> dict[str, Any]:
    """Only what changes: where all that waits has left at once, Tryton need not check its moves again."""
    moves: list[Any] = []
    dropped = []
    for move in _moves(booking.shipment):
        wanted = booking.wanted.get(_line_of(move))
        if wanted is None:
            dropped.append(move["id"])
        elif quantity_of(move["quantity"]) != wanted or move["from_location"] != warehouse.output:
            changed = {"quantity": wire_quantity(wanted), "from_location": warehouse.output}
            moves.append(["write", [move["id"]], changed])
    if dropped:
        moves.append(["delete", dropped])
    changes: dict[str, Any] = {"reference": booking.part.shipment}
    if moves:
        changes["moves"] = moves
    if not _stays(booking.shipment, warehouse):
        changes |= {
            "warehouse": warehouse.id, "warehouse_storage": warehouse.storage, "warehouse_output": warehouse.output,
        }  # fmt: skip
    return changes


def _reckon_wanted(booking: Booking) -> None:
    """Sale line -> quantity of the part. Sale lines stand in the order of ours."""
    line_ids = {row["sequence"]: row["id"] for row in booking.sale["lines."] if row["type"] == "line"}
    ordered = enumerate(booking.call.order.lines, start=1)
    parts = {line.line: sale_parts(line, place) for place, line in ordered}
    wanted: dict[int, Decimal] = {}
    for line in booking.part.lines:
        found = [
            (line_ids.get(part.sequence, 0), part.per_unit * line.quantity.value) for part in parts.get(line.line, ())
        ]
        if not found or not all(line_id for line_id, _ in found):
            booking.error = Refused(
                "erp_line_missing", f"The sale in Tryton has no line {line.line} any more.",
                next_action="Look at the sale in Tryton: what left the warehouse must be on it.",
            )  # fmt: skip
            return
        for line_id, quantity in found:
            wanted[line_id] = wanted.get(line_id, Decimal(0)) + quantity
    booking.wanted = wanted


async def _find_waiting(client: TrytonClient, bookings: Sequence[Booking]) -> None:
    """Find the open shipment that holds each part; Tryton is asked once to make those that are missing.

    It is asked, too, where something left that is on no invoice yet (Tryton ended between its two transactions): that
    would go onto one invoice with the part.
    """
    for booking in bookings:
        _choose_waiting(booking, invoiced_only=True)
    missing = [booking for booking in _good(bookings) if not booking.shipment]
    if not missing:
        return
    sales = [booking.sale["id"] for booking in missing]
    await client.call(_calls(missing), "model.sale.sale.process", sales)
    again = await _read_sales(client, missing)
    for booking in missing:
        booking.sale = again.get(booking.call.number, booking.sale)
        _choose_waiting(booking, invoiced_only=False)
        if booking.error is None and not booking.shipment:
            booking.error = Unavailable(
                "erp_nothing_waiting", "Tryton has no open shipment that holds what left the warehouse."
            )


def _choose_waiting(booking: Booking, *, invoiced_only: bool) -> None:
    shipments = _shipments(booking.sale)
    if any(row["reference"] and row["state"] not in ("done", "cancelled") for row in shipments):
        booking.error = _taken()
        return
    owing = any(
        move["state"] == "done" and not move["invoice_lines"] for row in shipments for move in _moves(row)
    )  # fmt: skip
    if owing and invoiced_only:
        return
    free = [row for row in shipments if not row["reference"] and row["state"] in ("draft", "waiting")]
    booking.shipment = next((row for row in free if _holds(_moves(row), booking.wanted)), {})


def _holds(moves: Sequence[Row], wanted: Mapping[int, Decimal]) -> bool:
    held = {_line_of(move): quantity_of(move["quantity"]) for move in moves}
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
