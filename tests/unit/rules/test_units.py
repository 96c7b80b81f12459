from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.model.errors import Invalid
from crossdock.model.values import QUANTITY_MAX, Quantity
from crossdock.rules.units import pack_sizes, to_base
from tests.unit.rules.making import product


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_packs_convert_exactly(boxes: int, size: int) -> None:
    bolt = product("BOLT", "C62", "1.00", ("XBX", size))
    assert to_base(Quantity(Decimal(boxes), "XBX"), pack_sizes(bolt), bolt) == boxes * size


@given(st.decimals(allow_nan=True, allow_infinity=True), st.sampled_from(["C62", "XBX", "MTR", "XDR", "???", ""]))
def test_any_number_is_converted_exactly_or_refused(value: Decimal, unit: str) -> None:
    cable = product("CABLE", "MTR", "1.00", ("XDR", 100))
    sizes = pack_sizes(cable)
    try:
        base = to_base(Quantity(value, unit), sizes, cable)
    except Invalid:
        return
    assert base == value * sizes[unit]
    assert 0 < base <= QUANTITY_MAX


def test_an_impossible_unit_names_the_possible_ones() -> None:
    bolt = product("ND-0001", "C62", "1.00", ("XBX", 10))
    with pytest.raises(Invalid, match="There is no unit XPX for ND-0001; it has C62, XBX") as raised:
        to_base(Quantity(Decimal(1), "XPX"), pack_sizes(bolt), bolt)
    assert raised.value.code == "unit_impossible"


def test_a_fraction_of_a_divisible_pack_may_not_break_a_piece() -> None:
    rope = product("ROPE", "C62", "1.00", ("KGM", 3))
    sizes = pack_sizes(rope)
    with pytest.raises(Invalid, match="whole"):
        to_base(Quantity(Decimal("0.5"), "KGM"), sizes, rope)
    assert to_base(Quantity(Decimal("2"), "KGM"), sizes, rope) == 6
