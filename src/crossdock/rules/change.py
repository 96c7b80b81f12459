"""A change after acceptance: what the buyer still wants of some lines, less than he ordered.

Pure: (order, progress, steps, change) -> Decision. What waits for supply is taken off first, then what no warehouse has
been told of, where it was found last; those releases go out with what is left. What is with a
warehouse, or has left, is not changed: all of a change is taken, or nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.model.codes import UNIT_DECIMALS
from crossdock.model.errors import Invalid, Refused
from crossdock.model.facts import CancellationRequested, EventDraft, LineChange, OrderChange, StepDraft
from crossdock.model.fulfilment import FulfilmentLine, FulfilmentOrder, LineTakenOff, TakenOff
from crossdock.model.orders import LineProgress, Order, OrderLine, OrderProgress, OrderState
from crossdock.model.values import Quantity, part_amount
from crossdock.rules.decision import Decision, StepView, StockEffect
from crossdock.rules.fulfil import NOT_BEGUN, decide_cancellation, uses_credit
from crossdock.rules.kits import spread

_NOTHING: Final = Decimal(0)
_ENCODER: Final = msgspec.json.Encoder()
_ASKED: Final = "changed:"


def decide_change(
    order: Order, progress: OrderProgress, steps: Sequence[StepView], releases: Mapping[str, FulfilmentOrder],
    change: OrderChange,
) -> Decision:  # fmt: skip
    """Take off what is not wanted any more. `releases` are the instructions of the release steps that have not begun.

    Nothing follows from a change that is taken already, or that a later one has overtaken. An order of which nothing is
    left is cancelled. Raises Invalid for a line or a unit that the order does not have, Refused `change_more`,
    `change_too_late`, `change_held`.
    """
    by_line = {line.line: line for line in order.lines}
    wanted = {name: base for name, base in _read(by_line, change.lines) if not _is_overtaken(progress, name, change)}
    gone = {
        name: standing - base for name, base in wanted.items() if (standing := _standing(progress.lines[name])) != base
    }
    if not gone:
        return Decision(progress)
    _check_state(progress)
    for name, quantity in gone.items():
        if quantity < 0:
            raise Refused(
                "change_more", f"Line {name} has {_plain(_standing(progress.lines[name]))} "
                f"{by_line[name].quantity.unit}: more is not a change of it.", field="lines",
                next_action="Let the buyer place another order for what he wants more.",
            )  # fmt: skip
    if all(_standing(line) == gone.get(name, _NOTHING) for name, line in progress.lines.items()):
        request = CancellationRequested(change.channel_number, change.requested_at, change.reason)
        return decide_cancellation(order, progress, steps, request)
    return _take_off(order, progress, steps, releases, change, gone)


def taken_off(order: Order, before: OrderProgress, after: OrderProgress) -> tuple[LineTakenOff, ...]:
    """What a decision has taken off the order's lines, in base units."""
    return tuple(
        LineTakenOff(line.line, line.sku, Quantity(quantity, line.quantity.unit)) for line in order.lines
        if (quantity := after.lines[line.line].cancelled - before.lines[line.line].cancelled) > 0
    )  # fmt: skip


def tell_of_change(
    connection: str, steps: Sequence[StepView], reason: str, lines: Sequence[LineTakenOff]
) -> tuple[StepDraft, ...]:
    """The step by which a channel learns what was taken off its order by somebody else; after it knows the order."""
    number = sum(view.operation == "channel.change" for view in steps) + 1
    needs = tuple(view.name for view in steps if view.operation == "channel.acknowledge" and view.state != "failed")
    payload = _ENCODER.encode(TakenOff(reason, tuple(lines)))
    return (StepDraft(f"channel.change#{number}", connection, "channel.change", needs, payload),)


def _read(by_line: Mapping[str, OrderLine], lines: Sequence[LineChange]) -> list[tuple[str, Decimal]]:
    """(line, base units that are wanted of it)."""
    found: dict[str, Decimal] = {}
    for asked in lines:
        line = by_line.get(asked.line)
        if line is None:
            raise Invalid(
                "line_unknown", f"The order has no line {asked.line}; it has {', '.join(by_line)}.", field="lines"
            )
        if asked.line in found:
            raise Invalid("line_twice", f"Line {asked.line} is named twice.", field="lines")
        found[asked.line] = _to_base(line, asked.quantity)
    return list(found.items())


def _to_base(line: OrderLine, wanted: Quantity) -> Decimal:
    """In the unit that was ordered, so that channel and buyer can be told of it; or in base units, where those are."""
    value, ordered = wanted.value, line.ordered
    if wanted.unit not in (ordered.unit, line.quantity.unit):
        units = " or ".join(dict.fromkeys((ordered.unit, line.quantity.unit)))
        raise Invalid("change_unit", f"Line {line.line} is changed in {units}, not in {wanted.unit}.", field="lines")
    if not value.is_finite() or value < 0:
        raise Invalid("quantity_negative", f"What is wanted of line {line.line} is zero or more.", field="lines")
    base, rest = value, _NOTHING
    if wanted.unit != line.quantity.unit:
        base, rest = divmod(value * line.quantity.value, ordered.value)
    packs = base * ordered.value / line.quantity.value
    fits = packs == packs.to_integral_value() or UNIT_DECIMALS.get(ordered.unit, 0) > 0
    if rest or not fits:
        raise Invalid(
            "quantity_fraction", f"Line {line.line} was ordered in {ordered.unit}: no fraction of one.", field="lines",
            next_action="Change it by whole ones.",
        )  # fmt: skip
    return base


