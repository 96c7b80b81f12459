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
DATABASE: Final = "database"
MISFORTUNE_DEATHS: Final = 4
"""A large run has fewer of them: where the database's clock jumps, times are judged less strictly."""
ShelfFaultKind = Literal[
    "drop_answer", "lose_request", "too_many", "unavailable", "slow", "garbled", "refused_items", "dropped_items",
    "duplicated_call", "late_feed",
]
OWN_SHELF_FAULTS: Final = ("refused_items", "dropped_items", "duplicated_call", "late_feed", "rival_writer")
PARTNER_FAULTS: Final = ("api_changed", "minute_lost", "yesterday_again")
FAULT_NAMES: Final = (
    "kill", "cut", "pause", "clock_jump", "pool_exhausted", "outage", *CALL_FAULTS, *FEED_FAULTS, "duplicate_order",
    "duplicate_fact", *PARTNER_FAULTS, *OWN_SHELF_FAULTS,
)  # fmt: skip


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


class ClockJump(msgspec.Struct, frozen=True, tag="clock_jump"):
    """From then on, the clock of a host is off by so many seconds more: that of a process, or the database's."""

    host: str
    at_seconds: float
    seconds: float


class PoolExhausted(msgspec.Struct, frozen=True, tag="pool_exhausted"):
    """From its `moment`-th moment on, the process in `slot` gets no database connection for so long; calls go on."""

    slot: str
    moment: int
    seconds: float


class ApiChanged(msgspec.Struct, frozen=True, tag="api_changed"):
    """A partner speaks another version between these simulated seconds; then our side can read both.

    refused: it takes no call of the old version. unreadable: it does what it is asked, and nobody can read its answer.
    What its feed tells meanwhile has another shape.
    """

    partner: str
    from_seconds: float
    until_seconds: float
    manner: Literal["refused", "unreadable"]


class MinuteLost(msgspec.Struct, frozen=True, tag="minute_lost"):
    """A partner is set back: what it did in the last `seconds` is gone, although it had confirmed it."""

    partner: str
    at_seconds: float
    seconds: float


class YesterdayAgain(msgspec.Struct, frozen=True, tag="yesterday_again"):
    """Everything that partners told until then comes once more: orders, and all messages under new numbers."""

    at_seconds: float


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


class ShelfFault(msgspec.Struct, frozen=True, tag="shelf"):
    """The `number`-th call at the door by which `channel` is told stock goes wrong.

    As at any partner, and: refused_items: some figures are not taken. dropped_items: some are confirmed, never shown.
    duplicated_call: it arrives once more a little later. late_feed: the feed is taken, nobody hears that, and it is
    worked on after feeds that came later.
    """

    channel: str
    number: int
    kind: ShelfFaultKind


class RivalEdit(msgspec.Struct, frozen=True, tag="rival_writer"):
    """Somebody else writes what the channel shows of a SKU."""

    channel: str
    at_seconds: float
    sku: str
    quantity: int


Fault = (
    Kill | Cut | Pause | ClockJump | PoolExhausted | Outage | CallFault | FeedFault | Duplicate | ApiChanged
    | MinuteLost | YesterdayAgain | ShelfFault | RivalEdit
)  # fmt: skip


class Reach(msgspec.Struct, frozen=True):
    """How far a run reaches, and so where its faults may lie: moments of its processes, simulated seconds, calls and
    pages; and how dense the faults of single calls and pages are. `deaths`: how often that is drawn which befalls a
    process, or anybody, a few times in a run."""

    moments: int = 1
    seconds: float = 12
    pages: int = 30
    calls_for_each_order: int = 5
    density: float = 0.2
    deaths: int = 1

    def stretch(self, longer: float, larger: float) -> Reach:
        """That of a run that takes so much longer for so many more orders. A worker of a usual run lives five times as
        long as its first faults reach; of a large one they reach half of its life."""
        return Reach(
            max(1, round(self.moments * larger / 2)), self.seconds * longer, round(self.pages * longer),
            self.calls_for_each_order, self.density, max(1, round(self.deaths * longer)),
        )  # fmt: skip


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

    def jumps(self) -> list[ClockJump]:
        return [fault for fault in self.faults if isinstance(fault, ClockJump)]

    def exhaustions(self, slot: str) -> list[PoolExhausted]:
        return [fault for fault in self.faults if isinstance(fault, PoolExhausted) and fault.slot == slot]

    def api_changes(self) -> list[ApiChanged]:
        return [fault for fault in self.faults if isinstance(fault, ApiChanged)]

    def losses(self) -> list[MinuteLost]:
        return [fault for fault in self.faults if isinstance(fault, MinuteLost)]

    def repetitions(self) -> list[YesterdayAgain]:
        return [fault for fault in self.faults if isinstance(fault, YesterdayAgain)]

    def outages(self, partner: str) -> list[Outage]:
        return [fault for fault in self.faults if isinstance(fault, Outage) and fault.partner == partner]

    def calls(self, partner: str) -> Mapping[int, CallFault]:
        found = [fault for fault in self.faults if isinstance(fault, CallFault) and fault.partner == partner]
        return {fault.number: fault for fault in found}

    def pages(self, partner: str) -> Mapping[int, FeedFault]:
        found = [fault for fault in self.faults if isinstance(fault, FeedFault) and fault.partner == partner]
        return {fault.number: fault for fault in found}

    def shelf_faults(self, channel: str) -> Mapping[int, ShelfFault]:
        found = [fault for fault in self.faults if isinstance(fault, ShelfFault) and fault.channel == channel]
        return {fault.number: fault for fault in found}

    def rival_edits(self) -> list[RivalEdit]:
        return [fault for fault in self.faults if isinstance(fault, RivalEdit)]

    def copies(self, kind: str, order: int) -> int:
        found = [fault for fault in self.faults if isinstance(fault, Duplicate) and fault.order == order]
        return max((fault.copies for fault in found if fault.kind == kind), default=1)


