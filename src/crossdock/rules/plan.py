"""The plan: which steps an order or a shipment part needs, at which systems, in which order.

A plan comes from configuration (`policy`); this module turns it into rows. `@channel` is the connection of the order's
channel, `@warehouse` the connection of the warehouse that ships. A step names the operations that it needs; needs that
the plan does not contain are left out, so one plan text serves several situations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import msgspec

from crossdock.model.facts import StepDraft
from crossdock.model.fulfilment import FulfilmentLine, FulfilmentOrder, ShipmentPart
from crossdock.model.orders import Order
from crossdock.model.values import Quantity
from crossdock.policy.plans import Plan, PlannedStep
from crossdock.rules.decision import StepView

_ENCODER: Final = msgspec.json.Encoder()

# What undoes what. An operation that is not here leaves nothing behind at the partner.
COMPENSATION: Final[Mapping[str, str]] = {
    "payment.authorise": "payment.void",
    "erp.place_order": "erp.cancel_order",
    "wms.release": "wms.cancel",
    "channel.acknowledge": "channel.cancel",
}


# What keeps the rest of an order alive at a partner after a part of it has left.
CLOSED_OPERATIONS: Final = ("payment.authorise", "erp.place_order")


@dataclass(frozen=True, slots=True)
class Routes:
    """Where `@channel` and `@warehouse` lead for one order."""

    channel: str
    warehouses: Mapping[str, str]

    def connection(self, planned: str, warehouse: str) -> str:
        if planned == "@channel":
            return self.channel
        if planned == "@warehouse":
            return self.warehouses[warehouse]
        return planned


def plan_order(order: Order, plan: Plan, routes: Routes, round_suffix: str = "") -> tuple[StepDraft, ...]:
    """Lay the steps of an accepted order. `round_suffix` ("#2" ...) keeps names apart when it is accepted again."""
    warehouses = sorted({allocation.location for line in order.lines for allocation in line.allocations})
    names: dict[str, tuple[str, ...]] = {}
    for planned in plan.steps:
        if planned.connection == "@channel" and not routes.channel:
            # A channel that asks us has nothing to be told, and nothing waits for it.
            continue
        each = [f":{warehouse}" for warehouse in warehouses] if planned.each == "warehouse" else [""]
        names[planned.operation] = tuple(f"{planned.operation}{place}{round_suffix}" for place in each)
    steps = []
    for planned in plan.steps:
        for index, name in enumerate(names.get(planned.operation, ())):
            warehouse = warehouses[index] if planned.each == "warehouse" else ""
            connection = routes.connection(planned.connection, warehouse)
            payload = _order_payload(order, planned, warehouse)
            steps.append(StepDraft(name, connection, planned.operation, _needs(planned, names), payload))
    return tuple(steps)


def plan_shipment(order: Order, part: ShipmentPart, plan: Plan, routes: Routes, done: Sequence[StepView]) -> tuple[
    StepDraft, ...
]:  # fmt: skip
    """Lay the steps that follow a shipment part; they may need steps of the order itself by operation."""
    names: dict[str, tuple[str, ...]] = {}
    for view in done:
        if view.state not in ("cancelled", "failed"):
            names[view.operation] = (*names.get(view.operation, ()), view.name) if ":" not in view.name else ()
    for planned in plan.shipment_steps:
        if planned.connection != "@channel" or routes.channel:
            names[planned.operation] = (f"{planned.operation}:{part.shipment}",)
    payload = _ENCODER.encode(part)
    steps = []
    for planned in plan.shipment_steps:
        connection = routes.connection(planned.connection, part.warehouse)
        if connection:
            name = f"{planned.operation}:{part.shipment}"
            steps.append(StepDraft(name, connection, planned.operation, _needs(planned, names), payload))
    return tuple(steps)


def plan_release(
    order: Order, wanted: Mapping[str, Decimal], warehouse: str, plan: Plan, routes: Routes, steps: Sequence[StepView],
    round_suffix: str,
) -> tuple[StepDraft, ...]:  # fmt: skip
    """Lay the release of `wanted` (line -> base units) to one warehouse, as a further round."""
    lines = tuple(
        FulfilmentLine(line.line, line.sku, Quantity(wanted[line.line], line.quantity.unit))
        for line in order.lines if line.line in wanted
    )  # fmt: skip
    number = fulfilment_number(order.number, warehouse)
    payload = _ENCODER.encode(FulfilmentOrder(number, order.number, warehouse, order.ship_to, lines))
    names: dict[str, tuple[str, ...]] = {}
    for view in steps:
        if view.state not in ("cancelled", "failed") and ":" not in view.name:
            names[view.operation] = (view.name,)
    return tuple(
        StepDraft(
            f"{planned.operation}:{warehouse}{round_suffix}", routes.connection(planned.connection, warehouse),
            planned.operation, _needs(planned, names), payload,
        )
        for planned in plan.steps if planned.each == "warehouse"
    )  # fmt: skip


def plan_compensation(
    done: Sequence[StepView], reason: str, laid: Sequence[StepView] | None = None
) -> tuple[StepDraft, ...]:
    """For every step that took effect, the step that undoes it; each only once, of those `laid` (by default `done`)."""
    existing = {view.name for view in (done if laid is None else laid)}
    steps = []
    for view in done:
        undo = COMPENSATION.get(view.operation)
        name = f"{undo}{view.name.removeprefix(view.operation)}"
        if undo and view.state == "done" and name not in existing:
            payload = _ENCODER.encode({"reason": reason, "undoes": view.name})
            steps.append(StepDraft(name, view.connection, undo, (view.name,), payload))
    return tuple(steps)


def plan_closing(done: Sequence[StepView], reason: str) -> tuple[StepDraft, ...]:
    """Of an order of which a part left, what partners still keep for the rest: the sale's open quantities and what the
    payment holds beyond what was captured. Only when nothing else is left to do: both end what they are asked for."""
    return plan_compensation([view for view in done if view.operation in CLOSED_OPERATIONS], reason, done)


def tell_channel(connection: str, steps: Sequence[StepView], reason: str) -> tuple[StepDraft, ...]:
    """The step by which a channel learns that its order is cancelled, unless one is laid or no channel listens."""
    if not connection or any(view.operation == "channel.cancel" for view in steps):
        return ()
    payload = _ENCODER.encode({"reason": reason, "undoes": ""})
    return (StepDraft("channel.cancel", connection, "channel.cancel", (), payload),)


def fulfilment_number(order_number: str, warehouse: str) -> str:
    return f"{order_number}-{warehouse}"


def _needs(planned: PlannedStep, names: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(name for operation in planned.needs for name in names.get(operation, ()))


def _order_payload(order: Order, planned: PlannedStep, warehouse: str) -> bytes:
    if planned.each != "warehouse":
        return _ENCODER.encode({"state": "accepted"}) if planned.operation == "channel.acknowledge" else b"{}"
    lines = tuple(
        FulfilmentLine(line.line, line.sku, Quantity(allocation.quantity, line.quantity.unit))
        for line in order.lines for allocation in line.allocations if allocation.location == warehouse
    )  # fmt: skip
    number = fulfilment_number(order.number, warehouse)
    return _ENCODER.encode(FulfilmentOrder(number, order.number, warehouse, order.ship_to, lines))
