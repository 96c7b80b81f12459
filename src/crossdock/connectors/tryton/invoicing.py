"""The invoices of goods issues: found by shipment, given our number and our tax to the cent, and posted together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.connectors.tryton.client import References, TrytonClient
from crossdock.kit.connector import Call, Done
from crossdock.kit.http import Recorder
from crossdock.model.errors import CrossdockError, Refused, Unavailable
from crossdock.model.fulfilment import ShipmentPart

_INVOICE_FIELDS: Final = ("number", "reference", "state", "untaxed_amount", "tax_amount", "create_date")
_HELD_FIELDS: Final = (*_INVOICE_FIELDS, "taxes.tax", "taxes.amount", "lines.stock_moves.shipment")
Row = dict[str, Any]


@dataclass(slots=True)
class Booking:
    """One part on its way through Tryton; an `error` takes it, and it alone, out of the work."""

    call: Call
    part: ShipmentPart
    shipment: Row = field(default_factory=dict)
    sale: Row = field(default_factory=dict)
    wanted: Mapping[int, Decimal] = field(default_factory=dict)
    invoice: Row = field(default_factory=dict)
    error: CrossdockError | None = None


async def book_invoices(client: TrytonClient, bookings: Sequence[Booking]) -> None:
    """Tryton makes an invoice after the goods issue, in a transaction of its own that can be missing."""
    if not bookings:
        return
    calls = [booking.call for booking in bookings]
    shipments = [booking.shipment["id"] for booking in bookings]
    found = await invoices_of(client, calls, shipments)
    missing = [booking.sale["id"] for booking in bookings if booking.shipment["id"] not in found]
    if missing:
        await client.call(calls, "model.sale.sale.process", missing)
        found = await invoices_of(client, calls, shipments)
    for booking in bookings:
        booking.invoice = found.get(booking.shipment["id"], {})
        if not booking.invoice:
            booking.error = Unavailable("erp_invoice_missing", "Tryton has not yet made the invoice of this shipment.")
        elif len(booking.invoice["shipments"]) > 1:
            booking.error = Refused(
                "erp_invoice_joined", "Tryton's invoice holds more than this shipment.",
                next_action="Cancel the invoice in Tryton and invoice the shipments one by one.",
            )  # fmt: skip
    await _post(client, [booking for booking in bookings if booking.error is None])


async def invoices_of(client: TrytonClient, recorder: Recorder, shipments: Sequence[int]) -> dict[int, Row]:
    """Shipment -> its invoice, with the `shipments` that it holds."""
    origins = [f"stock.shipment.out,{shipment}" for shipment in shipments]
    domain = [["lines.stock_moves.shipment", "in", origins], ["state", "!=", "cancelled"]]
    invoices = await client.rows(recorder, "account.invoice", domain, _HELD_FIELDS)
    found: dict[int, Row] = {}
    for invoice in reversed(invoices):
        held = {
            int(str(move["shipment"]).partition(",")[2])
            for line in invoice["lines."] for move in line["stock_moves."] if move["shipment"]
        }  # fmt: skip
        found |= {shipment: {**invoice, "shipments": held} for shipment in held}
    return found


async def _post(client: TrytonClient, bookings: Sequence[Booking]) -> None:
    """Set the tax to ours where it differs by cents, then post."""
    open_ = [booking for booking in bookings if booking.invoice["state"] in ("draft", "validated")]
    if open_:
        calls = [booking.call for booking in open_]
        ids = [booking.invoice["id"] for booking in open_]
        references = await client.ensure_references()
        changes: list[Any] = []
        for booking in open_:
            values: dict[str, Any] = {"reference": booking.part.shipment}
            taxes = _tax_changes(booking, references)
            if taxes:
                values["taxes"] = taxes
            changes += [[booking.invoice["id"]], values]
        await client.call(calls, "model.account.invoice.write", *changes)
        await client.call(calls, "model.account.invoice.post", ids)
        posted = await client.rows(calls, "account.invoice", [["id", "in", ids]], _INVOICE_FIELDS)
        found = {row["id"]: row for row in posted}
        for booking in open_:
            booking.invoice = found.get(booking.invoice["id"], booking.invoice)
    for booking in bookings:
        if booking.invoice["state"] not in ("posted", "paid"):
            booking.error = Unavailable(
                "erp_invoice_not_posted", f"The invoice in Tryton is {booking.invoice['state']}."
            )


def _tax_changes(booking: Booking, references: References) -> list[Any]:
    """Per tax code the part's own amount: the parts of an order add up to its tax, which rounding each would not."""
    wanted: dict[int, Decimal] = {}
    for line in booking.part.lines:
        if line.tax_code in references.taxes:
            tax = references.taxes[line.tax_code]
            wanted[tax] = wanted.get(tax, Decimal(0)) + line.tax
    return [
        ["write", [row["id"]], {"amount": wanted[row["tax"]]}]
        for row in booking.invoice["taxes."] if row["tax"] in wanted and row["amount"] != wanted[row["tax"]]
    ]  # fmt: skip


def done_of(shipment: Mapping[str, Any], invoice: Mapping[str, Any]) -> Done:
    result = {
        "invoice": invoice["number"], "shipment": shipment["number"], "net": str(invoice["untaxed_amount"]),
        "tax": str(invoice["tax_amount"]),
    }  # fmt: skip
    return Done(msgspec.json.encode(result), invoice["number"] or "", _booked_at(invoice))


def _booked_at(invoice: Mapping[str, Any]) -> datetime:
    """Tryton begins the transaction that makes the invoice after it has committed the goods issue: by then the issue is
    in its books. The times that it keeps on the shipment and its moves are those at which that transaction began; a
    balance that was counted before its end has them not."""
    made_at: datetime = invoice["create_date"]
    return made_at.replace(tzinfo=UTC)
