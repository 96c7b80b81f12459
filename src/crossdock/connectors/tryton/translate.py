"""From the canonical model to Tryton's records and back. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from crossdock.kit.connector import Call
from crossdock.model.documents import Address, Component, Customer, Pack, PriceAgreement, Product
from crossdock.model.errors import Misconfigured, Refused
from crossdock.model.facts import BalancesReported, Fact
from crossdock.model.orders import LineTax, Order, OrderLine
from crossdock.model.stock import InventoryBalance
from crossdock.model.values import Money, Quantity

if TYPE_CHECKING:
    from crossdock.connectors.tryton.client import References

CENT: Final = Decimal("0.01")
PRICE_DIGITS: Final = 4
KIT_LINES: Final = 1000
"""More than an order has lines: a kit's lines in Tryton are numbered from `place * KIT_LINES` up."""
UNIT_OF_SYMBOL: Final[Mapping[str, str]] = {"u": "C62", "m": "MTR", "kg": "KGM", "l": "LTR", "PR": "PR"}


def to_wire(value: Any) -> Any:
    """Decimals and dates as Tryton's JSON classes."""
    if isinstance(value, Decimal):
        return {"__class__": "Decimal", "decimal": str(value)}
    if isinstance(value, datetime):
        return {
            "__class__": "datetime", "year": value.year, "month": value.month, "day": value.day, "hour": value.hour,
            "minute": value.minute, "second": value.second, "microsecond": value.microsecond,
        }  # fmt: skip
    if isinstance(value, date):
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
        if value.get("__class__") == "date":
            return date(value["year"], value["month"], value["day"])
        if value.get("__class__") == "datetime":
            parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
            return datetime(*(value[part] for part in parts))  # noqa: DTZ001 - Tryton's times are UTC and say no zone
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
        raise _unknown("customer", code, references)
    if order.currency not in references.currencies:
        raise _unknown("currency", order.currency, references)
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
            row for index in range(len(order.lines)) for row in _sale_lines(index, order, taxes, references)
        ]]],
    }  # fmt: skip


class SalePart(NamedTuple):
    """A line of the sale: `per_unit` of the SKU for one base unit of the order's line, at `price` each."""

    sequence: int
    sku: str
    per_unit: Decimal
    price: Decimal


def sale_parts(line: OrderLine, place: int) -> list[SalePart]:
    """The sale's lines for the order's line at `place`, from 1 up.

    Of a kit Tryton gets the components, for they are what it has in stock; the first carries the kit's price. Where
    that price cannot be written on as many as the kit has of it (10.00 on three, with four decimals), a line of its own
    takes one of them, at the whole price: every number of kits then costs what it should, to the cent.
    """
    price = line.unit_price.amount
    if not line.components:
        return [SalePart(place, line.sku, Decimal(1), price)]
    first, *others = line.components
    number = place * KIT_LINES
    parts = [
        SalePart(number + index, part.sku, part.quantity, Decimal(0)) for index, part in enumerate(others, start=1)
    ]
    whole = round(price / first.quantity, PRICE_DIGITS)
    if whole * first.quantity == price:
        return [SalePart(number, first.sku, first.quantity, whole), *parts]
    # One, or a tenth or hundredth where the kit has less than one: dividing by that adds no decimals.
    carrying = min(Decimal(1), Decimal(1).scaleb(first.quantity.adjusted()))
    carrier = SalePart(number, first.sku, carrying, price / carrying)
    if carrying == first.quantity:
        return [carrier, *parts]
    return [carrier, *parts, SalePart(number + len(line.components), first.sku, first.quantity - carrying, Decimal(0))]


def _sale_lines(
    index: int, order: Order, taxes: Mapping[str, LineTax] | None, references: References
) -> list[dict[str, Any]]:
    line = order.lines[index]
    tax = (taxes or {}).get(line.line)
    tax_ids = []
    if tax is not None and tax.code in references.taxes:
        # Also at a rate of nought: the invoice then says why it bears no tax.
        tax_ids = [references.taxes[tax.code]]
    elif tax is not None and tax.rate:
        raise Misconfigured("erp_tax_unknown", f"Tryton has no tax named {tax.code}.")
    rows: list[dict[str, Any]] = []
    for part in sale_parts(line, index + 1):
        if part.sku not in references.products:
            raise _unknown("product", part.sku, references)
        product, unit = references.products[part.sku]
        row = {
            "type": "line", "sequence": part.sequence, "product": product, "unit": unit,
            "quantity": wire_quantity(line.quantity.value * part.per_unit), "unit_price": part.price,
            "taxes": [["add", tax_ids]],
        }  # fmt: skip
        if line.components:
            row["description"] = f"{part.sku} in {line.sku} {line.name}"[:200]
        rows.append(row)
    return rows


