"""What a channel may promise: against brute force, and named after what users of today's systems suffered."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.rules.availability import (
    Inbound,
    Position,
    Saleable,
    Stocked,
    Terms,
    count_promise,
    explain_availability,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TODAY = NOW.date()
ANY = Terms("shop", None)


def position(location: str, on_hand: int | str, reserved: int | str = 0, **more: Decimal) -> Position:
    made = Position(
        location, "wms", NOW - timedelta(minutes=5), Decimal(on_hand), Decimal(on_hand), Decimal(0), Decimal(0),
        Decimal(reserved),
    )  # fmt: skip
    return msgspec.structs.replace(made, **more)


def goods(sku: str, *positions: Position, unit: str = "C62", **more: object) -> Stocked:
    return msgspec.structs.replace(Stocked(sku, unit, positions), **more)


def plain(stocked: Stocked, unit: str = "", size: int | str = 1, status: str = "active") -> Saleable:
    parts = ((Decimal(1), stocked),)
    return Saleable(stocked.sku, stocked.base_unit, unit or stocked.base_unit, parts, Decimal(size), status=status)


def kit(*parts: tuple[int, Stocked]) -> Saleable:
    return Saleable("KIT", "C62", "C62", tuple((Decimal(per), stocked) for per, stocked in parts), is_kit=True)


def promised(item: Saleable, terms: Terms = ANY, stale: dict[tuple[str, str], Decimal] | None = None) -> str:
    return f"{count_promise(item, terms, stale or {}, TODAY).quantity.normalize():f}"


def test_reserved_is_ignored_the_shop_shows_80_not_51() -> None:
    """libracore/WooCommerceConnector#41."""
    assert promised(plain(goods("BOLT", position("HAM", 80, 29)))) == "51"


def test_52900_pieces_published_at_the_price_of_a_box_of_1000() -> None:
    """woocommerce_fusion PR 257: what is listed by the box is told in boxes, and no started box is promised."""
    stock = goods("SCREW", position("HAM", 52_900))
    assert promised(plain(stock, "XBX", 1000)) == "52"
    assert promised(plain(stock)) == "52900"


def test_backorder_ignores_reservations() -> None:
    """magento/inventory#3178: who waits already, and what was promised beyond the stock, gets the delivery first."""
    late = goods(
        "BOLT", position("HAM", 3, 7), waiting=Decimal(10),
        inbound=(Inbound("HAM", Decimal(12), date(2026, 3, 5)), Inbound("HAM", Decimal(9), date(2026, 3, 9))),
    )  # fmt: skip
    found = count_promise(plain(late), Terms("shop", None, backorder_days=30), {}, TODAY)
    assert (found.quantity, found.backorder, found.promise_on) == (Decimal(0), Decimal(7), date(2026, 3, 9))


def test_overdue_and_far_supply_is_not_promised() -> None:
    late = goods(
        "BOLT",
        inbound=(Inbound("HAM", Decimal(12), date(2026, 2, 27)), Inbound("HAM", Decimal(9), date(2026, 6, 9))),
    )  # fmt: skip
    found = count_promise(plain(late), Terms("shop", None, backorder_days=30), {}, TODAY)
    assert (found.backorder, found.promise_on) == (Decimal(0), None)


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        (Terms("shop", None, share_percent=50), "50"),
        (Terms("shop", None, buffer=Decimal(7)), "93"),
        (Terms("shop", None, cap=Decimal(10)), "10"),
        (Terms("shop", None, hide_below=Decimal(101)), "0"),
        (Terms("shop", None, hide_below=Decimal(100)), "100"),
        (Terms("shop", None, safety={"HAM": Decimal(25)}), "75"),
        (Terms("shop", None, 33, Decimal(3), Decimal(29), Decimal(29)), "29"),
        (Terms("shop", frozenset({"BHX"})), "0"),
    ],
)
def test_terms_of_a_channel(terms: Terms, expected: str) -> None:
    assert promised(plain(goods("BOLT", position("HAM", 100))), terms) == expected


