"""One shipment part in Tryton: the goods issue really done and its invoice really posted.

Tryton keeps one waiting shipment per sale for all that is still to go. A part takes it over: the waiting shipment is
cut down to exactly what left and gets our shipment number; when it is done Tryton itself makes the next waiting
shipment for the rest, and the invoice of what left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.connectors.tryton.client import References, TrytonClient
from crossdock.connectors.tryton.translate import quantity_of, wire_quantity
from crossdock.kit.connector import Call, Done
from crossdock.model.errors import Misconfigured, Refused, Unavailable
from crossdock.model.fulfilment import PartLine, ShipmentPart

_SHIPMENT: Final = "stock.shipment.out"
_SHIPMENT_FIELDS: Final = ("number", "reference", "state", "_timestamp")
# State -> the button that is due and the state that it leads to.
_NEXT: Final[Mapping[str, tuple[str, str]]] = {
    "draft": ("wait", "waiting"), "waiting": ("assign_force", "assigned"), "assigned": ("pack", "packed"),
    "picked": ("pack", "packed"), "packed": ("do", "done"), "shipped": ("do", "done"),
}  # fmt: skip
_INVOICE_FIELDS: Final = ("number", "reference", "state", "untaxed_amount", "tax_amount", "taxes")


async def ship(client: TrytonClient, call: Call) -> Done:
    """Begin where it was left: shipment found by our number, then its state driven on, then its invoice."""
    part = msgspec.json.decode(call.payload, type=ShipmentPart)
    references = await client.ensure_references()
    async with client.lock(call.number):
        shipment = await _find_shipment(client, call, part)
        if shipment is None:
            shipment = await _take_over(client, call, part, references)
        await _drive(client, call, shipment)
        invoice = await _invoice(client, call, shipment["id"])
        return await _post(client, call, part, shipment, invoice, references)


async def find_shipment(client: TrytonClient, call: Call) -> Done | None:
    part = msgspec.json.decode(call.payload, type=ShipmentPart)
    shipment = await _find_shipment(client, call, part)
    if shipment is None or shipment["state"] != "done":
        return None
    invoices = await _invoices(client, call, shipment["id"])
    posted = [invoice for invoice in invoices if invoice["state"] in ("posted", "paid")]
    return _done(shipment, posted[0]) if posted and posted[0]["reference"] == part.shipment else None


async def _find_shipment(client: TrytonClient, call: Call, part: ShipmentPart) -> dict[str, Any] | None:
    found = await client.rows(call, _SHIPMENT, [["reference", "=", part.shipment]], _SHIPMENT_FIELDS)
    return found[0] if found else None


async def _sale(client: TrytonClient, call: Call) -> int:
    domain = [["reference", "=", call.number], ["state", "in", ["confirmed", "processing", "done"]]]
    found = await client.rows(call, "sale.sale", domain, ["number"], limit=1)
    if not found:
        raise Refused(
            "erp_sale_missing", f"Tryton has no confirmed sale for order {call.number}.",
            next_action="Place the order in Tryton first.",
        )  # fmt: skip
    return int(found[0]["id"])


async def _take_over(
    client: TrytonClient, call: Call, part: ShipmentPart, references: References
) -> dict[str, Any]:
    """Cut the waiting shipment down to the part. Its time stamp makes Tryton refuse when another was quicker."""
    warehouse = references.warehouses.get(part.warehouse)
    if warehouse is None:
        raise Misconfigured("erp_warehouse_unknown", f"Tryton has no warehouse {part.warehouse}.")
    sale = await _sale(client, call)
    wanted = await _wanted(client, call, sale, part.lines)
    shipment, moves = await _waiting(client, call, sale, wanted)
    if shipment["state"] == "waiting":
        await client.call(call, f"model.{_SHIPMENT}.draft", [shipment["id"]])
        shipment = (await client.rows(call, _SHIPMENT, [["id", "=", shipment["id"]]], _SHIPMENT_FIELDS))[0]
    if shipment["reference"]:
        raise Unavailable("erp_shipment_taken", "Another shipment of this order is just being booked.")
    changes: list[Any] = []
    dropped = [move["id"] for move in moves if move["line"] not in wanted]
    for move in moves:
        if move["line"] in wanted:
            count = wire_quantity(wanted[move["line"]])
            changes.append(["write", [move["id"]], {"quantity": count, "from_location": warehouse.output}])
    if dropped:
        changes.append(["delete", dropped])
    values = {
        "reference": part.shipment, "warehouse": warehouse.id, "warehouse_storage": warehouse.storage,
        "warehouse_output": warehouse.output, "moves": changes,
    }  # fmt: skip
    stamp = {f"{_SHIPMENT},{shipment['id']}": shipment["_timestamp"]}
    await client.call(call, f"model.{_SHIPMENT}.write", [shipment["id"]], values, context={"_timestamp": stamp})
    return shipment


async def _wanted(client: TrytonClient, call: Call, sale: int, lines: Sequence[PartLine]) -> Mapping[int, Decimal]:
    """Sale line -> quantity of this part. Sale lines stand in the order of ours."""
    rows = await client.rows(call, "sale.line", [["sale", "=", sale], ["type", "=", "line"]], ["sequence"])
    line_ids = {row["sequence"]: row["id"] for row in rows}
    places = {line.line: place for place, line in enumerate(call.order.lines, start=1)}
    found: dict[int, Decimal] = {}
    for line in lines:
        line_id = line_ids[places[line.line]]
        found[line_id] = found.get(line_id, Decimal(0)) + line.quantity.value
    return found


async def _waiting(
    client: TrytonClient, call: Call, sale: int, wanted: Mapping[int, Decimal]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The open shipment that holds the part; Tryton is asked once to make it where it is missing."""
    for attempt in range(2):
        domain = [
            ["origin.sale", "=", sale, "sale.line"], ["state", "in", ["draft", "assigned"]], ["shipment", "!=", None],
        ]  # fmt: skip
        moves = await client.rows(call, "stock.move", domain, ["origin", "quantity", "shipment", "state"])
        by_shipment: dict[int, list[dict[str, Any]]] = {}
        for move in moves:
            owner, _, number = str(move["shipment"]).partition(",")
            if owner == _SHIPMENT:
                move["line"] = int(str(move["origin"]).partition(",")[2])
                by_shipment.setdefault(int(number), []).append(move)
        shipments = await client.rows(
            call, _SHIPMENT, [["id", "in", list(by_shipment)], ["state", "in", ["draft", "waiting"]]], _SHIPMENT_FIELDS
        )
        for shipment in shipments:
            held = {move["line"]: quantity_of(move["quantity"]) for move in by_shipment[shipment["id"]]}
            if not shipment["reference"] and all(held.get(line, Decimal(0)) >= count for line, count in wanted.items()):
                return shipment, by_shipment[shipment["id"]]
        if attempt == 0:
            await client.call(call, "model.sale.sale.process", [sale])
    raise Unavailable("erp_nothing_waiting", "Tryton has no open shipment that holds what left the warehouse.")


