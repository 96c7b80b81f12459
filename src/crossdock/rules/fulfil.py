"""What follows from facts about an accepted order: shipments, short picks, payments, cancellations, deliveries.

Every function is pure: (order, progress, fact) -> Decision. Quantities are base units; a part's money is the
difference of two rounded running totals, so the parts add up to the whole to the cent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

import msgspec

from crossdock.model.codes import UNIT_DECIMALS, check_sscc
from crossdock.model.errors import Invalid, Refused
from crossdock.model.facts import CancellationRequested, EventDraft, FulfilmentShorted, OrderPaid, StepDraft
from crossdock.model.fulfilment import Package, PartLine, Shipment, ShipmentPart, ShippedLine
from crossdock.model.orders import LineProgress, LineTax, Order, OrderLine, OrderProgress, OrderState
from crossdock.model.values import Money, Quantity, part_amount
from crossdock.policy.plans import Plan
from crossdock.rules.decision import Decision, StepView, StockEffect, merge
from crossdock.rules.kits import ONE, kits_there, per_unit, spread
from crossdock.rules.plan import COMPENSATION, Routes, plan_compensation, plan_release, plan_shipment

LABEL_CHARACTERS_MAX: Final = 64
NOT_BEGUN = ("waiting", "ready")
ENDED = ("done", "cancelled", "failed")
SUPPLY_ROUNDS_MAX = 6
"""After so many rounds a warehouse that keeps coming short is left to a person."""


def decide_shipment(
    order: Order, progress: OrderProgress, shipment: Shipment, steps: Sequence[StepView], plan: Plan, routes: Routes,
) -> Decision:  # fmt: skip
    """Correlate a shipment to the order's lines and lay the steps that follow it.

    Raises Refused `shipment_unmatched` when goods left that the order does not (any longer) ask for: a person decides.
    A package whose SSCC is none does not stop it, for the goods have left.
    """
    if shipment.number in progress.shipments:
        return Decision(progress)
    by_line = {line.line: line for line in order.lines}
    lines = dict(progress.lines)
    part_lines = []
    effects = []
    for shipped in shipment.lines:
        for name, quantity in _correlate(order, lines, shipped, shipment.warehouse):
            line = by_line[name]
            part_lines.append(_part_line(line, lines[name], progress.taxes.get(name), quantity))
            lines[name] = _note_shipped(order, line, lines[name], shipment.warehouse, quantity)
            effects += spread("ship", line, shipment.warehouse, quantity)
    packages, wrong = _check_packages(shipment.packages)
    currency = order.currency
    net = sum((line.net for line in part_lines), Decimal(0))
    tax = sum((line.tax for line in part_lines), Decimal(0))
    everything_left = all(line.open == 0 and line.backordered == 0 for line in lines.values())
    part = ShipmentPart(
        shipment=shipment.number, warehouse=shipment.warehouse, shipped_at=shipment.shipped_at, lines=tuple(part_lines),
        net=Money(net, currency), tax=Money(tax, currency), packages=packages, final=everything_left,
    )  # fmt: skip
    after = msgspec.structs.replace(
        progress, lines=lines, shipments=(*progress.shipments, shipment.number),
        state="shipped" if everything_left else "shipping",
        milestones={**progress.milestones, f"shipped:{shipment.number}": shipment.shipped_at.isoformat()},
    )  # fmt: skip
    events = [EventDraft("ShipmentConfirmed", {
        "shipment": shipment.number, "warehouse": shipment.warehouse, "final": everything_left,
        "lines": [{"line": line.line, "sku": line.sku, "quantity": str(line.quantity.value)} for line in part_lines],
    })]  # fmt: skip
    if wrong:
        events.append(EventDraft("PackageLabelsWrong", {
            "shipment": shipment.number, "warehouse": shipment.warehouse, "labels": ", ".join(wrong),
            "reason": "; ".join(dict.fromkeys(wrong.values())),
            "next_action": "Have the warehouse correct its labels: they cannot be booked in by these.",
        }))  # fmt: skip
    standing = [view for view in steps if not _is_undone(view, steps)]
    new_steps = plan_shipment(order, part, plan, routes, standing)
    return Decision(after, tuple(events), new_steps, stock=tuple(effects), part=part)


def _check_packages(packages: Sequence[Package]) -> tuple[tuple[Package, ...], dict[str, str]]:
    """The packages with no SSCC that is none, and label -> what is wrong with it."""
    found = []
    wrong = {}
    for package in packages:
        try:
            found.append(
                package if not package.sscc else msgspec.structs.replace(package, sscc=check_sscc(package.sscc))
            )
        except Invalid as error:
            label = package.sscc[:LABEL_CHARACTERS_MAX]
            found.append(msgspec.structs.replace(package, sscc="", label=label))
            wrong[label] = error.message
    return tuple(found), wrong


def decide_short(
    order: Order, progress: OrderProgress, short: FulfilmentShorted, steps: Sequence[StepView] = ()
) -> Decision:
    """What a warehouse cannot pick waits for supply: it leaves the reservation and stays owed to the customer. Of an
    order that was called off meanwhile it is cancelled.

    A warehouse that misses a component of kits cannot make as many kits: all of their components wait. The line that it
    names comes first, then those that it was to ship; what that line does not have open is missing from others of the
    SKU. A line's short that is told again, in a message of another number, counts once.
    """
    told = f"{short.fulfilment_number} {short.line} {short.sku} {short.quantity} {short.at.isoformat()}"
    if short.line and told in progress.shorts:
        return Decision(progress)
    wanted = Decimal(short.quantity)
    lines = dict(progress.lines)
    effects: list[StockEffect] = []
    credit = Decimal(0)
    called_off = "cancellation_requested" in progress.milestones and progress.state not in ("held", "cancelled")

    def comes_later(line: OrderLine) -> tuple[bool, bool]:
        return line.line != short.line, _still_at(line, lines[line.line], short.warehouse) <= 0

    for line in sorted(order.lines, key=comes_later):
        each = per_unit(line, short.sku)
        if not each or wanted <= 0:
            continue
        missing = wanted if each == ONE else (wanted / each).to_integral_value(ROUND_CEILING)
        quantity = min(missing, lines[line.line].open)
        if quantity > 0:
            now = lines[line.line]
            supplied = {**now.supplied, short.warehouse: now.supplied.get(short.warehouse, Decimal(0)) - quantity}
            effects += spread("release", line, short.warehouse, quantity)
            if called_off:
                already = now.shipped + now.cancelled
                credit += part_amount(line.amount.amount, line.quantity.value, already, quantity, order.currency)
                lines[line.line] = msgspec.structs.replace(now, cancelled=now.cancelled + quantity, supplied=supplied)
            else:
                effects += spread("reserve", line, "", quantity)
                owed = now.backordered + quantity
                lines[line.line] = msgspec.structs.replace(now, backordered=owed, supplied=supplied)
            wanted -= quantity * each
    body = {"warehouse": short.warehouse, "sku": short.sku, "quantity": short.quantity, "reason": short.reason}
    after = msgspec.structs.replace(progress, lines=lines, shorts=(*progress.shorts, told))
    decision = Decision(
        after, (EventDraft("PickShorted", body),), stock=tuple(effects),
        credit_released=credit if uses_credit(order) else Decimal(0),
    )  # fmt: skip
    return stop_if_nothing_is_left(decision, steps) if called_off else decision


def decide_supply(
    order: Order, progress: OrderProgress, available: Mapping[tuple[str, str], Decimal], preference: Sequence[str],
    steps: Sequence[StepView], plan: Plan, routes: Routes,
) -> Decision:  # fmt: skip
    """Give waiting quantities what has become available, and release it to the warehouses as a round of its own."""
    lines = dict(progress.lines)
    effects: list[StockEffect] = []
    left = dict(available)
    taken: dict[str, list[tuple[OrderLine, Decimal]]] = {}
    for line in order.lines:
        for location in preference:
            now = lines[line.line]
            quantity = min(now.backordered, kits_there(line, left, location))
            if UNIT_DECIMALS[line.quantity.unit] == 0:
                quantity = quantity.to_integral_value(ROUND_FLOOR)
            if quantity <= 0 or _rounds(steps, location) >= SUPPLY_ROUNDS_MAX:
                continue
            supplied = {**now.supplied, location: now.supplied.get(location, Decimal(0)) + quantity}
            lines[line.line] = msgspec.structs.replace(now, backordered=now.backordered - quantity, supplied=supplied)
            taken.setdefault(location, []).append((line, quantity))
            effects += spread("release", line, "", quantity)
            for effect in spread("reserve", line, location, quantity):
                left[effect.sku, location] -= effect.quantity
                effects.append(effect)
    if not effects:
        return Decision(progress)
    new_steps: list[StepDraft] = []
    for location, parts in sorted(taken.items()):
        wanted = {line.line: quantity for line, quantity in parts}
        suffix = f"#{_rounds(steps, location) + 1}"
        new_steps.extend(plan_release(order, wanted, location, plan, routes, steps, suffix))
    event = EventDraft("SupplyAllocated", {"warehouses": sorted(taken)})
    return Decision(msgspec.structs.replace(progress, lines=lines), (event,), tuple(new_steps), stock=tuple(effects))


def _rounds(steps: Sequence[StepView], location: str) -> int:
    """The number of the last round released to a warehouse; 1 where none was: further rounds begin with #2."""
    prefix = f"wms.release:{location}"
    numbers = [view.name.partition("#")[2] or "1" for view in steps if view.name.partition("#")[0] == prefix]
    return max((int(number) for number in numbers), default=1)


