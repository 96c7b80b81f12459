"""Kits: a set that is sold as one and stocked as its components.

An order's line keeps the components that the kit had when it was accepted, so a later change of the kit changes no
promise. What is held, shipped or given back of a line is always that many of each component. A kit of kits is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal

from crossdock.model.codes import UNIT_DECIMALS
from crossdock.model.documents import Component, Product
from crossdock.model.errors import Invalid
from crossdock.model.orders import OrderLine
from crossdock.rules.decision import StockEffect

ONE: Final = Decimal(1)
_NOTHING: Final = Decimal(0)


def check_components(product: Product, products: Mapping[str, Product]) -> tuple[Component, ...]:
    """The components of a kit, () of what is none. Raises Invalid when it cannot be made of them."""
    for part in product.components:
        component = products.get(part.sku)
        if component is None:
            message = f"{product.sku} is made of {part.sku}, which is not known."
            raise Invalid("kit_component_unknown", message, field="sku")
        if component.components:
            message = f"{product.sku} is made of {part.sku}, which is a kit itself."
            raise Invalid("kit_nested", message, field="sku")
        if not UNIT_DECIMALS.get(component.base_unit, 0) and part.quantity != part.quantity.to_integral_value():
            message = f"{product.sku} needs {part.quantity} {component.base_unit} of {part.sku}: a fraction of a piece."
            raise Invalid("kit_fraction", message, field="sku")
    return product.components


def spread(
    kind: Literal["ship", "release", "reserve"], line: OrderLine, location: str, quantity: Decimal
) -> list[StockEffect]:
    """The effects on stock of `quantity` base units of a line: of each component of a kit."""
    if not line.components:
        return [StockEffect(kind, line.line, location, line.sku, quantity)]
    return [
        StockEffect(kind, line.line, location, part.sku, quantity * part.quantity) for part in line.components
    ]


def kits_there(line: OrderLine, available: Mapping[tuple[str, str], Decimal], location: str) -> Decimal:
    """How many base units of a line its stock at a location is enough for."""
    if not line.components:
        return available.get((line.sku, location), _NOTHING)
    return min(available.get((part.sku, location), _NOTHING) // part.quantity for part in line.components)


def per_unit(line: OrderLine, sku: str) -> Decimal:
    """Base units of a SKU in one base unit of a line, the line's own SKU being one; zero: none of it."""
    if sku == line.sku:
        return ONE
    return next((part.quantity for part in line.components if part.sku == sku), _NOTHING)
