"""How much of a channel's line a shipment or a change holds, said in the words that the channel ordered in."""

from __future__ import annotations

from crossdock.model.fulfilment import LineTakenOff, PartLine
from crossdock.model.orders import Order
from crossdock.model.values import Quantity


def shipped_as_ordered(order: Order, part: PartLine | LineTakenOff) -> Quantity:
    """The part in the ordered unit when that is a whole number of it, else in base units.

    A box of twelve of which five pieces left is five pieces, never 0.4167 boxes.
    """
    line = next(line for line in order.lines if line.line == part.line)
    if line.ordered.unit == part.quantity.unit:
        return part.quantity
    value, rest = divmod(part.quantity.value * line.ordered.value, line.quantity.value)
    return Quantity(value, line.ordered.unit) if rest == 0 and value > 0 else part.quantity