def decide_paid(progress: OrderProgress, paid: OrderPaid) -> Decision:
    if progress.paid:
        return Decision(progress)
    milestones = {**progress.milestones, "paid": paid.paid_at.isoformat()}
    after = msgspec.structs.replace(progress, paid=True, milestones=milestones)
    return Decision(after, (EventDraft("PaymentReported", {"reference": paid.reference}),))


def decide_cancellation(
    order: Order, progress: OrderProgress, steps: Sequence[StepView], request: CancellationRequested,
) -> Decision:  # fmt: skip
    """Cancel what has not been handed to a warehouse, undo what was done, and ask warehouses for the rest.

    Raises Refused `cancellation_too_late` when everything has left.
    """
    if progress.state in ("cancelled", "refused"):
        return Decision(progress)
    if progress.state in ("shipped", "completed"):
        raise Refused(
            "cancellation_too_late", "Everything has already left the warehouse.", next_action="Offer a return instead."
        )
    # A release that is under way counts as handed over: its end is seen by decide_done, which then undoes it.
    handed_over = {
        _warehouse_of(view.name) for view in steps
        if view.operation == "wms.release" and view.state not in ("cancelled", "failed", *NOT_BEGUN)
    }  # fmt: skip
    dropped = tuple(view.name for view in steps if view.state in NOT_BEGUN)
    after = msgspec.structs.replace(
        progress, milestones={**progress.milestones, "cancellation_requested": request.requested_at.isoformat()}
    )
    if progress.shipments or handed_over:
        # Part of it has left, or may be leaving: the sale, the payment and the channel's order stand until every
        # warehouse has said what it could call back.
        undo = tuple(step for step in plan_compensation(steps, request.reason) if step.operation == "wms.cancel")
        # A further round to a warehouse that has goods of it already goes out and is called back: what was given to
        # that round is known by nothing else, and would stay reserved.
        dropped = tuple(
            name for name in dropped if name.startswith("wms.release") and _warehouse_of(name) not in handed_over
        )
    else:
        undo = plan_compensation(steps, request.reason)
    event = EventDraft("CancellationRequested", {"reason": request.reason})
    closed = cancel_lines(order, after, handed_over)
    if progress.state == "held":
        # A held order reserves nothing and uses no credit.
        closed = msgspec.structs.replace(closed, stock=(), credit_released=Decimal(0))
    state: OrderState = "cancelled" if not handed_over and not progress.shipments else progress.state
    hold = None if state == "cancelled" else closed.progress.hold
    decision = msgspec.structs.replace(
        closed, progress=msgspec.structs.replace(closed.progress, state=state, hold=hold),
        events=(event, *closed.events), steps=undo, cancel_steps=dropped,
    )  # fmt: skip
    asking = undo or any(view.operation == "wms.cancel" and view.state not in ENDED for view in steps)
    # Warehouses that were all asked before say nothing more that could end it.
    return decision if asking or state in ("cancelled", "held") else stop_if_nothing_is_left(decision, steps)