def _is_overtaken(progress: OrderProgress, line: str, change: OrderChange) -> bool:
    """A change says what is wanted in all: of two, the one that was asked for later counts, however they arrive."""
    last = progress.milestones.get(f"{_ASKED}{line}")
    return last is not None and datetime.fromisoformat(last) > change.requested_at


def _standing(line: LineProgress) -> Decimal:
    return line.ordered - line.cancelled


def _check_state(progress: OrderProgress) -> None:
    if progress.state == "held":
        raise Refused(
            "change_held", "The order is held: a release decides it anew as it was placed.",
            next_action="Release it and then change it, or refuse it.",
        )  # fmt: skip
    if "cancellation_requested" in progress.milestones:
        raise Refused(
            "change_too_late", "The order was called off: what can be is cancelled.",
            next_action="Let the buyer order anew what he wants after all.",
        )  # fmt: skip
    if progress.state in ("refused", "cancelled", "shipped", "completed"):
        raise Refused(
            "change_too_late", f"The order is {progress.state}: nothing of it is left to be changed.",
            next_action="Offer a return instead of what has left.",
        )  # fmt: skip


def _take_off(
    order: Order, progress: OrderProgress, steps: Sequence[StepView], releases: Mapping[str, FulfilmentOrder],
    change: OrderChange, gone: Mapping[str, Decimal],
) -> Decision:  # fmt: skip
    lines = dict(progress.lines)
    waiting = [view.name for view in steps if view.name in releases and view.state in NOT_BEGUN]
    left = {name: {line.line: line.quantity.value for line in releases[name].lines} for name in waiting}
    effects: list[StockEffect] = []
    credit = _NOTHING
    told: list[dict[str, Any]] = []
    for line in order.lines:
        rest = gone.get(line.line, _NOTHING)
        if not rest:
            continue
        now = lines[line.line]
        owed = min(rest, now.backordered)
        if owed:
            effects += spread("release", line, "", owed)
            rest -= owed
        supplied = dict(now.supplied)
        for _, name in sorted(((_found(line, name, releases[name].warehouse), name) for name in waiting), reverse=True):
            taken = min(rest, left[name].get(line.line, _NOTHING), now.open)
            if taken > 0:
                place = releases[name].warehouse
                left[name][line.line] -= taken
                supplied[place] = supplied.get(place, _NOTHING) - taken
                effects += spread("release", line, place, taken)
                rest -= taken
        if rest > 0:
            raise _too_late(line, gone[line.line], rest)
        quantity = gone[line.line]
        before = now.shipped + now.cancelled
        credit += part_amount(line.amount.amount, line.quantity.value, before, quantity, order.currency)
        lines[line.line] = msgspec.structs.replace(
            now, backordered=now.backordered - owed, cancelled=now.cancelled + quantity, supplied=supplied
        )
        unit = line.quantity.unit
        told.append({"line": line.line, "from": f"{_plain(_standing(now))} {unit}",
                     "to": f"{_plain(_standing(lines[line.line]))} {unit}"})  # fmt: skip
    asked = {f"{_ASKED}{name}": change.requested_at.isoformat() for name in gone}
    closed = all(line.open == 0 and line.backordered == 0 for line in lines.values())
    state: OrderState = "shipped" if closed else progress.state
    after = msgspec.structs.replace(progress, lines=lines, milestones={**progress.milestones, **asked}, state=state)
    revised, dropped = _revise(releases, left)
    event = EventDraft("OrderChanged", {"reason": change.reason, "lines": told})
    return Decision(
        after, (event,), cancel_steps=dropped, revised_steps=revised, stock=tuple(effects),
        credit_released=credit if uses_credit(order) else _NOTHING,
    )  # fmt: skip


def _found(line: OrderLine, name: str, warehouse: str) -> tuple[int, int]:
    """Goods are taken off where they were found last: of the latest round, at the least preferred warehouse."""
    places = [allocation.location for allocation in line.allocations]
    return int(name.partition("#")[2] or 1), places.index(warehouse) if warehouse in places else -1


def _revise(
    releases: Mapping[str, FulfilmentOrder], left: Mapping[str, Mapping[str, Decimal]]
) -> tuple[tuple[tuple[str, bytes], ...], tuple[str, ...]]:
    """(releases with what is left for them, releases for which nothing is)."""
    revised, dropped = [], []
    for name, rest in left.items():
        body = releases[name]
        lines = tuple(
            FulfilmentLine(line.line, line.sku, Quantity(quantity, line.quantity.unit)) for line in body.lines
            if (quantity := rest[line.line]) > 0
        )  # fmt: skip
        if not lines:
            dropped.append(name)
        elif lines != body.lines:
            revised.append((name, _ENCODER.encode(msgspec.structs.replace(body, lines=lines))))
    return tuple(revised), tuple(dropped)


def _too_late(line: OrderLine, asked: Decimal, rest: Decimal) -> Refused:
    unit = line.quantity.unit
    can = f"{_plain(asked - rest)} {unit} can" if asked > rest else "nothing can"
    return Refused(
        "change_too_late", f"Of line {line.line}, {_plain(asked)} {unit} less were asked for and {can} be taken off: "
        "the rest is with a warehouse or has left.", field="lines",
        next_action="Ask for less, cancel the order so that the warehouse is asked to call it back, or offer a return.",
    )  # fmt: skip


def _plain(quantity: Decimal) -> str:
    return f"{quantity.normalize():f}"
