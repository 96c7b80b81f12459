"""Kits: sold as one, held and shipped as their components, whatever happens to the order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.model.documents import Component, Product, check_product
from crossdock.model.errors import Invalid, Refused
from crossdock.model.facts import CancellationRequested, FulfilmentShorted
from crossdock.model.fulfilment import Shipment, ShippedLine
from crossdock.model.values import Quantity
from crossdock.policy.stock import ChannelStock, StockPolicy
from crossdock.rules.accept import Acceptance, Book, decide_acceptance
from crossdock.rules.availability import Position, Saleable, Stocked, Terms, count_promise
from crossdock.rules.book import Reference
from crossdock.rules.decision import StepView, StockEffect, settled_lines
from crossdock.rules.fulfil import decide_cancellation, decide_shipment, decide_short, decide_supply
from crossdock.rules.plan import fulfilment_number
from crossdock.rules.sourcing import Need, choose_sources
from tests.unit.rules.making import NOW, POLICY, PRODUCTS, REFERENCE, make_order, product
from tests.unit.rules.test_fulfil_laws import PLAN, ROUTES, is_conserved

SET = msgspec.structs.replace(
    product("SET", "C62", "30.00", ("XBX", 4)),
    components=(Component("BOLT", Decimal(3)), Component("PLATE", Decimal(1)), Component("CABLE", Decimal("0.5"))),
)
PLACES = ("HAM", "BHX")
Stock = dict[tuple[str, str], Decimal]


def with_kits(*kits: Product) -> Reference:
    return Reference({**PRODUCTS, **{kit.sku: kit for kit in kits}}, {}, REFERENCE.agreements, REFERENCE.customers)


def accept(lines: str, available: Stock, kit: Product = SET, stock: StockPolicy | None = None) -> Acceptance:
    return decide_acceptance(
        make_order(lines, payment="card"), channel="portal", order_id=1, number="CD00000001", accepted_at=NOW,
        reference=with_kits(kit), book=Book({}, dict(available)), policy=replace(POLICY, stock=stock or StockPolicy()),
    )  # fmt: skip


def shelf(**there: int) -> Stock:
    """`HAM_BOLT=9`."""
    return {(name.partition("_")[2], name.partition("_")[0]): Decimal(quantity) for name, quantity in there.items()}


def test_a_kit_holds_its_components_and_keeps_their_list() -> None:
    found = accept("SET 1 XBX", shelf(HAM_BOLT=12, HAM_PLATE=4, HAM_CABLE=2))
    assert sorted((location, sku, str(quantity)) for _, location, sku, quantity in found.reservations) == [
        ("HAM", "BOLT", "12"), ("HAM", "CABLE", "2.0"), ("HAM", "PLATE", "4"),
    ]  # fmt: skip
    assert found.order is not None
    assert found.order.lines[0].components == SET.components
    assert [(item.location, item.quantity) for item in found.order.lines[0].allocations] == [("HAM", Decimal(4))]


def test_components_sold_alone_and_in_a_kit_share_what_is_there() -> None:
    found = accept("BOLT 4 C62, SET 4 C62", shelf(HAM_BOLT=12, HAM_PLATE=9, HAM_CABLE=9))
    assert found.order is not None
    assert [line.backordered for line in found.order.lines] == [0, 2]


def test_a_kit_is_served_whole_from_one_place_where_that_is_possible() -> None:
    there = shelf(HAM_BOLT=6, HAM_PLATE=2, HAM_CABLE=9, BHX_BOLT=9, BHX_PLATE=3, BHX_CABLE=9)
    (source,) = choose_sources([Need("1", "SET", Decimal(3), True, SET.components)], there, PLACES, "split")
    assert [(item.location, item.quantity) for item in source.allocations] == [("BHX", Decimal(3))]
    (source,) = choose_sources([Need("1", "SET", Decimal(5), True, SET.components)], there, PLACES, "split")
    assert [(item.location, item.quantity) for item in source.allocations] == [("HAM", Decimal(2)), ("BHX", Decimal(3))]


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ((("NIX", "1"),), "kit_component_unknown"),
        ((("SET", "1"),), "kit_nested"),
        ((("BOLT", "0.5"),), "kit_fraction"),
    ],
)  # fmt: skip
def test_kits_that_cannot_be_made_are_refused(parts: tuple[tuple[str, str], ...], code: str) -> None:
    kit = msgspec.structs.replace(
        product("BOX", "C62", "9.00"), components=tuple(Component(sku, Decimal(each)) for sku, each in parts)
    )
    found = decide_acceptance(
        make_order("BOX 1 C62", payment="card"), channel="portal", order_id=1, number="CD00000001", accepted_at=NOW,
        reference=with_kits(kit, SET), book=Book({}, {}), policy=POLICY,
    )  # fmt: skip
    assert [reason.code for reason in found.reasons] == [code]
    assert found.reasons[0].owner == "product data"


@pytest.mark.parametrize("parts", [(("BOLT", "0"),), (("BOLT", "1"), ("BOLT", "1")), (("BOX", "1"),)])
def test_a_published_kit_is_checked(parts: tuple[tuple[str, str], ...]) -> None:
    kit = msgspec.structs.replace(
        product("BOX", "C62", "9.00"), components=tuple(Component(sku, Decimal(each)) for sku, each in parts)
    )
    with pytest.raises(Invalid):
        check_product(kit)


def test_a_channel_takes_only_from_its_own_locations() -> None:
    """And what it is not to promise (share, buffer) an order that arrived may still take."""
    terms = ChannelStock(locations=("BHX",), share_percent=10, buffer=Decimal(50))
    found = accept("BOLT 9 C62", shelf(HAM_BOLT=99, BHX_BOLT=7), stock=StockPolicy(channels={"portal": terms}))
    assert [(location, quantity) for _, location, _, quantity in found.reservations] == [
        ("BHX", Decimal(7)), ("", Decimal(2)),
    ]  # fmt: skip


shelves = st.dictionaries(
    st.tuples(st.sampled_from(["BOLT", "PLATE", "CABLE"]), st.sampled_from(PLACES)), st.integers(0, 30).map(Decimal)
)


@given(shelves)
def test_what_is_promised_of_a_kit_can_be_ordered_and_not_one_more(there: Stock) -> None:
    parts = tuple(
        (part.quantity, Stocked(part.sku, PRODUCTS[part.sku].base_unit, tuple(
            Position(place, "wms", NOW, left, left, Decimal(0), Decimal(0), Decimal(0))
            for (sku, place), left in there.items() if sku == part.sku
        ))) for part in SET.components
    )  # fmt: skip
    promised = count_promise(Saleable("SET", "C62", "C62", parts, is_kit=True), Terms("portal", None), {}, NOW.date())
    for quantity, waiting in ((promised.quantity, 0), (promised.quantity + 1, 1)):
        if quantity:
            found = accept(f"SET {quantity} C62", there)
            assert found.order is not None
            assert found.order.lines[0].backordered == waiting


class Shelves:
    """The ledger in a few lines: what is held per line, place and SKU, and what has left."""

    def __init__(self, reservations: tuple[tuple[str, str, str, Decimal], ...]) -> None:
        self.held: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
        self.left: dict[str, Decimal] = defaultdict(Decimal)
        for line, place, sku, quantity in reservations:
            self.held[line, place, sku] += quantity

    def take(self, effects: tuple[StockEffect, ...]) -> None:
        for kind in ("ship", "release", "reserve"):
            for effect in effects:
                key = (effect.line, effect.location, effect.sku)
                if effect.kind != kind:
                    continue
                if kind == "reserve":
                    self.held[key] += effect.quantity
                    continue
                if kind == "ship":
                    self.left[effect.sku] += effect.quantity
                self.held[key] -= min(effect.quantity, self.held[key])

    def settle(self, lines: list[str]) -> None:
        for key in self.held:
            if key[0] in lines:
                self.held[key] = Decimal(0)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_components_are_never_lost_whatever_happens(data: st.DataObject) -> None:
    there = shelf(HAM_BOLT=30, HAM_PLATE=9, HAM_CABLE=9, BHX_BOLT=12, BHX_PLATE=4, BHX_CABLE=4)
    found = accept(data.draw(st.sampled_from(["SET 12 C62, BOLT 3 C62", "SET 3 XBX", "SET 20 C62"])), there)
    order, progress = found.order, found.progress
    assert order is not None
    assert progress is not None
    ledger = Shelves(found.reservations)
    released: list[StepView] = [
        StepView(f"wms.release:{place}", "wms", "wms.release", "done") for place in PLACES
    ]  # fmt: skip
    for index in range(data.draw(st.integers(0, 8))):
        what = data.draw(st.sampled_from(["ship", "short", "short part", "supply", "cancel"]))
        place = data.draw(st.sampled_from(PLACES))
        quantity = data.draw(st.integers(1, 9))
        number = fulfilment_number(order.number, place)
        try:
            if what == "ship":
                shipped = (ShippedLine("SET", Quantity(Decimal(quantity), "C62"), ""),)
                shipment = Shipment(f"SH-{index}", number, place, NOW, shipped)
                decision = decide_shipment(order, progress, shipment, (), PLAN, ROUTES)
            elif what == "supply":
                more = {key: Decimal(quantity) for key in there}
                decision = decide_supply(order, progress, more, PLACES, (), PLAN, ROUTES)
            elif what == "cancel":
                steps = released if data.draw(st.booleans()) else []
                decision = decide_cancellation(order, progress, steps, CancellationRequested("P-1", NOW))
            else:
                sku = "SET" if what == "short" else "PLATE"
                decision = decide_short(order, progress, FulfilmentShorted(number, place, sku, str(quantity), NOW))
        except Refused:
            continue
        progress = decision.progress
        ledger.take(decision.stock)
        ledger.settle(settled_lines(decision))
        assert is_conserved(progress)
    for part in SET.components:
        kits = sum((progress.lines[line.line].shipped for line in order.lines if line.sku == "SET"), Decimal(0))
        assert ledger.left[part.sku] == kits * part.quantity
    if all(line.open == 0 and line.backordered == 0 for line in progress.lines.values()):
        assert not any(ledger.held.values()), "held for ever"