def stop_if_nothing_is_left(decision: Decision, steps: Sequence[StepView]) -> Decision:
    """An order that was called off, of which nothing is open any more: where nothing left, it is undone everywhere."""
    lines = decision.progress.lines.values()
    if any(line.open > 0 or line.backordered > 0 for line in lines):
        return decision
    if any(line.shipped for line in lines):
        return msgspec.structs.replace(decision, progress=msgspec.structs.replace(decision.progress, state="shipped"))
    dropped = tuple(view.name for view in steps if view.state in NOT_BEGUN and view.operation != "wms.cancel")
    known = {view.name for view in steps}
    undo = tuple(draft for draft in plan_compensation(steps, "The order was cancelled.") if draft.name not in known)
    stopped = Decision(
        msgspec.structs.replace(decision.progress, state="cancelled"), steps=undo, cancel_steps=dropped
    )
    return merge(decision, stopped)


def _warehouse_of(release: str) -> str:
    """The warehouse that a release goes to, by the step's name."""
    return release.removeprefix("wms.release:").split("#")[0]


def cancel_lines(order: Order, progress: OrderProgress, except_at: set[str] | frozenset[str]) -> Decision:
    """Cancel every open or waiting quantity but what is with the warehouses `except_at`."""
    lines = dict(progress.lines)
    effects: list[StockEffect] = []
    credit = Decimal(0)
    for line in order.lines:
        now = lines[line.line]
        given = given_at(line, now)
        kept = sum((quantity for location, quantity in given.items() if location in except_at), Decimal(0))
        kept = min(max(kept - now.shipped, Decimal(0)), now.open)
        quantity = now.open - kept
        if quantity > 0:
            for location, held in given.items():
                if location not in except_at and held > 0:
                    effects += spread("release", line, location, held)
        if now.backordered:
            effects += spread("release", line, "", now.backordered)
        gone = quantity + now.backordered
        if gone > 0:
            already = now.shipped + now.cancelled
            credit += part_amount(line.amount.amount, line.quantity.value, already, gone, order.currency)
            lines[line.line] = msgspec.structs.replace(now, backordered=Decimal(0), cancelled=now.cancelled + gone)
    after = msgspec.structs.replace(progress, lines=lines)
    events = (EventDraft("LinesCancelled", {}),) if effects else ()
    return Decision(after, events, stock=tuple(effects), credit_released=credit if uses_credit(order) else Decimal(0))