def test_damaged_held_and_safety_stock_are_not_promised() -> None:
    there = position("HAM", 100, 10, quality_hold=Decimal(5), damaged=Decimal(2))
    assert promised(plain(goods("BOLT", there, safety_stock=Decimal(3)))) == "80"


def test_a_location_that_promised_too_much_takes_nothing_from_the_others() -> None:
    assert promised(plain(goods("BOLT", position("HAM", 2, 5), position("BHX", 4)))) == "4"


def test_stock_of_a_silent_feed_shrinks_by_what_may_have_been_sold() -> None:
    item = plain(goods("BOLT", position("HAM", 100), sold_per_day=Decimal(48)))
    silent = {("wms", "HAM"): Decimal("0.5")}
    assert promised(item, ANY, silent) == "76"
    assert promised(item, Terms("shop", None, caution=Decimal(2)), silent) == "52"
    assert promised(item, Terms("shop", None, zero_after_days=Decimal("0.5")), silent) == "0"
    assert count_promise(item, ANY, silent, TODAY).stale


def test_what_a_silent_feed_lost_is_guessed_in_whole_units() -> None:
    """A channel showed 5,193.1828 m, and another figure of that kind each minute."""
    cable = plain(goods("CABLE", position("HAM", "100.5"), unit="MTR", sold_per_day=Decimal(7)))
    shown = {promised(cable, stale={("wms", "HAM"): Decimal(minutes) / 1440}) for minutes in range(1, 200)}
    assert shown == {"99.5"}


def test_blocked_products_are_not_promised_and_discontinued_ones_only_from_stock() -> None:
    stock = goods("BOLT", position("HAM", 4), inbound=(Inbound("HAM", Decimal(9), TODAY),))
    terms = Terms("shop", None, backorder_days=3)
    assert count_promise(plain(stock), terms, {}, TODAY).backorder == 9
    assert count_promise(plain(stock, status="discontinued"), terms, {}, TODAY).backorder == 0
    assert promised(plain(stock, status="discontinued")) == "4"
    assert promised(plain(stock, status="blocked")) == "0"


def test_random_kit_quantities() -> None:
    """OCA/product-pack#208: a thousand kits against counting them out by hand, one at a time."""
    chance = random.Random(208)
    for _ in range(1000):
        places = ["HAM", "BHX", "RTM"][: chance.randint(1, 3)]
        parts = []
        for index in range(chance.randint(1, 5)):
            stock = [position(place, chance.randint(0, 40), chance.randint(0, 15)) for place in places]
            safety = Decimal(chance.choice([0, 0, 3]))
            parts.append((chance.randint(1, 4), goods(f"C{index}", *stock, safety_stock=safety)))
        terms = Terms("shop", None, buffer=Decimal(chance.choice([0, 0, 2])))
        assert promised(kit(*parts), terms) == str(_pack_by_hand(parts, int(terms.buffer)))


def _pack_by_hand(parts: list[tuple[int, Stocked]], buffer: int) -> int:
    shelves = {
        (stocked.sku, place.location): max(int(place.on_hand - place.reserved), 0)
        for _, stocked in parts for place in stocked.positions
    }  # fmt: skip
    kits = 0
    for location in sorted({location for _, location in shelves}):
        while all(shelves[stocked.sku, location] >= per for per, stocked in parts):
            totals = {sku: sum(left for (name, _), left in shelves.items() if name == sku) for sku, _ in shelves}
            if any(totals[stocked.sku] - per < stocked.safety_stock + buffer for per, stocked in parts):
                break
            for per, stocked in parts:
                shelves[stocked.sku, location] -= per
            kits += 1
    return kits


def test_a_kit_is_packed_at_one_place_only() -> None:
    left, right = goods("A", position("HAM", 5), position("BHX", 0)), goods("B", position("HAM", 0), position("BHX", 5))
    assert promised(kit((1, left), (1, right))) == "0"


