"""Seeds an empty Tryton with the demonstration's world, over Tryton's own RPC, in batches.

Every part looks first whether it is there, so that a seeding that was cut off goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from crossdock.sandbox.tryton.accounting import Books, seed_books
from crossdock.sandbox.tryton.purchasing import seed_purchases
from crossdock.sandbox.tryton.rpc import Rpc
from crossdock.sandbox.world import (
    FOREIGN_PLACES,
    GBP_PER_EUR,
    SUPPLIER,
    TAX_CODES,
    WAREHOUSES,
    World,
    WorldCustomer,
)

API_USER: Final = "crossdock"
# The rights of a clerk in sales, stock and accounting, and nobody's right to go over a credit limit.
WITHHELD_GROUPS: Final = ("Administration", "Account Credit Limit")
# Rec 20 code -> (symbol, name, its category's name, digits). The first four are Tryton's own.
UNITS: Final[Mapping[str, tuple[str, str, str, int]]] = {
    "C62": ("u", "Unit", "Units", 0), "MTR": ("m", "Meter", "Length", 3), "KGM": ("kg", "Kilogram", "Weight", 3),
    "LTR": ("l", "Liter", "Volume", 3), "PR": ("PR", "Pair", "Pairs", 0),
}  # fmt: skip
WEB_PARTIES: Final = (("WEB-EU", "Web shop consumers EU", "DE"), ("WEB-UK", "Web shop consumers UK", "GB"))
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Grounds:
    """Ids of what the master data is built on."""

    books: Books
    categories: Mapping[str, int]
    units: Mapping[str, int]


async def seed(rpc: Rpc, world: World, password: str, say: Say) -> None:
    books = await seed_books(rpc, say)
    await _seed_user(rpc, books, password)
    categories = await _seed_categories(rpc, books)
    units = await _seed_units(rpc, world)
    grounds = Grounds(books, categories, units)
    say("tryton: products")
    products = await _seed_products(rpc, world, grounds)
    say("tryton: price lists and customers")
    price_lists = await _seed_price_lists(rpc, world, products, books)
    await _seed_customers(rpc, world, price_lists, books)
    say("tryton: warehouses and stock")
    await _seed_stock(rpc, world, products, units, books)
    say("tryton: purchase orders")
    await seed_purchases(rpc, world, products, units, books)


async def _seed_user(rpc: Rpc, books: Books, password: str) -> None:
    groups = await rpc.find("res.group", ("name", "not in", list(WITHHELD_GROUPS)))
    known = await rpc.find("res.user", ("login", "=", API_USER))
    if known:
        await rpc.call("model.res.user.write", known, {"groups": [("add", groups)]})
        return
    await rpc.create("res.user", [{
        "name": "Crossdock", "login": API_USER, "password": password, "groups": [("add", groups)],
        "companies": [("add", [books.company])], "company": books.company,
    }])  # fmt: skip


async def _seed_categories(rpc: Rpc, books: Books) -> dict[str, int]:
    """One accounting category per tax category; it carries the home region's taxes, and rules of the customers change
    them. A line's own taxes are always given by the order; where Tryton expects others it only warns."""
    found = {}
    for name in ("standard", "reduced"):
        existing = await rpc.find("product.category", ("name", "=", name), ("accounting", "=", True))
        home_tax = books.taxes[TAX_CODES["EU", name][0]]
        found[name] = existing[0] if existing else (await rpc.create("product.category", [{
            "name": name, "accounting": True, "account_revenue": books.revenue, "account_expense": books.expense,
            "customer_taxes": [("add", [home_tax])],
        }]))[0]  # fmt: skip
    return found


