"""What the demonstration's company has ordered from its suppliers: purchase orders with a date, one on its way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from crossdock.sandbox.tryton.accounting import Books
from crossdock.sandbox.tryton.rpc import Rpc
from crossdock.sandbox.world import World, WorldProduct

SUPPLIERS: Final = (("S001", "Elbkabel Works"), ("S002", "Midland Fasteners"))


@dataclass(frozen=True, slots=True)
class Ordered:
    """A purchase order: `products` are places in the catalogue, each ordered `quantity` times; shipped: it left the
    supplier, who has told what comes."""

    reference: str
    supplier: str
    warehouse: str
    days: int
    quantity: int
    products: tuple[int, ...]
    shipped: bool = False


# The first products of the catalogue are those that sell most.
ORDERED: Final = (
    Ordered("PO-HAM-1", "S001", "HAM", 3, 400, (0, 1, 2, 3), shipped=True),
    Ordered("PO-HAM-2", "S001", "HAM", 10, 1200, (0, 2, 4, 6, 8)),
    Ordered("PO-HAM-3", "S002", "HAM", 21, 600, (1, 5, 7, 9)),
    Ordered("PO-BHX-1", "S002", "BHX", 7, 800, (0, 1, 10, 11)),
)


async def seed_purchases(
    rpc: Rpc, world: World, products: Mapping[str, int], units: Mapping[str, int], books: Books
) -> None:
    there = await _orders(rpc)
    missing = [ordered for ordered in ORDERED if ordered.reference not in there]
    today = datetime.now(UTC).date()
    suppliers = await _seed_suppliers(rpc)
    warehouses = await _warehouses(rpc)
    if missing:
        await _make_purchasable(rpc, world, products)
    await rpc.create("purchase.purchase", [
        {
            "party": suppliers[ordered.supplier][0], "invoice_address": suppliers[ordered.supplier][1],
            "company": books.company, "currency": books.currencies["EUR"], "reference": ordered.reference,
            "warehouse": warehouses[ordered.warehouse]["id"], "purchase_date": today,
            "delivery_date": today + timedelta(days=ordered.days), "invoice_method": "manual",
            "lines": [("create", [
                {
                    "type": "line", "product": products[product.sku], "unit": units[product.base_unit],
                    "quantity": float(ordered.quantity), "unit_price": product.cost_eur,
                }
                for product in _products(world, ordered)
            ])],
        }
        for ordered in missing
    ])  # fmt: skip
    for state, button in (("draft", "quote"), ("quotation", "confirm"), ("confirmed", "process")):
        due = [row["id"] for row in (await _orders(rpc)).values() if row["state"] == state]
        if due:
            await rpc.call(f"model.purchase.purchase.{button}", due)
    purchases = await _orders(rpc)
    for ordered in ORDERED:
        if ordered.shipped:
            supplier, warehouse = suppliers[ordered.supplier][0], warehouses[ordered.warehouse]
            await _announce(rpc, ordered.reference, purchases[ordered.reference], supplier, warehouse)


async def _orders(rpc: Rpc) -> dict[str, Any]:
    """Our reference -> the purchase order."""
    domain = [("reference", "in", [ordered.reference for ordered in ORDERED])]
    fields = ["reference", "state", "delivery_date"]
    rows = await rpc.call("model.purchase.purchase.search_read", domain, 0, None, None, fields)
    return {row["reference"]: row for row in rows}


async def _announce(
    rpc: Rpc, reference: str, purchase: Mapping[str, Any], supplier: int, warehouse: Mapping[str, Any]
) -> None:
    """The supplier's delivery note has come before the goods."""
    note = f"{reference}-1"
    if await rpc.find("stock.shipment.in", ("reference", "=", note)):
        return
    moves = await rpc.find("stock.move", ("origin.purchase", "=", purchase["id"], "purchase.line"))
    await rpc.create("stock.shipment.in", [{
        "supplier": supplier, "warehouse": warehouse["id"], "warehouse_input": warehouse["input_location"],
        "warehouse_storage": warehouse["storage_location"], "reference": note,
        "planned_date": purchase["delivery_date"], "incoming_moves": [("add", moves)],
    }])  # fmt: skip


def _products(world: World, ordered: Ordered) -> Sequence[WorldProduct]:
    return [world.products[place] for place in ordered.products]


async def _seed_suppliers(rpc: Rpc) -> dict[str, tuple[int, int]]:
    """Code -> (party, its address)."""
    known = await rpc.call("model.party.party.search_read", [("code", "like", "S0%")], 0, None, None, ["code"])
    codes = {row["code"] for row in known}
    await rpc.create("party.party", [
        {"code": code, "name": name, "addresses": [("create", [{"street": "Works Road 1", "city": "Lueneburg"}])]}
        for code, name in SUPPLIERS if code not in codes
    ])  # fmt: skip
    fields = ["code", "addresses"]
    rows = await rpc.call("model.party.party.search_read", [("code", "like", "S0%")], 0, None, None, fields)
    return {row["code"]: (row["id"], row["addresses"][0]) for row in rows}


async def _warehouses(rpc: Rpc) -> dict[str, Any]:
    domain = [("type", "=", "warehouse"), ("code", "!=", None)]
    fields = ["code", "input_location", "storage_location"]
    rows = await rpc.call("model.stock.location.search_read", domain, 0, None, None, fields)
    return {row["code"]: row for row in rows}


async def _make_purchasable(rpc: Rpc, world: World, products: Mapping[str, int]) -> None:
    skus = {product.sku for ordered in ORDERED for product in _products(world, ordered)}
    ids = [products[sku] for sku in sorted(skus)]
    rows = await rpc.call("model.product.product.read", ids, ["template", "default_uom"])
    changes: list[object] = []
    for row in rows:
        changes += [[row["template"]], {"purchasable": True, "purchase_uom": row["default_uom"]}]
    await rpc.call("model.product.template.write", *changes)