async def _drive(client: TrytonClient, call: Call, shipment: Mapping[str, Any]) -> None:
    """Forced: the goods have left, whatever Tryton believes to be in stock."""
    state = str(shipment["state"])
    for _ in range(len(_NEXT)):
        if state not in _NEXT:
            break
        button, state = _NEXT[state]
        await client.call(call, f"model.{_SHIPMENT}.{button}", [shipment["id"]])
    if state != "done":
        raise Refused(
            "erp_shipment_stuck", f"The shipment in Tryton is {state} and cannot be done.",
            next_action="Look at the shipment in Tryton.",
        )  # fmt: skip


async def _invoices(client: TrytonClient, call: Call, shipment: int) -> list[dict[str, Any]]:
    domain = [["lines.stock_moves.shipment.id", "=", shipment, _SHIPMENT], ["state", "!=", "cancelled"]]
    return await client.rows(call, "account.invoice", domain, _INVOICE_FIELDS)


async def _invoice(client: TrytonClient, call: Call, shipment: int) -> dict[str, Any]:
    """Tryton makes the invoice after the goods issue, in a transaction of its own that can be missing."""
    for attempt in range(2):
        found = await _invoices(client, call, shipment)
        if found:
            return found[0]
        if attempt == 0:
            await client.call(call, "model.sale.sale.process", [await _sale(client, call)])
    raise Unavailable("erp_invoice_missing", "Tryton has not yet made the invoice of this shipment.")


async def _post(
    client: TrytonClient, call: Call, part: ShipmentPart, shipment: Mapping[str, Any], invoice: dict[str, Any],
    references: References,
) -> Done:  # fmt: skip
    """Set the tax to ours where it differs by cents, then post."""
    if invoice["state"] in ("draft", "validated"):
        values: dict[str, Any] = {"reference": part.shipment}
        taxes = await _tax_changes(client, call, part, invoice, references)
        if taxes:
            values["taxes"] = taxes
        await client.call(call, "model.account.invoice.write", [invoice["id"]], values)
        await client.call(call, "model.account.invoice.post", [invoice["id"]])
        invoice = (await client.rows(call, "account.invoice", [["id", "=", invoice["id"]]], _INVOICE_FIELDS))[0]
    if invoice["state"] not in ("posted", "paid"):
        raise Unavailable("erp_invoice_not_posted", f"The invoice in Tryton is {invoice['state']}.")
    return _done(shipment, invoice)


async def _tax_changes(
    client: TrytonClient, call: Call, part: ShipmentPart, invoice: Mapping[str, Any], references: References
) -> list[Any]:
    """Per tax code the part's own amount: the parts of an order add up to its tax, which rounding each would not."""
    wanted: dict[int, Decimal] = {}
    for line in part.lines:
        if line.tax_code in references.taxes:
            tax = references.taxes[line.tax_code]
            wanted[tax] = wanted.get(tax, Decimal(0)) + line.tax
    rows = await client.rows(call, "account.invoice.tax", [["invoice", "=", invoice["id"]]], ["tax", "amount"])
    return [
        ["write", [row["id"]], {"amount": wanted[row["tax"]]}]
        for row in rows if row["tax"] in wanted and row["amount"] != wanted[row["tax"]]
    ]  # fmt: skip


def _done(shipment: Mapping[str, Any], invoice: Mapping[str, Any]) -> Done:
    result = {
        "invoice": invoice["number"], "shipment": shipment["number"], "net": str(invoice["untaxed_amount"]),
        "tax": str(invoice["tax_amount"]),
    }  # fmt: skip
    return Done(msgspec.json.encode(result), invoice["number"] or "")