async def _seed_units(rpc: Rpc, world: World) -> dict[str, int]:
    """Base units, and a unit of its own for every size of box and pallet: "XBX12u" holds twelve pieces exactly."""
    units, categories = {}, {}
    for code, (symbol, name, category, digits) in UNITS.items():
        known = await rpc.find("product.uom", ("symbol", "=", symbol))
        if not known:
            category_id = (await rpc.create("product.uom.category", [{"name": category}]))[0]
            known = await rpc.create("product.uom", [{
                "name": name, "symbol": symbol, "category": category_id, "rate": 1.0, "factor": 1.0,
                "rounding": 10.0 ** -digits, "digits": digits,
            }])  # fmt: skip
        units[code] = known[0]
        row = (await rpc.call("model.product.uom.read", [known[0]], ["category", "factor"]))[0]
        categories[code] = (row["category"], row["factor"])
    packs = sorted({
        (pack.unit, pack.quantity, product.base_unit)
        for product in world.products for pack in product.packs if pack.quantity > 1
    })  # fmt: skip
    existing = await rpc.call("model.product.uom.search_read", [("symbol", "like", "X%")], 0, None, None, ["symbol"])
    known_packs = {row["symbol"] for row in existing}
    rows = []
    for unit, quantity, base in packs:
        symbol = f"{unit}{quantity}{UNITS[base][0]}"
        category_id, base_factor = categories[base]
        if symbol not in known_packs:
            factor = base_factor * quantity
            rows.append({
                "name": symbol, "symbol": symbol, "category": category_id, "factor": factor,
                "rate": float(f"{1 / factor:.12f}"), "rounding": 1.0, "digits": 0,
            })  # fmt: skip
    await rpc.create("product.uom", rows)
    return units


async def _seed_products(rpc: Rpc, world: World, grounds: Grounds) -> dict[str, int]:
    known = await _codes(rpc, "product.product")
    rows = []
    for product in world.sold:
        if product.sku in known:
            continue
        unit = grounds.units[product.base_unit]
        packs = " ".join(f"{pack.unit}={pack.quantity}/{pack.gtin}" for pack in product.packs)
        if product.components:
            packs += " KIT=" + ",".join(f"{part.sku}*{part.quantity}" for part in product.components)
        rows.append({
            # A kit has no stock of its own: a sale of it is a sale of its components.
            "type": "service" if product.components else "goods",
            "name": product.name, "code": product.sku, "default_uom": unit, "salable": True, "sale_uom": unit,
            "list_price": product.list_price_eur,
            "account_category": grounds.categories[product.tax_category],
            "products": [("create", [{
                "suffix_code": "", "description": packs, "cost_price": product.cost_eur,
                "identifiers": [("create", [{"type": "ean", "code": product.packs[0].gtin.lstrip("0").zfill(13)}])],
            }])],
        })  # fmt: skip
    for start in range(0, len(rows), 60):
        await rpc.create("product.template", rows[start : start + 60])
    return await _codes(rpc, "product.product")


async def _seed_price_lists(rpc: Rpc, world: World, products: Mapping[str, int], books: Books) -> dict[str, int]:
    """One list per group and currency; a line per product and break, its formula the price itself."""
    found = {}
    for group in ("G1", "G2", "G3", "G4"):
        for currency in ("EUR", "GBP"):
            name = f"{group}-{currency}"
            existing = await rpc.find("product.price_list", ("name", "=", name))
            if existing:
                found[name] = existing[0]
                continue
            prices = [price for price in world.prices if price.group == group and price.currency == currency]
            prices.sort(key=lambda price: (price.sku, -price.quantity_min))
            lines = [
                {
                    "product": products[price.sku], "quantity": float(price.quantity_min),
                    "formula": str(price.unit_price),
                }
                for price in prices
            ]  # fmt: skip
            found[name] = (await rpc.create("product.price_list", [{
                "name": name, "company": books.company, "unit": "product_default", "price": "list_price",
                "lines": [("create", lines)],
            }]))[0]  # fmt: skip
    return found


async def _seed_customers(rpc: Rpc, world: World, price_lists: Mapping[str, int], books: Books) -> None:
    known = await _codes(rpc, "party.party")
    countries = await _countries(rpc)
    blocked = await rpc.find("party.category", ("name", "=", "Blocked"))
    blocked = blocked or await rpc.create("party.category", [{"name": "Blocked"}])
    rows: list[dict[str, Any]] = [
        _customer_row(customer, price_lists, books, countries, blocked[0])
        for customer in world.customers if customer.code not in known
    ]  # fmt: skip
    for code, name, country in WEB_PARTIES:
        if code not in known:
            rows.append({
                "code": code, "name": name, "customer_payment_term": books.terms[14],
                "customer_tax_rule": books.tax_rules["UK"] if country == "GB" else None,
                "addresses": [("create", [{"street": "as on each order", "country": countries[country]}])],
            })  # fmt: skip
    await rpc.create("party.party", rows)


