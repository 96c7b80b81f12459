"""A kit in Tryton: whatever it costs and is made of, every number of kits comes to its price to the cent."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from crossdock.connectors.tryton.translate import KIT_LINES, PRICE_DIGITS, sale_parts
from crossdock.model.documents import Component
from crossdock.model.orders import OrderLine, PriceProvenance
from crossdock.model.values import Money, Quantity

COUNTS = st.one_of(
    st.integers(1, 999).map(Decimal), st.integers(1, 99_999).map(lambda thousandths: Decimal(thousandths) / 1000)
)


def kit_line(price: Decimal, counts: Sequence[Decimal]) -> OrderLine:
    parts = tuple(Component(f"SKU-{index}", count) for index, count in enumerate(counts))
    one = Quantity(Decimal(1), "C62")
    return OrderLine(
        "1", "KIT-1", "Kit", one, one, Money(price, "EUR"), Money(price, "EUR"), PriceProvenance("list", price),
        "standard", components=parts,
    )  # fmt: skip


@given(
    price=st.integers(0, 10_000_000).map(lambda cents: Decimal(cents) / 100),
    counts=st.lists(COUNTS, min_size=1, max_size=6), kits=st.integers(1, 100_000),
)  # fmt: skip
def test_lines_add_up_to_the_kits_price_and_components(price: Decimal, counts: list[Decimal], kits: int) -> None:
    line = kit_line(price, counts)
    parts = sale_parts(line, 7)
    amounts = [(part.price * part.per_unit * kits).quantize(Decimal("0.01"), ROUND_HALF_EVEN) for part in parts]
    assert sum(amounts) == price * kits
    assert all(round(part.price, PRICE_DIGITS) == part.price and part.per_unit > 0 for part in parts)
    needed: dict[str, Decimal] = {}
    for part in parts:
        needed[part.sku] = needed.get(part.sku, Decimal(0)) + part.per_unit
    assert needed == {part.sku: part.quantity for part in line.components}
    sequences = [part.sequence for part in parts]
    assert len(set(sequences)) == len(parts)
    assert all(7 * KIT_LINES <= sequence < 8 * KIT_LINES for sequence in sequences)


def test_what_one_component_can_carry_stays_one_line() -> None:
    """So that orders which Tryton has already find their lines again."""
    parts = sale_parts(kit_line(Decimal("9.00"), [Decimal(2), Decimal(3)]), 1)
    assert [(part.sequence, part.per_unit, part.price) for part in parts] == [
        (1000, Decimal(2), Decimal("4.5")), (1001, Decimal(3), Decimal(0)),
    ]  # fmt: skip
    plain = msgspec.structs.replace(kit_line(Decimal("9.00"), []), sku="SKU-9")
    assert [(part.sequence, part.sku, part.per_unit, part.price) for part in sale_parts(plain, 3)] == [
        (3, "SKU-9", Decimal(1), Decimal("9.00"))
    ]  # fmt: skip
