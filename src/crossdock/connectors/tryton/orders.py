"""Placing and cancelling orders in Tryton: create, quote, confirm; found again by our order number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from crossdock.connectors.tryton.accounts import check_credit
from crossdock.connectors.tryton.client import REFUSED, TrytonClient, together_or_alone
from crossdock.connectors.tryton.translate import check_totals, sale_parts, sale_row, sum_taxes, taxes_of
from crossdock.kit.connector import Call, Done
from crossdock.model.errors import CrossdockError, Refused, Unavailable
from crossdock.model.orders import LineTax

SALE_FIELDS: Final = ("reference", "number", "state", "untaxed_amount", "tax_amount", "total_amount")
_PLACED: Final = ("processing", "done")


async def place_orders(client: TrytonClient, calls: Sequence[Call]) -> Sequence[Done | CrossdockError]:
    answers = await together_or_alone(_place, client, calls)
    return [
        await _explain(client, call, answer) if isinstance(answer, CrossdockError) else answer
        for call, answer in zip(calls, answers, strict=True)
    ]


async def _explain(client: TrytonClient, call: Call, error: CrossdockError) -> CrossdockError:
    """What a person can act upon, where Tryton's own words name fields and domains. What it refused is not there, so to
    ask is harmless; where nothing is found, its words stand."""
    if error.code != REFUSED:
        return error
    try:
        sale_row(call.order, taxes_of(call), await client.ensure_references(again=True))
        await check_credit(client, call.order)
    except Refused as found:
        found.detail = found.detail or f"{error.message} {error.detail}"
        return found
    except CrossdockError:
        return error
    return error


async def find_order(client: TrytonClient, call: Call) -> Done | None:
    """A worker may have died between the sale and its tax: what is found gets ours too."""
    sales = await _sales(client, [call])
    found = [sale for sale in sales if sale["state"] in _PLACED]
    if not found:
        return None
    await _write_tax(client, [call], [taxes_of(call)], {call.number: found[0]})
    return _placed(found[0])


async def cancel_order(client: TrytonClient, call: Call) -> Done:
    """Cancel what is still open; looked at once more when Tryton objects, as it may have moved on meanwhile."""
    async with client.lock(call.number):
        try:
            await _cancel(client, call)
        except Refused:
            await _cancel(client, call)
    return Done(external_id=call.number)


async def _cancel(client: TrytonClient, call: Call) -> None:
    """What was never confirmed is cancelled whole; else the waiting shipments are, and their moves are told to be
    ignored, which is how Tryton closes the rest of a sale."""
    for sale in await _sales(client, [call]):
        if sale["state"] == "confirmed":
            await client.call(call, "model.sale.sale.process", [sale["id"]])
        elif sale["state"] in ("draft", "quotation"):
            await client.call(call, "model.sale.sale.cancel", [sale["id"]])
        await _cancel_open(client, call, sale["id"])
        await _set_aside(client, call, sale["id"])


async def find_cancellation(client: TrytonClient, call: Call) -> Done | None:
    for sale in await _sales(client, [call]):
        if sale["state"] not in ("cancelled", "done") and await _open_shipments(client, call, sale["id"]):
            return None
        if sale["state"] in ("draft", "quotation", "confirmed"):
            return None
        if await _cancelled_moves(client, call, sale["id"]):
            return None
    return Done(external_id=call.number)


async def _place(client: TrytonClient, calls: Sequence[Call]) -> list[Done | CrossdockError]:
    references = await client.ensure_references()
    skus = {part.sku for call in calls for line in call.order.lines for part in sale_parts(line, 0)}
    known = skus <= references.products.keys()
    if not known or not {call.order.customer for call in calls if call.order.customer} <= references.parties.keys():
        references = await client.ensure_references(again=True)
    taxes = [taxes_of(call) for call in calls]
    found = await _sales(client, calls)
    existing = {sale["reference"] for sale in found}
    missing = [
        sale_row(call.order, tax, references)
        for call, tax in zip(calls, taxes, strict=True) if call.number not in existing
    ]  # fmt: skip
    if missing:
        await client.call(calls, "model.sale.sale.create", missing)
        found = await _sales(client, calls)
    sales = await _only_eldest(client, calls, found)
    for call, tax in zip(calls, taxes, strict=True):
        check_totals(call.order, tax, sales[call.number])
    for state, button, after in (("draft", "quote", "quotation"), ("quotation", "confirm", "confirmed")):
        due = [sale for sale in sales.values() if sale["state"] == state]
        if due:
            await client.call(calls, f"model.sale.sale.{button}", [sale["id"] for sale in due])
            for sale in due:
                sale["state"] = after
    # What is confirmed Tryton processes by itself, in a transaction of its own that can be missing.
    sales = await _again(client, calls, sales)
    await _write_tax(client, calls, taxes, sales)
    unfinished = [sale["id"] for sale in sales.values() if sale["state"] == "confirmed"]
    if unfinished:
        await client.call(calls, "model.sale.sale.process", unfinished)
        sales = await _again(client, calls, sales)
    return [_outcome(sales[call.number]) for call in calls]


async def _again(
    client: TrytonClient, calls: Sequence[Call], sales: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The same sales as they are now."""
    ids = {sale["id"] for sale in sales.values()}
    return {sale["reference"]: sale for sale in await _sales(client, calls) if sale["id"] in ids}


