"""Figures of a run, from its history: orders by hour, how long milestones took, what nemeses did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from crossdock.prove.history import Deed, History
from crossdock.prove.virtual_time import EPOCH

DEEDS_MAX = 400
"""So many deeds of a run are kept for its report."""


class Milestone(msgspec.Struct, frozen=True):
    """How long after its acceptance an order came to it, in simulated seconds."""

    name: str
    orders: int
    median_seconds: float
    slowest_tenth_seconds: float
    longest_seconds: float


class Figures(msgspec.Struct, frozen=True):
    """`by_hour`: hour of the run -> channel -> orders that were accepted or held in it."""

    orders: dict[str, int]
    by_hour: dict[int, dict[str, int]]
    milestones: tuple[Milestone, ...]
    shipments: int
    invoiced: str
    deeds: tuple[Deed, ...]


def count(history: History, hour_seconds: float) -> Figures:
    """The figures of one run; `hour_seconds` is how long an hour takes in it."""
    orders: dict[str, int] = defaultdict(int)
    by_hour: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for order in history.tables["orders"]:
        orders[order["state"]] += 1
        hour = int((order["accepted_at"] - EPOCH).total_seconds() // hour_seconds)
        by_hour[hour][order["channel"]] += 1
    invoiced = sum(row["net"] + row["tax"] for row in history.tables["invoices"])
    return Figures(
        dict(sorted(orders.items())), {hour: dict(sorted(found.items())) for hour, found in sorted(by_hour.items())},
        _milestones(history), len(history.tables["shipments"]), str(invoiced), tuple(history.deeds[:DEEDS_MAX]),
    )  # fmt: skip


def _milestones(history: History) -> tuple[Milestone, ...]:
    accepted = {}
    first: dict[str, dict[int, float]] = defaultdict(dict)
    for event in history.tables["events"]:
        order_id = event["order_id"]
        if event["type"] == "OrderAccepted":
            accepted[order_id] = event["at"]
        elif order_id in accepted and order_id not in first[event["type"]]:
            first[event["type"]][order_id] = (event["at"] - accepted[order_id]).total_seconds()
    return tuple(_milestone(name, sorted(found.values())) for name, found in sorted(first.items()))


def _milestone(name: str, seconds: Sequence[float]) -> Milestone:
    return Milestone(
        name, len(seconds), round(seconds[len(seconds) // 2], 3), round(seconds[len(seconds) * 9 // 10], 3),
        round(seconds[-1], 3),
    )  # fmt: skip
