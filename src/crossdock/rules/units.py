"""Units: what was ordered, in base units, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from crossdock.model.codes import UNIT_DECIMALS
from crossdock.model.documents import Product
from crossdock.model.errors import Invalid
from crossdock.model.values import QUANTITY_MAX, Quantity, check_quantity

_NOTHING: Final = Decimal(0)
ONE: Final = Decimal(1)


def pack_sizes(product: Product) -> dict[str, Decimal]:
    """Unit -> base units that it holds."""
    return {pack.unit: pack.base_quantity for pack in product.packs}


def to_base(ordered: Quantity, sizes: Mapping[str, Decimal], product: Product) -> Decimal:
    """Return the base units in `ordered`. Raises Invalid: the quantity is no number of goods, or the product has no
    such unit, or a fraction of an indivisible base unit would come out.
    """
    value = ordered.value
    size = sizes.get(ordered.unit)
    # A small whole number in a unit of the product is what nearly always comes; everything else is looked at closely.
    usual = value.is_finite() and _NOTHING < value <= QUANTITY_MAX and value == value.to_integral_value()
    if size is not None and usual:
        base = value * size
    else:
        check_quantity(ordered)
        if size is None:
            raise Invalid(
                "unit_impossible", f"There is no unit {ordered.unit} for {product.sku}; it has {', '.join(sizes)}.",
                field="quantity.unit",
            )  # fmt: skip
        base = value * size
    if base > QUANTITY_MAX:
        raise Invalid("quantity_absurd", f"The quantity must not exceed {QUANTITY_MAX}.", field="quantity.value")
    if base != base.to_integral_value():
        check_quantity(Quantity(base, product.base_unit))
    return base


def is_indivisible(unit: str) -> bool:
    return UNIT_DECIMALS.get(unit, 0) == 0
