"""What goes wrong in a run: a plan of single faults, drawn from the seed, each of which can be left out.

A fault names its place (which process, which partner) and its moment by counting, never by wall time, so that a plan
does the same each time. Shrinking leaves faults out while the run still fails.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal

import msgspec

CallFaultKind = Literal["drop_answer", "lose_request", "too_many", "unavailable", "slow", "garbled"]
CALL_FAULTS: Final[tuple[CallFaultKind, ...]] = (
    "drop_answer", "lose_request", "too_many", "unavailable", "slow", "garbled",
)  # fmt: skip
FEED_FAULTS: Final = ("repeat_page", "reorder_page", "feed_down")
FAULT_NAMES: Final = ("kill", "cut", "pause", "outage", *CALL_FAULTS, *FEED_FAULTS, "duplicate_order", "duplicate_fact")


class Kill(msgspec.Struct, frozen=True, tag="kill"):
    """The process in `slot` dies at its `moment`-th moment and is started again after a while."""

    slot: str
    moment: int
    down_seconds: float


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """The process in `slot` stands still from its `moment`-th moment: others take it for dead, then it goes on."""

    slot: str
    moment: int
    seconds: float


class Cut(msgspec.Struct, frozen=True, tag="cut"):
    """The process in `slot` loses its database connection at its `moment`-th moment and lives on: in the middle of a
    transaction, or (`after_commit`) when the commit has happened and its answer has not come."""

    slot: str
    moment: int
    after_commit: bool


class Outage(msgspec.Struct, frozen=True, tag="outage"):
    """A partner answers nothing between these simulated seconds."""

    partner: str
    from_seconds: float
    until_seconds: float


class CallFault(msgspec.Struct, frozen=True, tag="call"):
    """The `number`-th call (a write or a probe) at `partner` goes wrong.

    drop_answer: the partner commits, its answer is lost. lose_request: nothing arrives. too_many: 429 with a pause.
    unavailable: 503. slow: the answer comes after the caller gave up; the partner commits meanwhile. garbled: the
    partner commits, its answer cannot be read.
    """

    partner: str
    number: int
    kind: CallFaultKind


class FeedFault(msgspec.Struct, frozen=True, tag="feed"):
    """The `number`-th page read at `partner`: everything from the beginning again, disorder, or no answer."""

    partner: str
    number: int
    kind: Literal["repeat_page", "reorder_page", "feed_down"]


class Duplicate(msgspec.Struct, frozen=True, tag="duplicate"):
    """The `order`-th order, or what its channel reports about it, is sent `copies` times at once."""

    kind: Literal["duplicate_order", "duplicate_fact"]
    order: int
    copies: int


Fault = Kill | Cut | Pause | Outage | CallFault | FeedFault | Duplicate


class Plan(msgspec.Struct, frozen=True):
    """What is planned to go wrong in one run, and which of its orders are left out."""

    faults: tuple[Fault, ...] = ()
    without_orders: tuple[int, ...] = ()

    def kills(self, slot: str) -> list[Kill]:
        return [fault for fault in self.faults if isinstance(fault, Kill) and fault.slot == slot]

    def pauses(self, slot: str) -> list[Pause]:
        return [fault for fault in self.faults if isinstance(fault, Pause) and fault.slot == slot]

    def cuts(self, slot: str) -> list[Cut]:
        return [fault for fault in self.faults if isinstance(fault, Cut) and fault.slot == slot]

    def outages(self, partner: str) -> list[Outage]:
        return [fault for fault in self.faults if isinstance(fault, Outage) and fault.partner == partner]

    def calls(self, partner: str) -> Mapping[int, CallFault]:
        found = [fault for fault in self.faults if isinstance(fault, CallFault) and fault.partner == partner]
        return {fault.number: fault for fault in found}

    def pages(self, partner: str) -> Mapping[int, FeedFault]:
        found = [fault for fault in self.faults if isinstance(fault, FeedFault) and fault.partner == partner]
        return {fault.number: fault for fault in found}

    def copies(self, kind: str, order: int) -> int:
        found = [fault for fault in self.faults if isinstance(fault, Duplicate) and fault.order == order]
        return max((fault.copies for fault in found if fault.kind == kind), default=1)


def kind_of(fault: Fault) -> str:
    match fault:
        case Kill():
            return "kill"
        case Cut():
            return "cut"
        case Pause():
            return "pause"
        case Outage():
            return "outage"
        case _:
            return fault.kind


def draw_plan(
    chance: random.Random, slots: Sequence[str], partners: Sequence[str], orders: int, wanted: Collection[str]
) -> Plan:
    """Draw a plan; of some seeds a calm one, of others a bad day. Everything is drawn, and only `wanted` is kept."""
    burden = chance.choice((0.0, 0.3, 0.6, 1.0, 1.5))
    faults: list[Fault] = _draw_deaths(chance, slots, burden)
    for partner in partners:
        faults.extend(
            CallFault(partner, number, chance.choice(CALL_FAULTS))
            for number in range(1, orders * 5) if chance.random() < 0.2 * burden
        )  # fmt: skip
    for partner in partners:
        if chance.random() < 0.08 * burden:
            begins = chance.uniform(0, 6)
            faults.append(Outage(partner, round(begins, 3), round(begins + chance.uniform(1, 12), 3)))
    for number in range(1, 30):
        if chance.random() < 0.2 * burden:
            kind: Literal["repeat_page", "reorder_page", "feed_down"] = chance.choice(
                ("repeat_page", "reorder_page", "feed_down")
            )
            faults.append(FeedFault("wms", number, kind))
    for order in range(orders):
        if chance.random() < 0.35 * burden:
            faults.append(Duplicate("duplicate_order", order, chance.randint(2, 5)))
        if chance.random() < 0.35 * burden:
            faults.append(Duplicate("duplicate_fact", order, chance.randint(2, 5)))
    return Plan(tuple(fault for fault in faults if kind_of(fault) in wanted))


def _draw_deaths(chance: random.Random, slots: Sequence[str], burden: float) -> list[Fault]:
    """What befalls our own processes: they are killed, stand still, or lose the database."""
    faults: list[Fault] = []
    for slot in slots:
        for _ in range(round(chance.random() * 2.2 * burden)):
            moment = chance.randint(5, 220 if slot.startswith("worker") else 60)
            faults.append(Kill(slot, moment, round(chance.uniform(0.1, 3), 3)))
        for _ in range(round(chance.random() * 2.5 * burden)):
            moment = chance.randint(3, 300 if slot.startswith("worker") else 40)
            faults.append(Cut(slot, moment, chance.random() < 0.4))
        if slot.startswith("worker") and chance.random() < 0.6 * burden:
            faults.append(Pause(slot, chance.randint(5, 250), round(chance.uniform(2, 14), 3)))
    return faults


def count_by_kind(faults: Sequence[Fault]) -> dict[str, int]:
    return dict(sorted(Counter(kind_of(fault) for fault in faults).items()))