quantities = st.integers(0, 500).map(Decimal) | st.decimals(0, 500, places=4)
positions = st.builds(
    Position, st.sampled_from(["HAM", "BHX", "RTM"]), st.sampled_from(["wms", "erp"]),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 3, 1)).map(lambda at: at.replace(tzinfo=UTC)),  # noqa: DTZ001
    quantities, quantities, st.integers(0, 5).map(Decimal), st.integers(0, 5).map(Decimal), quantities,
)  # fmt: skip
inbounds = st.builds(Inbound, st.sampled_from(["HAM", "BHX"]), quantities, st.dates(date(2026, 2, 1), date(2026, 5, 1)))
stocks = st.builds(
    Stocked, st.sampled_from("ABC"), st.sampled_from(["C62", "MTR"]),
    st.lists(positions, max_size=3, unique_by=lambda item: item.location).map(tuple), st.sampled_from([Decimal(0)] * 3
    + [Decimal(4)]), quantities, st.lists(inbounds, max_size=3).map(tuple), st.integers(0, 50).map(Decimal),
)  # fmt: skip
all_terms = st.builds(
    Terms, st.just("shop"), st.none() | st.just(frozenset({"HAM", "RTM"})), st.integers(0, 100),
    st.integers(0, 20).map(Decimal), st.none() | st.integers(0, 300).map(Decimal), st.integers(0, 20).map(Decimal),
    st.none() | st.integers(0, 60), st.just({"HAM": Decimal(2)}), st.just(Decimal(1)), st.sampled_from([Decimal(0),
    Decimal(1)]),
)  # fmt: skip
stale_feeds = st.dictionaries(
    st.sampled_from([("wms", "HAM"), ("erp", "BHX")]), st.decimals(0, 3, places=2), max_size=2
)


@st.composite
def saleable(draw: st.DrawFn) -> Saleable:
    if draw(st.booleans()):
        parts = draw(st.lists(st.tuples(st.integers(1, 5), stocks), min_size=1, max_size=4))
        return kit(*parts)
    stock = draw(stocks)
    pack = stock.base_unit == "C62" and draw(st.booleans())
    status = draw(st.sampled_from(["active", "active", "discontinued", "blocked"]))
    return plain(stock, "XBX" if pack else "", draw(st.integers(2, 50)) if pack else 1, status)


@settings(max_examples=400)
@given(saleable(), all_terms, stale_feeds)
def test_the_explanation_is_the_figure(item: Saleable, terms: Terms, stale: dict[tuple[str, str], Decimal]) -> None:
    found = count_promise(item, terms, stale, TODAY)
    why = explain_availability(item, terms, stale, NOW)
    assert (why.promise, why.backorder, why.promise_on, why.as_of, why.stale) == (
        found.quantity, found.backorder, found.promise_on, found.as_of, found.stale
    )  # fmt: skip
    # Every term adds up, and nothing is promised that is not there.
    for place in [*why.locations, *(place for part in why.components for place in part.locations)]:
        left = place.on_hand - place.quality_hold - place.damaged - place.reserved - place.safety - place.shrunk
        assert 0 <= place.available <= max(left, Decimal(0))
        assert left - place.available < 1
    assert 0 <= why.promise * item.unit_size <= max(why.available, Decimal(0))
    if item.is_kit:
        assert why.available <= sum(why.kits_at.values())
        for (per_kit, _), part in zip(item.parts, why.components, strict=True):
            assert why.available * per_kit <= part.available
    else:
        there = sum((place.available for place in why.locations), Decimal(0)) - why.safety_stock
        assert why.available == max(there, Decimal(0))
    assert (why.promise_on is None) == (why.backorder == 0)


@settings(max_examples=200)
@given(saleable(), all_terms)
def test_more_stock_never_makes_less_promised(item: Saleable, terms: Terms) -> None:
    per, stock = item.parts[0]
    if not stock.positions:
        return
    more = msgspec.structs.replace(stock.positions[0], on_hand=stock.positions[0].on_hand + 7)
    richer = msgspec.structs.replace(stock, positions=(more, *stock.positions[1:]))
    fuller = msgspec.structs.replace(item, parts=((per, richer), *item.parts[1:]))
    assert count_promise(fuller, terms, {}, TODAY).quantity >= count_promise(item, terms, {}, TODAY).quantity
