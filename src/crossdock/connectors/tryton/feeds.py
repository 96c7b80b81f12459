"""What Tryton owns and tells: products, customers with credit, contract prices, stock on hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from crossdock.connectors.tryton.client import TrytonClient
from crossdock.connectors.tryton.supply import read_coming
from crossdock.connectors.tryton.translate import (
    UNIT_OF_SYMBOL,
    address_of,
    balances_fact,
    customer_of,
    price_of,
    product_of,
    published,
    quantity_of,
)
from crossdock.kit.arrivals import Row, translate_rows
from crossdock.kit.connector import Page
from crossdock.model.facts import Fact
from crossdock.model.stock import InventoryBalance
from crossdock.model.values import Quantity

PAGE: Final = 500
PRICE_PAGE: Final = 1000
_PRODUCT_FIELDS: Final = ("code", "name", "default_uom", "description", "template")
_PARTY_FIELDS: Final = (
    "code", "name", "customer_payment_term", "customer_currency", "credit_limit_amount", "receivable",
    "sale_price_list", "categories", "addresses", "contact_mechanisms",
)  # fmt: skip


async def read_products(client: TrytonClient, connection: str, cursor: str) -> Page:
    after = int(cursor or 0)
    domain = [["id", ">", after], ["code", "!=", None]]
    rows = await client.rows(None, "product.product", domain, _PRODUCT_FIELDS, PAGE)
    symbols = await _names(client, "product.uom", "symbol")
    categories = await _names(client, "product.category", "name")
    templates = await client.rows(
        None, "product.template", [["id", "in", [row["template"] for row in rows]]], ["account_category", "list_price"]
    )
    template_of = {row["id"]: row for row in templates}
    rate = (await _rates(client))["GBP"]
    day = _day()

    def fact_of(row: Row) -> Fact | None:
        if symbols.get(row["default_uom"]) not in UNIT_OF_SYMBOL:
            return None
        product = product_of({**template_of[row["template"]], **row}, symbols, categories, rate)
        return published(connection, "product.published", product.sku, product, day)

    return _page(translate_rows(connection, "products", rows, fact_of, _code), rows, PAGE)


async def read_customers(client: TrytonClient, connection: str, cursor: str) -> Page:
    """The web shop's collective parties are no customers of ours: they have no credit."""
    after = int(cursor or 0)
    domain = [["id", ">", after], ["code", "like", "C%"]]
    as_of = datetime.now(UTC)
    rows = await client.rows(None, "party.party", domain, _PARTY_FIELDS, PAGE)
    categories = await _names(client, "party.category", "name")
    currencies = await _names(client, "currency.currency", "code")
    lists = await _names(client, "product.price_list", "name")
    terms = await _names(client, "account.invoice.payment_term", "name")
    countries = await _names(client, "country.country", "code")
    rates = await _rates(client)
    parties = [row["id"] for row in rows]
    addresses = await client.rows(
        None, "party.address", [["party", "in", parties]],
        ["party", "party_name", "street", "city", "postal_code", "country"],
    )  # fmt: skip
    contacts = await client.rows(
        None, "party.contact_mechanism", [["party", "in", parties]], ["party", "type", "value", "name"]
    )
    identifiers = await client.rows(
        None, "party.identifier", [["party", "in", parties], ["type", "=", "eu_vat"]], ["party", "code"]
    )
    tax_identifiers = {row["party"]: row["code"] for row in reversed(identifiers)}

    def fact_of(row: Row) -> Fact | None:
        if not row["customer_currency"]:
            return None
        own = [contact for contact in contacts if contact["party"] == row["id"]]
        email = next((contact["value"] for contact in own if contact["type"] == "email"), "")
        gln = next((contact["value"] for contact in own if contact["name"] == "GLN"), "")
        currency = currencies[row["customer_currency"]]
        extra: dict[str, Any] = {
            "currency": currency, "rate": rates[currency], "gln": gln,
            "status": "blocked" if "Blocked" in [categories[each] for each in row["categories"]] else "active",
            "days": int(terms.get(row["customer_payment_term"], "0").partition(" ")[0]),
            "tax_identifier": tax_identifiers.get(row["id"], ""),
            "group": lists.get(row["sale_price_list"], "").rpartition("-")[0],
            "addresses": [
                address_of(address, row["name"], countries[address["country"]], email, gln)
                for address in addresses if address["party"] == row["id"]
            ],
        }  # fmt: skip
        # The time belongs to the version: what is owed may return to an earlier amount, and is then news again.
        customer = customer_of(row, extra, as_of)
        return published(connection, "customer.published", customer.code, customer)

    return _page(translate_rows(connection, "customers", rows, fact_of, _code), rows, PAGE)


