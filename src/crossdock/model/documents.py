"""Master data: Product with packs, Customer with credit, PriceAgreement."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Literal

import msgspec

from crossdock.model.codes import check_country, check_currency, check_gln, check_gtin, check_unit
from crossdock.model.errors import Invalid
from crossdock.model.values import Money


class Address(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Where goods or papers go. Personal data: never logged."""

    name: str
    street: str
    city: str
    postal_code: str
    country: str
    email: str = ""
    phone: str = ""
    gln: str = ""


class Pack(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A packaging level: one `unit` holds `base_quantity` base units exactly."""

    unit: str
    base_quantity: Decimal
    gtin: str = ""


class Component(msgspec.Struct, frozen=True, gc=False):
    """`quantity` base units of `sku` go into one base unit of the kit."""

    sku: str
    quantity: Decimal


class Product(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What is sold. `packs` includes the base unit with quantity 1. With `components` it is a kit: it has no stock of
    its own. `safety_stock` base units of it are never promised, over all locations."""

    sku: str
    name: str
    base_unit: str
    tax_category: str
    list_prices: tuple[Money, ...]
    packs: tuple[Pack, ...]
    status: Literal["active", "discontinued", "blocked"] = "active"
    components: tuple[Component, ...] = ()
    safety_stock: Decimal = Decimal(0)


class Customer(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A business account. `receivable` is what its posted, unpaid invoices add up to at `receivable_as_of`.
    `tax_exempt`: it need not be charged tax; `tax_identifier` is its number for value added tax, as the ERP has it."""

    code: str
    name: str
    currency: str
    status: Literal["active", "blocked"]
    price_group: str = ""
    payment_term_days: int = 0
    credit_limit: Decimal = Decimal(0)
    receivable: Decimal = Decimal(0)
    receivable_as_of: datetime | None = None
    tax_exempt: bool = False
    gln: str = ""
    addresses: tuple[Address, ...] = ()
    tax_identifier: str = ""


class PriceAgreement(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A contract price per base unit for a customer or a price group (exactly one of the two is set)."""

    agreement: str
    sku: str
    unit_price: Money
    customer: str = ""
    price_group: str = ""
    quantity_min: Decimal = Decimal(1)
    valid_from: date | None = None
    valid_until: date | None = None


def check_address(address: Address, field: str) -> Address:
    for name in ("name", "street", "city", "postal_code"):
        if not getattr(address, name).strip():
            raise Invalid("address_incomplete", f"The address needs a {name}.", field=f"{field}.{name}")
    check_country(address.country, f"{field}.country")
    if address.gln:
        check_gln(address.gln, f"{field}.gln")
    return address


def check_product(product: Product) -> Product:
    """Units and GTINs are real, the base unit is a pack of one, no pack is empty; a kit holds others, once each."""
    check_unit(product.base_unit, "base_unit")
    for index, pack in enumerate(product.packs):
        check_unit(pack.unit, f"packs[{index}].unit")
        if pack.gtin:
            check_gtin(pack.gtin, f"packs[{index}].gtin")
        if pack.base_quantity <= 0:
            raise Invalid("pack_empty", "A pack must hold more than zero base units.", field=f"packs[{index}]")
    if not any(pack.unit == product.base_unit and pack.base_quantity == 1 for pack in product.packs):
        raise Invalid("pack_base_missing", "The base unit must be a pack of one.", field="packs")
    seen = {product.sku}
    for index, part in enumerate(product.components):
        if not part.quantity.is_finite() or part.quantity <= 0:
            message = "A kit holds more than nothing of a component."
            raise Invalid("component_empty", message, field=f"components[{index}]")
        if part.sku in seen:
            message = f"{part.sku} is a component twice, or of itself."
            raise Invalid("component_repeated", message, field=f"components[{index}]")
        seen.add(part.sku)
    return product


def check_customer(customer: Customer) -> Customer:
    check_currency(customer.currency, "currency")
    if customer.gln:
        check_gln(customer.gln, "gln")
    if customer.credit_limit < 0:
        raise Invalid("credit_limit_negative", "The credit limit must be zero or more.", field="credit_limit")
    return customer