def given_at(line: OrderLine, now: LineProgress) -> dict[str, Decimal]:
    """Location -> base units that the line was given there: at its acceptance, and by rounds of supply since."""
    given = dict(now.supplied)
    for allocation in line.allocations:
        given[allocation.location] = given.get(allocation.location, Decimal(0)) + allocation.quantity
    return given


def _still_at(line: OrderLine, now: LineProgress, location: str) -> Decimal:
    """What the line was given at a location and has not left there, as far as that is kept."""
    return given_at(line, now).get(location, Decimal(0)) - now.left.get(location, Decimal(0))


def _note_shipped(order: Order, line: OrderLine, now: LineProgress, warehouse: str, quantity: Decimal) -> LineProgress:
    left = now.left
    if any(other.sku == line.sku and other.line != line.line for other in order.lines):
        left = {**left, warehouse: left.get(warehouse, Decimal(0)) + quantity}
    return msgspec.structs.replace(now, shipped=now.shipped + quantity, left=left)


def decide_delivered(progress: OrderProgress, tracking: str, delivered_at: datetime) -> Decision:
    key = f"delivered:{tracking}"
    if key in progress.milestones:
        return Decision(progress)
    after = msgspec.structs.replace(progress, milestones={**progress.milestones, key: delivered_at.isoformat()})
    return Decision(after, (EventDraft("DeliveryReported", {"tracking": tracking}),), delivered=tracking)


def uses_credit(order: Order) -> bool:
    return order.payment.method == "terms" and bool(order.customer)


def _is_undone(view: StepView, steps: Sequence[StepView]) -> bool:
    undo = COMPENSATION.get(view.operation)
    name = f"{undo}{view.name.removeprefix(view.operation)}"
    return undo is not None and any(other.name == name for other in steps)


def _correlate(
    order: Order, lines: Mapping[str, LineProgress], shipped: ShippedLine, warehouse: str
) -> list[tuple[str, Decimal]]:
    """Which lines a shipped quantity belongs to: the one named, then open ones of the SKU, each up to what `warehouse`
    was given for it, by the order or by a later round, and has not shipped yet; then whatever is open, in that order.

    What an earlier shipment without line numbers was counted for may be another line than the warehouse meant: goods
    that the order asks for are never turned away for that, and what is left there for its twin is the twin's.
    """
    candidates = [line for line in order.lines if line.sku == shipped.sku]
    candidates.sort(key=lambda line: line.line != shipped.line)
    rest = shipped.quantity.value
    found: dict[str, Decimal] = {}
    for is_last_look in (False, True):
        for line in candidates:
            if shipped.quantity.unit != line.quantity.unit:
                message = (
                    f"The warehouse shipped {shipped.sku} in {shipped.quantity.unit}, it is kept in "
                    f"{line.quantity.unit}."
                )
                raise Refused("shipment_unit", message, next_action="Let the warehouse report base units.")
            most = lines[line.line].open - found.get(line.line, Decimal(0))
            if not is_last_look:
                most = min(most, _still_at(line, lines[line.line], warehouse) - found.get(line.line, Decimal(0)))
            quantity = min(rest, most)
            if quantity > 0:
                found[line.line] = found.get(line.line, Decimal(0)) + quantity
                rest -= quantity
    if rest > 0:
        message = (
            f"{rest} {shipped.quantity.unit} of {shipped.sku} left the warehouse that this order does not ask for."
        )
        action = "Ask the warehouse what was shipped; correct it there or add the goods to an order, then replay."
        raise Refused("shipment_unmatched", message, field=shipped.sku, next_action=action)
    return list(found.items())


def _part_line(line: OrderLine, before: LineProgress, tax: LineTax | None, quantity: Decimal) -> PartLine:
    whole, currency = line.quantity.value, line.amount.currency
    taken = before.shipped + before.cancelled
    net = part_amount(line.amount.amount, whole, taken, quantity, currency)
    tax_part = part_amount(tax.amount, whole, taken, quantity, currency) if tax else Decimal(0)
    unit = Quantity(quantity, line.quantity.unit)
    return PartLine(line.line, line.sku, unit, net, tax_part, tax.code if tax else "")