async def read_prices(client: TrytonClient, connection: str, cursor: str) -> Page:
    after = int(cursor or 0)
    rows = await client.rows(
        None, "product.price_list.line", [["id", ">", after], ["product", "!=", None]],
        ["price_list", "product", "quantity", "formula"], PRICE_PAGE,
    )  # fmt: skip
    lists = await _names(client, "product.price_list", "name")
    products = await _names(client, "product.product", "code")
    day = _day()

    def fact_of(row: Row) -> Fact | None:
        price = price_of(row, lists[row["price_list"]], products[row["product"]])
        return published(connection, "price.published", price.agreement, price, day) if price is not None else None

    return _page(translate_rows(connection, "prices", rows, fact_of, _number), rows, PRICE_PAGE)


async def read_stock(client: TrytonClient, connection: str, cursor: str) -> Page:
    """One warehouse a page: on hand now, as Tryton's own function field reckons it."""
    references = await client.ensure_references()
    codes = sorted(references.warehouses)
    index = codes.index(cursor) if cursor in codes else 0
    as_of = datetime.now(UTC)
    warehouse = references.warehouses[codes[index]].id
    balances = await _count(client, warehouse, [["code", "!=", None]], as_of)
    # A warehouse without any stock is one that nobody uses, such as the one that Tryton makes by itself.
    used = any(value for _, value, _ in balances)
    coming = await read_coming(client, references.warehouses[codes[index]].input) if used else {}
    facts = [balances_fact(connection, codes[index], balances, coming, as_of)] if used else []
    last = index + 1 == len(codes)
    return Page(facts, codes[0] if last else codes[index + 1], more=not last)


async def read_balances(client: TrytonClient, location: str, skus: Sequence[str]) -> Sequence[InventoryBalance]:
    """What Tryton has of these right now; a SKU that it does not know is left out."""
    references = await client.ensure_references()
    if location not in references.warehouses:
        return ()
    as_of = datetime.now(UTC)
    found = await _count(client, references.warehouses[location].id, [["code", "in", list(skus)]], as_of)
    return [InventoryBalance(sku, location, Quantity(value, unit), as_of) for sku, value, unit in found]


async def _count(
    client: TrytonClient, warehouse: int, domain: list[Any], as_of: datetime
) -> list[tuple[str, Decimal, str]]:
    """(SKU, on hand, unit) at a warehouse, of what stands on shelves, so not of kits; below zero Tryton has sold more
    than it counted, so nothing is there."""
    context = {"locations": [warehouse], "with_childs": True, "stock_date_end": as_of.date()}
    domain = [*domain, ["type", "=", "goods"]]
    rows = await client.rows(None, "product.product", domain, ["code", "quantity", "default_uom"], context=context)
    symbols = await _names(client, "product.uom", "symbol")
    return [
        (row["code"], max(quantity_of(row["quantity"] or 0), Decimal(0)), UNIT_OF_SYMBOL[symbols[row["default_uom"]]])
        for row in rows if symbols.get(row["default_uom"]) in UNIT_OF_SYMBOL
    ]  # fmt: skip


def _page(facts: list[Any], rows: list[dict[str, Any]], size: int) -> Page:
    """After the last page the round begins again: Tryton has no feed of changes."""
    more = len(rows) == size
    return Page(facts, str(rows[-1]["id"]) if more else "", more=more)


async def _names(client: TrytonClient, model: str, name: str) -> dict[int, str]:
    return {row["id"]: row[name] for row in await client.rows(None, model, [], [name])}


async def _rates(client: TrytonClient) -> dict[str, Decimal]:
    rows = await client.rows(None, "currency.currency", [], ["code", "rate"])
    return {row["code"]: row["rate"] for row in rows if row["rate"]}


def _code(row: Row) -> str:
    return str(row.get("code") or "")


def _number(row: Row) -> str:
    return str(row.get("id") or "")


def _day() -> str:
    """A value that returns to an earlier one counts as news the next day at the latest."""
    return datetime.now(UTC).strftime("@%Y-%m-%d")
