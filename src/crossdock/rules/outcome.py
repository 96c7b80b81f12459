"""What follows when a step of an order has ended: done, or finally refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from crossdock.model.errors import CrossdockError
from crossdock.model.facts import EventDraft
from crossdock.model.fulfilment import Invoice, Payment, ShipmentPart
from crossdock.model.orders import (
    Hold,
    LineProgress,
    LineTax,
    Order,
    OrderLine,
    OrderProgress,
    OrderState,
    Reason,
)
from crossdock.model.values import Money, part_amount
from crossdock.policy.plans import Plan
from crossdock.rules.decision import Decision, StepView, StockEffect, merge
from crossdock.rules.fulfil import NOT_BEGUN, cancel_lines, given_at, stop_if_nothing_is_left, uses_credit
from crossdock.rules.kits import spread
from crossdock.rules.plan import plan_closing, plan_compensation, tell_channel

# Operation -> the event that says what happened in the business.
EVENT_TYPES = {
    "tax.quote": "TaxQuoted", "tax.commit": "TaxCommitted", "tax.void": "TaxVoided",
    "payment.authorise": "PaymentAuthorised", "payment.capture": "PaymentCaptured", "payment.void": "PaymentVoided",
    "payment.refund": "PaymentRefunded", "erp.place_order": "ErpOrderPlaced", "erp.ship": "InvoicePosted",
    "erp.payment": "InvoicePaid", "erp.cancel_order": "ErpOrderCancelled",
    "wms.release": "FulfilmentReleased", "wms.cancel": "FulfilmentCancelled",
    "channel.acknowledge": "ChannelAcknowledged", "channel.ship": "ShipmentPublished",
    "channel.cancel": "ChannelCancelled", "channel.change": "ChannelChanged",
    "channel.status": "ChannelInformed", "carrier.track": "TrackingRegistered",
}  # fmt: skip

# Only the partner's own answer says how these ended; what follows needs it.
ANSWER_NEEDED = frozenset({"tax.quote", "payment.authorise", "wms.cancel"})

# Only these look at the order or its steps when they end well; for all others the progress is enough.
NEEDS_ORDER = frozenset({"erp.ship", "payment.authorise", "payment.capture", "wms.cancel"})


def decide_done(
    order: Order | None, progress: OrderProgress, step: StepView, payload: bytes, result: bytes, external_id: str,
    steps: Sequence[StepView], now: datetime,
) -> Decision:  # fmt: skip
    """Record that a step took effect. `order` may be None unless its operation is in NEEDS_ORDER.

    A step that ends well after its order was cancelled or held is undone.
    """
    milestones = {**progress.milestones, step.name: now.isoformat()}
    numbers = {**progress.numbers, step.name: external_id} if external_id else progress.numbers
    taxes = progress.taxes
    if step.operation == "tax.quote":
        taxes = msgspec.json.decode(result, type=dict[str, dict[str, LineTax]]).get("taxes", {})
    after = msgspec.structs.replace(progress, milestones=milestones, numbers=numbers, taxes=taxes)
    body = {"step": step.name, "number": external_id} if external_id else {"step": step.name}
    event = EventDraft(EVENT_TYPES.get(step.operation, "StepDone"), body)
    decision = Decision(after, (event,))
    if order is not None and step.operation == "erp.ship":
        decision = _invoiced(order, decision, payload, result, now)
    elif order is not None and step.operation in ("payment.authorise", "payment.capture"):
        decision = _paid(order, decision, step, payload, result, external_id)
    elif order is not None and step.operation == "wms.cancel":
        decision = _called_back(order, decision, step, result, steps)
    called_off = "cancellation_requested" in progress.milestones and progress.state not in ("cancelled", "held")
    if called_off and step.operation == "wms.release":
        # The cancellation met this release under way: now that it is there, it is called back.
        undo = plan_compensation((step,), "The order was cancelled.")
        decision = msgspec.structs.replace(decision, steps=(*decision.steps, *undo))
    if progress.state in ("cancelled", "held") and ":" not in step.name.partition("wms.release")[0]:
        undo = plan_compensation([view for view in steps if view.name == step.name], "The order was stopped.")
        known = {view.name for view in steps}
        fresh = tuple(draft for draft in undo if draft.name not in known)
        decision = msgspec.structs.replace(decision, steps=(*decision.steps, *fresh))
    return decision


def decide_refused(
    order: Order, progress: OrderProgress, step: StepView, error: CrossdockError, steps: Sequence[StepView], plan: Plan,
    now: datetime,
) -> Decision | None:  # fmt: skip
    """A partner finally said no. Undo what was done, then hold or cancel the order, its reservation released.

    Returns None when the plan does not say what to do: the step is then parked for a person.
    """
    reaction = plan.on_refused.get(step.operation)
    if reaction is None or progress.shipments:
        return None
    dropped = tuple(view.name for view in steps if view.state in NOT_BEGUN)
    undo = plan_compensation(steps, error.message)
    closed = cancel_lines(order, progress, frozenset())
    reason = Reason(
        error.code, error.message, "customer service", error.next_action or "Decide, then release or refuse the order."
    )
    milestones = {**progress.milestones, f"refused:{step.name}": now.isoformat()}
    if reaction == "cancel":
        if not any(draft.operation == "channel.cancel" for draft in undo):
            channel = next((view.connection for view in steps if view.operation == "channel.acknowledge"), "")
            undo = (*undo, *tell_channel(channel, steps, error.message))
        after = msgspec.structs.replace(
            closed.progress, state="cancelled", refused=(*progress.refused, reason), milestones=milestones
        )
        event = EventDraft("OrderCancelled", {"step": step.name, "code": error.code, "message": error.message})
    else:
        # The channel keeps its order: a held one may still be released.
        undo = tuple(draft for draft in undo if draft.operation != "channel.cancel")
        hold = Hold(f"refused:{step.operation}", reason.owner, reason.next_action, now, (reason,))
        # The lines stay as ordered: released from stock, not cancelled, so that a release decides them anew.
        after = msgspec.structs.replace(progress, state="held", hold=hold, milestones=milestones)
        event = EventDraft("OrderHeld", {"step": step.name, "code": error.code, "message": error.message})
    return msgspec.structs.replace(closed, progress=after, events=(event,), steps=undo, cancel_steps=dropped)


def is_completed(progress: OrderProgress, steps_open: int) -> bool:
    """All lines closed with something shipped, no step left to do."""
    if steps_open or progress.state not in ("shipped", "shipping", "accepted"):
        return False
    lines = progress.lines.values()
    return all(line.open == 0 and line.backordered == 0 for line in lines)


def has_rest(progress: OrderProgress) -> bool:
    """Whether a part left and another was cancelled: partners may still keep something for what does not come."""
    lines = progress.lines.values()
    return any(line.cancelled > 0 for line in lines) and any(line.shipped > 0 for line in lines)


def close_order(
    order: Order, decision: Decision, ends_on_steps: bool, steps: Sequence[StepView], now: datetime
) -> Decision:
    """What follows when an order's last step has ended: it is complete, if all of it left, or never had to. Where a
    part was cancelled, the partners let go of that first. `steps` are looked at only where it `has_rest`."""
    if decision.progress.state == "accepted":
        if not ends_on_steps:
            return decision
        decision = merge(decision, close_lines(order, decision.progress))
    if not is_completed(decision.progress, 0):
        return decision
    closing = plan_closing(steps, "The rest of the order was cancelled.") if has_rest(decision.progress) else ()
    if closing:
        return merge(decision, Decision(decision.progress, steps=closing))
    after, event = complete(decision.progress, now)
    return merge(decision, Decision(after, (event,)))


def close_if_through(
    order: Order, decision: Decision, steps_open: int, steps: Sequence[StepView], now: datetime
) -> Decision:
    """Nothing may be left to wait for once what was still owed is cancelled: then the order ends here. `steps_open` are
    those before the decision."""
    if steps_open + len(decision.steps) - len(decision.cancel_steps) or not decision.progress.shipments:
        return decision
    return close_order(order, decision, ends_on_steps=False, steps=steps, now=now)


def close_lines(order: Order, progress: OrderProgress) -> Decision:
    """For plans that complete on their steps: what was promised counts as delivered."""
    lines = {
        name: msgspec.structs.replace(line, shipped=line.shipped + line.open) for name, line in progress.lines.items()
    }
    effects = tuple(
        effect for line in order.lines for allocation in line.allocations
        for effect in spread("ship", line, allocation.location, allocation.quantity)
    )  # fmt: skip
    credit = order.net.amount if uses_credit(order) else Decimal(0)
    after = msgspec.structs.replace(progress, lines=lines, state="shipped")
    return Decision(after, stock=effects, credit_released=credit)


def complete(progress: OrderProgress, now: datetime) -> tuple[OrderProgress, EventDraft]:
    shipped = any(line.shipped > 0 for line in progress.lines.values())
    milestones = {**progress.milestones, "completed" if shipped else "cancelled": now.isoformat()}
    state: OrderState = "completed" if shipped else "cancelled"
    after = msgspec.structs.replace(progress, state=state, milestones=milestones)
    return after, EventDraft("OrderCompleted" if shipped else "OrderCancelled", {})


def _invoiced(order: Order, decision: Decision, payload: bytes, result: bytes, now: datetime) -> Decision:
    part = msgspec.json.decode(payload, type=ShipmentPart)
    answer: dict[str, Any] = msgspec.json.decode(result)
    number = str(answer.get("invoice") or part.shipment)
    invoice = Invoice(number, order.number, part.shipment, part.net, part.tax, now)
    credit = part.net.amount if uses_credit(order) else Decimal(0)
    return msgspec.structs.replace(decision, invoices=(invoice,), credit_released=credit)


def _paid(
    order: Order, decision: Decision, step: StepView, payload: bytes, result: bytes, external_id: str
) -> Decision:
    if step.operation == "payment.capture":
        part = msgspec.json.decode(payload, type=ShipmentPart)
        payment = Payment("capture", part.shipment, part.gross, external_id)
    else:
        amount = Decimal(str(msgspec.json.decode(result).get("amount", order.net.amount)))
        payment = Payment("authorisation", step.name, Money(amount, order.currency), external_id)
    return msgspec.structs.replace(decision, payments=(payment,))


class _CalledBack(msgspec.Struct, frozen=True):
    """`cancelled`: line -> base units that the warehouse will not ship. Absent: everything of the instruction."""

    cancelled: dict[str, Decimal] | None = None


def _called_back(
    order: Order, decision: Decision, step: StepView, result: bytes, steps: Sequence[StepView]
) -> Decision:
    """The warehouse says what it will not ship; that much is cancelled, the rest ships."""
    if decision.progress.state in ("cancelled", "held"):
        return decision
    warehouse = step.name.removeprefix("wms.cancel:").split("#")[0]
    called_back = msgspec.json.decode(result, type=_CalledBack, strict=False).cancelled
    progress = decision.progress
    lines = dict(progress.lines)
    effects: list[StockEffect] = []
    credit = Decimal(0)
    said = called_back
    if said is None:
        said = {line.line: given_at(line, lines[line.line]).get(warehouse, Decimal(0)) for line in order.lines}
    for line, gone in _match_called_back(order, lines, said, warehouse, exact=called_back is not None):
        now = lines[line.line]
        taken = now.shipped + now.cancelled
        credit += part_amount(line.amount.amount, line.quantity.value, taken, gone, order.currency)
        lines[line.line] = msgspec.structs.replace(now, cancelled=now.cancelled + gone)
        effects += spread("release", line, warehouse, gone)
    after = msgspec.structs.replace(progress, lines=lines)
    found = msgspec.structs.replace(
        decision, progress=after, stock=tuple(effects), credit_released=credit if uses_credit(order) else Decimal(0)
    )
    return stop_if_nothing_is_left(found, steps)


def _match_called_back(
    order: Order, lines: Mapping[str, LineProgress], said: Mapping[str, Decimal], warehouse: str, *, exact: bool
) -> list[tuple[OrderLine, Decimal]]:
    """Which lines that which was called back belongs to: the ones named; what they do not have open, others of the SKU.

    A shipment without line numbers may have been counted for another line than the warehouse meant.
    """
    found: dict[str, Decimal] = {}
    rest: dict[str, Decimal] = {}
    for line in order.lines:
        wanted = said.get(line.line, Decimal(0))
        found[line.line] = min(wanted, lines[line.line].open)
        rest[line.sku] = rest.get(line.sku, Decimal(0)) + wanted - found[line.line]
    for line in order.lines if exact else ():
        there = given_at(line, lines[line.line]).get(warehouse, Decimal(0))
        more = min(rest[line.sku], lines[line.line].open - found[line.line], max(there - found[line.line], Decimal(0)))
        if more > 0:
            found[line.line] += more
            rest[line.sku] -= more
    return [(line, found[line.line]) for line in order.lines if found[line.line] > 0]
