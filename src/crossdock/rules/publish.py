"""What is told to a channel first, when it is told again, and what follows when it does not take a figure. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from crossdock.policy.stock import ChannelStock
from crossdock.rules.availability import Promise, Saleable, Terms

URGENT: Final = 0
CALM: Final = 1
# Trying again cannot help until somebody has mended the listing.
PARKED_AT_ONCE: Final = frozenset({"sku_unknown", "unit_unknown", "unlisted"})
ATTEMPTS_MAX: Final = 8
URGENT_IN_ROW_MAX: Final = 4
_REFUSED_SECONDS: Final = (1, 2, 5, 15, 60, 120, 300)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What follows when a channel did not take a figure: it is told again after a wait, or parked for a person."""

    parked: bool
    after_seconds: int = 0


def urgency_of(item: Saleable, promise: Promise, stock: ChannelStock) -> int:
    """What is about to sell out, or has, goes first: there a late figure is an order that cannot be kept."""
    return URGENT if promise.quantity * item.unit_size <= stock.urgent_below else CALM


def urgent_in_row(before: int, urgencies: Sequence[int]) -> int:
    """How many urgent figures were told since the last that was not, so that the others get their turn."""
    for urgency in urgencies:
        before = min(before + 1, URGENT_IN_ROW_MAX) if urgency == URGENT else 0
    return before


def divide(wanted: Decimal, item: Saleable, available: Decimal, others: Decimal) -> Decimal:
    """The figure, no larger than what no other channel can be showing. `others`: the most that those may show
    together, in base units, whatever became of what they were told."""
    room = max(available - others, Decimal(0)) // item.unit_size
    return min(wanted, room)


def counts_for_itself(item: Saleable, promise: Promise, terms: Terms) -> bool:
    """A capped figure stays the same while the channel's own sales lower what it shows: it must be told again."""
    return terms.cap is not None and promise.quantity > 0 and promise.quantity >= terms.cap // item.unit_size


def after_refusal(code: str, attempt: int) -> Refusal:
    """`attempt` counts from 1."""
    if code in PARKED_AT_ONCE or attempt >= ATTEMPTS_MAX:
        return Refusal(parked=True)
    return Refusal(parked=False, after_seconds=_REFUSED_SECONDS[min(attempt, len(_REFUSED_SECONDS)) - 1])


def lane_wait_seconds(failures: int, asked_seconds: Decimal | None, *, operator_must_act: bool) -> Decimal:
    """How long a lane rests after its `failures`-th failure in a row. The partner's own word beats ours."""
    if asked_seconds is not None:
        return asked_seconds
    if operator_must_act:
        return Decimal(60)
    return min(Decimal("0.25") * Decimal(2) ** min(failures - 1, 7), Decimal(30))
