"""The worked examples of docs/availability.md are what `crossdock stock explain` prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from crossdock.cli.explanation import explain_lines
from crossdock.ledger.inventory import Holder, Ordered
from crossdock.rules.availability import Inbound, Position, Saleable, StaleFeeds, Stocked, Terms, explain_availability

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "availability.md"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def place(location: str, source: str, minutes: int, reported: int, on_hand: int, held: int, reserved: int) -> Position:
    at = NOW - timedelta(minutes=minutes)
    figures = [Decimal(figure) for figure in (reported, on_hand, held, 0, reserved)]
    return Position(location, source, at, *figures)


BOLT = Saleable("BOLT", "C62", "XBX", ((Decimal(1), Stocked(
    "BOLT", "C62", (place("HAM", "wms", 4, 900, 880, 20, 120), place("BHX", "erp", 95, 400, 400, 0, 0)),
    Decimal(50), Decimal(480), (Inbound("HAM", Decimal(1000), date(2026, 3, 6)),), Decimal(200),
)),), Decimal(100))  # fmt: skip
SHOP = Terms("shop", None, 80, Decimal(25), None, Decimal(10), 30, {"HAM": Decimal(10)})
STALE: StaleFeeds = {("erp", "BHX"): Decimal("0.0625")}
SET = Saleable("SET", "C62", "C62", (
    (Decimal(3), Stocked("BOLT", "C62", (place("HAM", "wms", 4, 14, 14, 0, 2), place("BHX", "wms", 4, 4, 4, 0, 0)))),
    (Decimal(1), Stocked("PLATE", "C62", (place("HAM", "wms", 4, 9, 9, 0, 0),))),
), is_kit=True)  # fmt: skip
HOLDERS = (
    Holder("reserved", "RS00000031", "shop", "1", "HAM", Decimal(20), "reserved", NOW + timedelta(minutes=9)),
    Holder("committed", "CD00000030", "portal", "1", "HAM", Decimal(100), "accepted"),
    Holder("waiting", "CD00000029", "portal", "2", "", Decimal(200), "accepted"),
)  # fmt: skip


ORDERED = (Ordered("4711", "HAM", Decimal(1000), date(2026, 3, 6), "erp", NOW),)


@pytest.mark.parametrize(
    ("item", "terms", "stale", "holders", "ordered"),
    [(BOLT, SHOP, STALE, HOLDERS, ORDERED), (SET, Terms("portal", None), {}, (), ())],
)
def test_the_worked_examples_are_what_is_printed(
    item: Saleable, terms: Terms, stale: StaleFeeds, holders: Sequence[Holder], ordered: Sequence[Ordered]
) -> None:
    printed = "\n".join(explain_lines(explain_availability(item, terms, stale, NOW), holders, ordered))
    assert printed in DOCUMENT.read_text(encoding="utf-8"), printed