def main_warehouse(order: Order) -> str:
    """The warehouse that ships most lines: a sale in Tryton has one; the parts correct it when they ship."""
    found = [allocation.location for line in order.lines for allocation in line.allocations]
    return max(sorted(set(found)), key=found.count) if found else ""


def check_totals(order: Order, taxes: Mapping[str, LineTax] | None, sale: Mapping[str, Any]) -> None:
    """The net must be ours to the cent. Tryton rounds half a cent to even, we half up: the tax that it reckons may
    differ by a cent per line; on the confirmed sale and on the invoices it is set to ours exactly."""
    if sale["untaxed_amount"] != order.net.amount:
        raise Refused(
            "erp_total_differs",
            f"Before tax Tryton adds the order up to {sale['untaxed_amount']}, we to {order.net.amount}.",
            next_action="Compare the lines' prices and units in Tryton.",
        )  # fmt: skip
    tax = sum_taxes(taxes)
    if tax is None:
        return
    if abs(sale["tax_amount"] - tax) > CENT * len(order.lines):
        raise Refused(
            "erp_tax_differs", f"Tryton finds {sale['tax_amount']} {order.currency} of tax, the tax engine {tax}.",
            next_action="Compare the tax rates in Tryton and in the tax engine.",
        )  # fmt: skip


def sum_taxes(taxes: Mapping[str, LineTax] | None) -> Decimal | None:
    """The tax engine's amount for the whole order; None where it was not asked."""
    return None if taxes is None else sum((line.amount for line in taxes.values()), Decimal(0))


def _unknown(what: str, code: str, references: References) -> Refused:
    reason = references.withdrawn.get(f"{what} {code}", "")
    if reason == "archived":
        return Refused(
            f"erp_{what}_archived", f"In Tryton the {what} {code} is archived.",
            next_action=f"Make the {what} active again in Tryton, then release the order; or cancel it.",
        )  # fmt: skip
    if reason == "unsold":
        return Refused(
            f"erp_{what}_unsold", f"In Tryton the {what} {code} is not for sale.",
            next_action=f"Mark the {what} as salable in Tryton, then release the order; or cancel it.",
        )  # fmt: skip
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
    """Packs are noted in the variant's description as "XBX=12/<GTIN>", what a kit is made of as "KIT=<SKU>*4,..."."""
    packs = []
    components: list[Component] = []
    for text in (row["description"] or "").split():
        unit, _, rest = text.partition("=")
        if unit == "KIT":
            parts = [part.partition("*") for part in rest.split(",")]
            components += [Component(sku, Decimal(count)) for sku, _, count in parts]
            continue
        quantity, _, gtin = rest.partition("/")
        packs.append(Pack(unit, Decimal(quantity), gtin))
    base = UNIT_OF_SYMBOL[symbols[row["default_uom"]]]
    price = row["list_price"].quantize(CENT)
    return Product(
        sku=row["code"], name=row["name"], base_unit=base, tax_category=categories[row["account_category"]],
        list_prices=(Money(price, "EUR"), Money((price * gbp).quantize(CENT, "ROUND_HALF_UP"), "GBP")),
        packs=tuple(packs) or (Pack(base, Decimal(1)),), components=tuple(components),
    )  # fmt: skip


def customer_of(row: Mapping[str, Any], extra: Mapping[str, Any], as_of: datetime) -> Customer:
    """`extra`: what other records of Tryton say of the party. Tryton's limits are in the company's currency."""
    rate = extra["rate"]
    limit = ((row["credit_limit_amount"] or Decimal(0)) * rate).quantize(CENT, "ROUND_HALF_UP")
    receivable = ((row["receivable"] or Decimal(0)) * rate).quantize(CENT, "ROUND_HALF_UP")
    return Customer(
        code=row["code"], name=row["name"], currency=extra["currency"], status=extra["status"],
        price_group=extra["group"], payment_term_days=extra["days"], credit_limit=limit, receivable=receivable,
        receivable_as_of=as_of, gln=extra["gln"], addresses=tuple(extra["addresses"]),
        tax_identifier=extra["tax_identifier"],
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
    connection: str, warehouse: str, rows: Sequence[tuple[str, Decimal, str]], coming: Mapping[str, Decimal],
    as_of: datetime,
) -> Fact:  # fmt: skip
    """`coming`: SKU -> what suppliers have announced as shipped to this warehouse."""
    balances = tuple(
        InventoryBalance(sku, warehouse, Quantity(value, unit), as_of, in_transit=coming.get(sku, Decimal(0)))
        for sku, value, unit in rows
    )
    body = msgspec.json.encode(BalancesReported(balances))
    return Fact(
        connection, "balances.reported", warehouse, body, body, version=as_of.isoformat(), subject=warehouse,
        occurred_at=as_of,
    )  # fmt: skip
