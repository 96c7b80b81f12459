"""Holds of carts: may this stock be set aside? All lines whole, or nothing with every line's shortage.

And what it means that an order refers to one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.model.documents import Product
from crossdock.model.errors import Invalid
from crossdock.model.orders import OrderPlaced, PlacedLine, Reason
from crossdock.model.stock import HeldLine
from crossdock.rules.accept import decide_acceptance
from crossdock.rules.book import Acceptance, Book, Reference
from crossdock.rules.kits import check_components
from crossdock.rules.reasons import reason, reason_of
from crossdock.rules.sourcing import Need, choose_sources
from crossdock.rules.units import is_indivisible, to_base

_NOTHING: Final = Decimal(0)


class HoldDecision(msgspec.Struct, frozen=True):
    """`lines` are what is held; `reservations` (line, location, SKU, base units), a kit's by component. With `reasons`
    nothing is held: `short` says that all of them are shortages, so that asking for less can help."""

    lines: tuple[HeldLine, ...] = ()
    reservations: tuple[tuple[str, str, str, Decimal], ...] = ()
    reasons: tuple[Reason, ...] = ()
    short: bool = False


def decide_hold(
    lines: Sequence[PlacedLine], reference: Reference, available: Mapping[tuple[str, str], Decimal],
    preference: Sequence[str],
) -> HoldDecision:  # fmt: skip
    """Hold the lines at the locations of `preference`, best first."""
    reasons: list[Reason] = []
    needs: list[Need] = []
    products: list[Product] = []
    seen: set[str] = set()
    for index, line in enumerate(lines):
        if line.line in seen or not line.line:
            code, text = ("line_duplicate", "twice") if line.line else ("line_missing", "without a name")
            reasons.append(reason(code, f"A line is there {text}.", line=line.line, field=f"lines[{index}].line"))
        seen.add(line.line)
        try:
            product = find_product(line.sku, line.gtin, reference)
            quantity = to_base(line.quantity, reference.pack_sizes(product), product)
            components = check_components(product, reference.products)
        except Invalid as error:
            reasons.append(reason_of(error, line=line.line))
            continue
        products.append(product)
        needs.append(Need(line.line, product.sku, quantity, is_indivisible(product.base_unit), components))
    if reasons:
        return HoldDecision(reasons=tuple(reasons))
    sources = choose_sources(needs, available, preference, "split")
    for need, product, source in zip(needs, products, sources, strict=True):
        if source.backordered:
            there = (need.quantity - source.backordered).normalize()
            text = f"{there:f} of {need.quantity.normalize():f} {product.base_unit} of {need.sku} are there."
            reasons.append(reason("stock_short", text, line=need.line, field="quantity"))
    if reasons:
        return HoldDecision(reasons=tuple(reasons), short=True)
    held = []
    reservations = []
    for line, need, source in zip(lines, needs, sources, strict=True):
        held.append(HeldLine(need.sku, line.quantity, {
            item.location: item.quantity for item in source.allocations
        }, need.line))  # fmt: skip
        for item in source.allocations:
            parts = [(part.sku, part.quantity) for part in need.components] or [(need.sku, Decimal(1))]
            reservations += [(need.line, item.location, sku, item.quantity * each) for sku, each in parts]
    return HoldDecision(tuple(held), tuple(reservations))


class SetAside(msgspec.Struct, frozen=True):
    """A hold that an order refers to; `held` (SKU, location) -> base units, `order_id` which order has it."""

    hold_id: int
    channel: str
    state: str
    held: Mapping[tuple[str, str], Decimal]
    order_id: int | None = None

    def redeemed_by(self, order_id: int) -> SetAside:
        return SetAside(self.hold_id, self.channel, "committed", {}, order_id)


def decide_redeeming(
    placed: OrderPlaced, set_aside: SetAside | None, *, channel: str, order_id: int, book: Book, **given: Any
) -> tuple[Acceptance, bool]:
    """Decide an order whose cart may hold stock; the second says that the hold is redeemed by it.

    What the hold has set aside counts for this order only. An order that is held or refused leaves it where it is, and
    one whose hold is over is decided as any other.
    """
    if not placed.reservation:
        return decide_acceptance(placed, channel=channel, order_id=order_id, book=book, **given), False
    against: tuple[Reason, ...] = ()
    if set_aside is None or set_aside.channel != channel:
        against = (reason("reservation_unknown", "There is no such reservation.", field="reservation"),)
        set_aside = SetAside(0, channel, "unknown", {})
    elif set_aside.state == "committed" and set_aside.order_id != order_id:
        against = (reason("reservation_used", "Another order has this reservation.", field="reservation"),)
    book.lend(set_aside.held)
    acceptance = decide_acceptance(placed, channel=channel, order_id=order_id, book=book, against=against, **given)
    if acceptance.progress is not None and acceptance.progress.state == "accepted":
        return acceptance, set_aside.state == "reserved"
    book.withdraw(set_aside.held)
    return acceptance, False


def find_product(sku: str, gtin: str, reference: Reference) -> Product:
    """Raises Invalid for what is not known or not sold."""
    if gtin and not sku:
        sku = reference.codes.get(gtin, ("", ""))[0]
        if not sku:
            raise Invalid("gtin_unknown", "No product has this GTIN.", field="gtin")
    product = reference.products.get(sku)
    if product is None:
        raise Invalid("sku_unknown" if sku else "product_missing", "There is no such product.", field="sku")
    if product.status == "blocked":
        raise Invalid("product_blocked", f"{sku} is blocked for sale.", field="sku")
    return product
