"""From the canonical model to Tryton's records and back. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from crossdock.kit.connector import Call
from crossdock.model.documents import Address, Customer, Pack, PriceAgreement, Product
from crossdock.model.errors import Misconfigured, Refused
from crossdock.model.facts import BalancesReported, Fact
from crossdock.model.orders import LineTax, Order
from crossdock.model.stock import InventoryBalance
from crossdock.model.values import Money, Quantity

if TYPE_CHECKING:
    from crossdock.connectors.tryton.client import References

CENT: Final = Decimal("0.01")
UNIT_OF_SYMBOL: Final[Mapping[str, str]] = {"u": "C62", "m": "MTR", "kg": "KGM", "l": "LTR", "PR": "PR"}


def to_wire(value: Any) -> Any:
    """Decimals and dates as Tryton's JSON classes."""
    if isinstance(value, Decimal):
        return {"__class__": "Decimal", "decimal": str(value)}
    if isinstance(value, date) and not isinstance(value, datetime):
        return {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}
    if isinstance(value, Mapping):
        return {key: to_wire(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [to_wire(item) for item in value]
    return value


def from_wire(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("__class__") == "Decimal":
            return Decimal(str(value["decimal"]))
        return {key: from_wire(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_wire(item) for item in value]
    return value


def wire_quantity(value: Decimal) -> float:
    """Tryton's quantities are floats on its wire; a float holds every quantity that we allow exactly enough."""
    return float(value)


def quantity_of(value: object) -> Decimal:
    return Decimal(str(value)).normalize() + 0


def taxes_of(call: Call) -> Mapping[str, LineTax] | None:
    """What the tax engine quoted, the latest round; None when no quote went before."""
    found = [value for name, value in call.results.items() if name.partition("#")[0] == "tax.quote"]
    if not found:
        return None
    return msgspec.json.decode(found[-1], type=dict[str, dict[str, LineTax]]).get("taxes", {})


def sale_row(order: Order, taxes: Mapping[str, LineTax] | None, references: References) -> dict[str, Any]:
    """The sale. Raises Refused where Tryton does not know what the order names."""
    code = order.customer or f"WEB-{order.region}"
    party = references.parties.get(code)
    if party is None:
        raise _unknown("customer", code)
    if order.currency not in references.currencies:
        raise _unknown("currency", order.currency)
    warehouse = references.warehouses.get(main_warehouse(order)) or next(iter(references.warehouses.values()))
    ship_to = order.ship_to
    place = f"{ship_to.postal_code} {ship_to.city}"
    return {
        "party": party.id, "invoice_address": party.address, "shipment_address": party.address,
        "payment_term": party.payment_term, "currency": references.currencies[order.currency],
        "warehouse": warehouse.id, "reference": order.number, "sale_date": order.placed_at.date(),
        "description": f"{order.channel} {order.channel_number}"[:200], "invoice_method": "fulfillment",
        "shipment_method": "order",
        "comment": f"Ship to: {ship_to.name}, {ship_to.street}, {place}, {ship_to.country}",
        "lines": [["create", [
            _sale_line(index, order, taxes, references) for index in range(len(order.lines))
        ]]],
    }  # fmt: skip


def _sale_line(
    index: int, order: Order, taxes: Mapping[str, LineTax] | None, references: References
) -> dict[str, Any]:
    line = order.lines[index]
    known = references.products.get(line.sku)
    if known is None:
        raise _unknown("product", line.sku)
    product, unit = known
    tax = (taxes or {}).get(line.line)
    tax_ids = []
    if tax is not None and tax.rate:
        if tax.code not in references.taxes:
            raise Misconfigured("erp_tax_unknown", f"Tryton has no tax named {tax.code}.")
        tax_ids = [references.taxes[tax.code]]
    return {
        "type": "line", "sequence": index + 1, "product": product, "unit": unit,
        "quantity": wire_quantity(line.quantity.value), "unit_price": line.unit_price.amount,
        "taxes": [["add", tax_ids]],
    }  # fmt: skip


def main_warehouse(order: Order) -> str:
    """The warehouse that ships most lines: a sale in Tryton has one; the parts correct it when they ship."""
    found = [allocation.location for line in order.lines for allocation in line.allocations]
    return max(sorted(set(found)), key=found.count) if found else ""


def check_totals(order: Order, taxes: Mapping[str, LineTax] | None, sale: Mapping[str, Any]) -> None:
    """The net must be ours to the cent. Tryton rounds half a cent to even, we half up: the sale's tax, which is only
    a preview, may differ by a cent per line; the tax on the invoices is set to ours exactly."""
    if sale["untaxed_amount"] != order.net.amount:
        raise Refused(
            "erp_total_differs",
            f"Before tax Tryton adds the order up to {sale['untaxed_amount']}, we to {order.net.amount}.",
            next_action="Compare the lines' prices and units in Tryton.",
        )  # fmt: skip
    if taxes is None:
        return
    tax = sum((line.amount for line in taxes.values()), Decimal(0))
    if abs(sale["tax_amount"] - tax) > CENT * len(order.lines):
        raise Refused(
            "erp_tax_differs", f"Tryton finds {sale['tax_amount']} {order.currency} of tax, the tax engine {tax}.",
            next_action="Compare the tax rates in Tryton and in the tax engine.",
        )  # fmt: skip


def _unknown(what: str, code: str) -> Refused:
    return Refused(
        f"erp_{what}_unknown", f"Tryton has no {what} {code}.",
        next_action=f"Create the {what} in Tryton, then release the order.",
    )  # fmt: skip


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:16]


def published(connection: str, kind: str, key: str, document: Any, version: str = "") -> Fact:
    body = msgspec.json.encode(document)
    return Fact(connection, kind, key, body, body, version=f"{digest(body)}{version}", subject=key)


def product_of(
    row: Mapping[str, Any], symbols: Mapping[int, str], categories: Mapping[int, str], gbp: Decimal
) -> Product:
    """Packs are noted in the variant's description as "XBX=12/<GTIN>"."""
    packs = []
    for text in (row["description"] or "").split():
        unit, _, rest = text.partition("=")
        quantity, _, gtin = rest.partition("/")
        packs.append(Pack(unit, Decimal(quantity), gtin))
    base = UNIT_OF_SYMBOL[symbols[row["default_uom"]]]
    price = row["list_price"].quantize(CENT)
    return Product(
        sku=row["code"], name=row["name"], base_unit=base, tax_category=categories[row["account_category"]],
        list_prices=(Money(price, "EUR"), Money((price * gbp).quantize(CENT, "ROUND_HALF_UP"), "GBP")),
        packs=tuple(packs) or (Pack(base, Decimal(1)),),
    )  # fmt: skip


def customer_of(row: Mapping[str, Any], extra: Mapping[str, Any], as_of: datetime) -> Customer:
    """`extra`: currency, rate, status, days, group, gln, addresses. Tryton's limits are in the company's currency."""
    rate = extra["rate"]
    limit = ((row["credit_limit_amount"] or Decimal(0)) * rate).quantize(CENT, "ROUND_HALF_UP")
    receivable = ((row["receivable"] or Decimal(0)) * rate).quantize(CENT, "ROUND_HALF_UP")
    return Customer(
        code=row["code"], name=row["name"], currency=extra["currency"], status=extra["status"],
        price_group=extra["group"], payment_term_days=extra["days"], credit_limit=limit, receivable=receivable,
        receivable_as_of=as_of, gln=extra["gln"], addresses=tuple(extra["addresses"]),
    )  # fmt: skip


def address_of(row: Mapping[str, Any], name: str, country: str, email: str, gln: str) -> Address:
    return Address(
        name=row["party_name"] or name, street=row["street"] or "-", city=row["city"] or "-",
        postal_code=row["postal_code"] or "-", country=country, email=email, gln=gln,
    )  # fmt: skip


def price_of(row: Mapping[str, Any], list_name: str, sku: str) -> PriceAgreement | None:
    """None where the formula is more than a price: only Tryton can reckon it."""
    group, _, currency = list_name.rpartition("-")
    try:
        price = Decimal(row["formula"])
    except ArithmeticError:
        return None
    quantity_min = quantity_of(row["quantity"] or 1)
    return PriceAgreement(
        # One agreement is one price: the list's name alone would stand for thousands of them.
        agreement=f"{list_name}/{sku}/{quantity_min}", sku=sku, unit_price=Money(price, currency), price_group=group,
        quantity_min=quantity_min,
    )  # fmt: skip


def balances_fact(
    connection: str, warehouse: str, rows: Sequence[tuple[str, Decimal, str]], as_of: datetime
) -> Fact:
    balances = tuple(InventoryBalance(sku, warehouse, Quantity(value, unit), as_of) for sku, value, unit in rows)
    body = msgspec.json.encode(BalancesReported(balances))
    return Fact(
        connection, "balances.reported", warehouse, body, body, version=as_of.isoformat(), subject=warehouse,
        occurred_at=as_of,
    )  # fmt: skip