async def _write_tax(
    client: TrytonClient, calls: Sequence[Call], taxes: Sequence[Mapping[str, LineTax] | None],
    sales: Mapping[str, dict[str, Any]],
) -> None:  # fmt: skip
    """Tryton keeps a confirmed sale's totals as it reckoned them: the tax becomes the engine's to the cent."""
    changes: list[Any] = []
    for call, tax in zip(calls, taxes, strict=True):
        sale = sales[call.number]
        amount = sum_taxes(tax)
        if sale["state"] in ("confirmed", "processing") and amount is not None and amount != sale["tax_amount"]:
            sale["tax_amount"], sale["total_amount"] = amount, sale["untaxed_amount"] + amount
            kept = {"tax_amount_cache": amount, "total_amount_cache": sale["total_amount"]}
            changes += [[sale["id"]], kept]
    if changes:
        await client.call(calls, "model.sale.sale.write", *changes)


async def _only_eldest(
    client: TrytonClient, calls: Sequence[Call], sales: Sequence[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """A request that the network delivered twice made two drafts: the eldest stays."""
    kept: dict[str, dict[str, Any]] = {}
    younger = []
    for sale in sales:
        if sale["reference"] in kept:
            younger.append(sale["id"])
        else:
            kept[sale["reference"]] = sale
    if younger:
        await client.call(calls, "model.sale.sale.delete", younger)
    return kept


async def _sales(client: TrytonClient, calls: Sequence[Call]) -> list[dict[str, Any]]:
    numbers = sorted({call.number for call in calls})
    found = await client.rows(
        calls, "sale.sale", [["reference", "in", numbers], ["state", "!=", "cancelled"]], SALE_FIELDS
    )
    # A placed one first, whatever its age: it is the one that counts.
    return sorted(found, key=lambda sale: (sale["state"] not in _PLACED, sale["id"]))


async def _open_shipments(client: TrytonClient, call: Call, sale: int) -> list[int]:
    domain = [
        ["moves.origin.sale", "=", sale, "sale.line"], ["state", "in", ["draft", "waiting", "assigned"]],
        ["OR", ["reference", "=", None], ["reference", "=", ""]],
    ]  # fmt: skip
    return [row["id"] for row in await client.rows(call, "stock.shipment.out", domain, ["state"])]


async def _cancelled_moves(client: TrytonClient, call: Call, sale: int) -> list[int]:
    lines = await client.rows(call, "sale.line", [["sale", "=", sale]], ["moves_ignored", "moves_recreated"])
    settled = {move for line in lines for move in (*line["moves_ignored"], *line["moves_recreated"])}
    domain = [["origin.sale", "=", sale, "sale.line"], ["state", "=", "cancelled"]]
    moves = await client.rows(call, "stock.move", domain, ["state"])
    return [row["id"] for row in moves if row["id"] not in settled]


async def _cancel_open(client: TrytonClient, call: Call, sale: int) -> None:
    shipments = await _open_shipments(client, call, sale)
    if shipments:
        await client.call(call, "model.stock.shipment.out.cancel", shipments)
    moves = await _cancelled_moves(client, call, sale)
    if not moves:
        return
    context = {"active_model": "sale.sale", "active_id": sale, "active_ids": [sale]}
    wizard = "wizard.sale.handle.shipment.exception"
    session, *_ = await client.call(call, f"{wizard}.create", context=context)
    ask = {"domain_moves": moves, "recreate_moves": [], "ignore_moves": moves}
    await client.call(call, f"{wizard}.execute", session, {"ask": ask}, "handle", context=context)
    await client.call(call, f"{wizard}.delete", session, context=context)


async def _set_aside(client: TrytonClient, call: Call, sale: int) -> None:
    """A sale of which nothing left gives our number free, so that the order can be placed anew after a hold."""
    left = await client.rows(
        call, "stock.move", [["origin.sale", "=", sale, "sale.line"], ["state", "=", "done"]], ["state"], limit=1
    )
    if not left:
        await client.call(call, "model.sale.sale.write", [sale], {"reference": f"{call.number}/cancelled"})


def _outcome(sale: dict[str, Any]) -> Done | CrossdockError:
    if sale["state"] in _PLACED:
        return _placed(sale)
    return Unavailable("erp_not_processed", f"Tryton has left the sale in state {sale['state']}.")


def _placed(sale: dict[str, Any]) -> Done:
    result = {
        "sale": sale["number"], "id": sale["id"], "net": str(sale["untaxed_amount"]), "tax": str(sale["tax_amount"]),
        "total": str(sale["total_amount"]),
    }  # fmt: skip
    return Done(msgspec.json.encode(result), sale["number"] or "")
