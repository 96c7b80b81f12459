"""What a rule answers: the new progress of an order and everything that follows from it.

The ledger writes a decision in one transaction; the engine executes its steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from crossdock.model.facts import EventDraft, StepDraft
from crossdock.model.fulfilment import Invoice, Payment, ShipmentPart
from crossdock.model.orders import OrderProgress


class StockEffect(msgspec.Struct, frozen=True, gc=False):
    """`ship`: the goods left, on hand and reservation fall. `release`: the reservation falls, the goods stay.
    `reserve`: more is held.

    `quantity` is in base units; `location` "" is stock that an order waits for.
    """

    kind: Literal["ship", "release", "reserve"]
    line: str
    location: str
    sku: str
    quantity: Decimal


class StepView(msgspec.Struct, frozen=True, gc=False):
    """What rules may know of a step that exists."""

    name: str
    connection: str
    operation: str
    state: str


class Decision(msgspec.Struct, frozen=True, gc=False):
    """`cancel_steps` names steps that are dropped if they have not begun; `revised_steps` are (name, payload) of such
    that are to do something else. `credit_released` leaves the open orders of
    the customer's account; what `invoices` add to its open invoices the ledger derives from them."""

    progress: OrderProgress
    events: tuple[EventDraft, ...] = ()
    steps: tuple[StepDraft, ...] = ()
    cancel_steps: tuple[str, ...] = ()
    revised_steps: tuple[tuple[str, bytes], ...] = ()
    stock: tuple[StockEffect, ...] = ()
    credit_released: Decimal = Decimal(0)
    part: ShipmentPart | None = None
    invoices: tuple[Invoice, ...] = ()
    payments: tuple[Payment, ...] = ()
    delivered: str = ""


def merge(first: Decision, then: Decision) -> Decision:
    """One decision of two, the second made on the first's progress. A step is laid once."""
    laid = {step.name for step in first.steps}
    return Decision(
        progress=then.progress,
        events=first.events + then.events,
        steps=first.steps + tuple(step for step in then.steps if step.name not in laid),
        cancel_steps=first.cancel_steps + then.cancel_steps,
        revised_steps=first.revised_steps + then.revised_steps,
        stock=first.stock + then.stock,
        credit_released=first.credit_released + then.credit_released,
        part=then.part or first.part,
        invoices=first.invoices + then.invoices,
        payments=first.payments + then.payments,
        delivered=then.delivered or first.delivered,
    )


def settled_lines(decision: Decision) -> list[str]:
    """Lines that hold nothing any more after this decision: they are shipped or cancelled, or the order is stopped.
    What may still be reserved for them elsewhere (another warehouse shipped it) is to be given back."""
    stopped = decision.progress.state in ("held", "cancelled")
    lines = decision.progress.lines
    return [
        name for name in dict.fromkeys(effect.line for effect in decision.stock)
        if stopped or (lines[name].open == 0 and lines[name].backordered == 0)
    ]  # fmt: skip


def is_laid(decision: Decision, steps: Sequence[StepView]) -> bool:
    """Whether the decision would lay a step that the order already has under that name."""
    return bool({step.name for step in decision.steps} & {view.name for view in steps})