def kind_of(fault: Fault) -> str:
    if isinstance(fault, CallFault | FeedFault | Duplicate | ShelfFault):
        return fault.kind
    return str(fault.__struct_config__.tag)


def draw_plan(
    seed: int, slots: Sequence[str], partners: Sequence[str], orders: int, wanted: Collection[str],
    reach: Reach = Reach(),  # noqa: B008 - frozen
) -> Plan:  # fmt: skip
    """Draw a plan; of some seeds a calm one, of others a bad day. Everything is drawn, and only `wanted` is kept."""
    chance = random.Random(f"{seed}/faults")
    burden = chance.choice((0.0, 0.3, 0.6, 1.0, 1.5))
    faults: list[Fault] = _draw_deaths(chance, slots, burden, reach)
    for partner in partners:
        faults.extend(
            CallFault(partner, number, chance.choice(CALL_FAULTS))
            for number in range(1, orders * reach.calls_for_each_order) if chance.random() < reach.density * burden
        )  # fmt: skip
    for partner in partners:
        for _ in range(reach.deaths):
            if chance.random() < 0.08 * burden:
                begins = chance.uniform(0, reach.seconds / 2)
                faults.append(Outage(partner, round(begins, 3), round(begins + chance.uniform(1, 12), 3)))
    for number in range(1, reach.pages):
        if chance.random() < reach.density * burden:
            kind: Literal["repeat_page", "reorder_page", "feed_down"] = chance.choice(
                ("repeat_page", "reorder_page", "feed_down")
            )
            faults.append(FeedFault("wms", number, kind))
    for order in range(orders):
        if chance.random() < 0.35 * burden:
            faults.append(Duplicate("duplicate_order", order, chance.randint(2, 5)))
        if chance.random() < 0.35 * burden:
            faults.append(Duplicate("duplicate_fact", order, chance.randint(2, 5)))
    # By a chance of its own: what was drawn before there were these stays as it was.
    for part in range(max(1, reach.deaths // MISFORTUNE_DEATHS)):
        own_chance = random.Random(f"{seed}/misfortunes" + (f"/{part}" if part else ""))
        faults.extend(_draw_misfortunes(own_chance, slots, partners, reach))
    return Plan(tuple(fault for fault in faults if kind_of(fault) in wanted))


def _draw_deaths(chance: random.Random, slots: Sequence[str], burden: float, reach: Reach) -> list[Fault]:
    """What befalls our own processes: they are killed, stand still, or lose the database."""
    faults: list[Fault] = []
    for slot in (slot for slot in slots for _ in range(reach.deaths)):
        is_worker = slot.startswith("worker")
        for _ in range(round(chance.random() * 2.2 * burden)):
            moment = chance.randint(5, (220 if is_worker else 60) * reach.moments)
            faults.append(Kill(slot, moment, round(chance.uniform(0.1, 3), 3)))
        for _ in range(round(chance.random() * 2.5 * burden)):
            moment = chance.randint(3, (300 if is_worker else 40) * reach.moments)
            faults.append(Cut(slot, moment, chance.random() < 0.4))
        if is_worker and chance.random() < 0.6 * burden:
            faults.append(Pause(slot, chance.randint(5, 250 * reach.moments), round(chance.uniform(2, 14), 3)))
    return faults


def _draw_misfortunes(
    chance: random.Random, slots: Sequence[str], partners: Sequence[str], reach: Reach
) -> list[Fault]:
    """Rarer ones: clocks, pools, and partners that break their word."""
    faults: list[Fault] = []
    for slot in slots:
        moments = (200 if slot.startswith("worker") else 40) * reach.moments
        if chance.random() < 0.15:
            faults.append(_draw_jump(chance, slot, reach))
        if chance.random() < 0.15:
            faults.append(PoolExhausted(slot, chance.randint(3, moments), round(chance.uniform(1, 25), 3)))
    if chance.random() < 0.1:
        faults.append(_draw_jump(chance, DATABASE, reach))
    for partner in partners:
        if chance.random() < 0.08:
            begins = chance.uniform(0, reach.seconds / 2)
            manner: Literal["refused", "unreadable"] = chance.choice(("refused", "unreadable"))
            until = begins + chance.uniform(2, 15)
            faults.append(ApiChanged(partner, round(begins, 3), round(until, 3), manner))
    if chance.random() < 0.12:
        # What a warehouse forgets stays on its shelves for ever: that is told apart by nobody but a person.
        partner = chance.choice([name for name in partners if name != "wms"])
        faults.append(MinuteLost(partner, round(chance.uniform(1, reach.seconds), 3), round(chance.uniform(1, 60), 3)))
    if chance.random() < 0.2:
        faults.append(YesterdayAgain(round(chance.uniform(1, reach.seconds * 1.5), 3)))
    return faults


def _draw_jump(chance: random.Random, host: str, reach: Reach) -> ClockJump:
    seconds = chance.choice((-1, 1)) * chance.uniform(1, 90)
    return ClockJump(host, round(chance.uniform(0.5, reach.seconds), 3), round(seconds, 3))


def count_by_kind(faults: Sequence[Fault]) -> dict[str, int]:
    return dict(sorted(Counter(kind_of(fault) for fault in faults).items()))