def _customer_row(
    customer: WorldCustomer, price_lists: Mapping[str, int], books: Books, countries: Mapping[str, int], blocked: int
) -> dict[str, Any]:
    """Tryton keeps a credit limit in the company's currency."""
    address = customer.address
    limit = customer.credit_limit / GBP_PER_EUR if customer.currency == "GBP" else customer.credit_limit
    tax_rule = "reverse charge" if customer.tax_identifier else customer.region
    return {
        "code": customer.code, "name": customer.name, "customer_payment_term": books.terms[customer.payment_term_days],
        "customer_currency": books.currencies[customer.currency],
        "customer_tax_rule": books.tax_rules.get(tax_rule),
        "identifiers": [("create", [{"type": "eu_vat", "code": customer.tax_identifier}])]
        if customer.tax_identifier else [],
        "credit_limit_amount": limit.quantize(Decimal("0.01"), ROUND_HALF_UP),
        "sale_price_list": price_lists[f"{customer.group}-{customer.currency}"],
        "categories": [("add", [blocked])] if customer.status == "blocked" else [],
        "contact_mechanisms": [("create", [
            {"type": "email", "value": customer.email}, {"type": "other", "value": customer.gln, "name": "GLN"},
        ])],
        "addresses": [("create", [{
            "party_name": address.name, "street": address.street, "city": address.city,
            "postal_code": address.postal_code, "country": countries[address.country],
        }])],
    }  # fmt: skip


async def _countries(rpc: Rpc) -> dict[str, int]:
    names = {"DE": "Germany", "NL": "Netherlands", "FR": "France", "GB": "United Kingdom"}
    found = {}
    for code, name in names.items():
        existing = await rpc.find("country.country", ("code", "=", code))
        found[code] = (existing or await rpc.create("country.country", [{"code": code, "name": name}]))[0]
    return found


async def _seed_stock(
    rpc: Rpc, world: World, products: Mapping[str, int], units: Mapping[str, int], books: Books
) -> None:
    """Goods leave straight from storage (no separate output zone): the warehouse system does picking and packing.

    The books have places of others too, for what leaves from there; but a supplier's goods are not in them.
    """
    lost = await rpc.find_one("stock.location", ("type", "=", "lost_found"))
    places = (*WAREHOUSES, *FOREIGN_PLACES)
    existing = await rpc.find("stock.location", ("type", "=", "warehouse"), ("code", "in", list(places)))
    finished = {row["code"] for row in await rpc.call("model.stock.location.read", existing, ["code"])}
    today = datetime.now(UTC).date()
    for warehouse in places:
        if warehouse in finished:
            continue
        inbound, storage = await rpc.create("stock.location", [
            {"name": f"{warehouse} Input", "type": "storage"},
            {"name": f"{warehouse} Storage", "type": "storage"},
        ])  # fmt: skip
        rows = [
            {
                "product": products[product.sku], "unit": units[product.base_unit],
                "quantity": float(count),
                "from_location": lost, "to_location": storage, "company": books.company, "effective_date": today,
                "planned_date": today,
            }
            for product in world.products for place, count in product.stock
            if place == warehouse != SUPPLIER and count
        ]  # fmt: skip
        if rows:
            await rpc.call("model.stock.move.do", await rpc.create("stock.move", rows))
        # Last, so that a warehouse that is there has its stock.
        await rpc.create("stock.location", [{
            "name": warehouse, "code": warehouse, "type": "warehouse", "input_location": inbound,
            "storage_location": storage, "output_location": storage,
        }])  # fmt: skip


async def _codes(rpc: Rpc, model: str) -> dict[str, int]:
    rows = await rpc.call(f"model.{model}.search_read", [], 0, None, None, ["code"])
    return {row["code"]: row["id"] for row in rows if row["code"]}

