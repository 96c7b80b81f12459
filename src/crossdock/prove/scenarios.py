"""The scenarios that are played in simulated time: what each draws from a seed, and how far it reaches."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from crossdock.engine.publisher import Pauses
from crossdock.engine.worker import Housekeeping
from crossdock.prove import business_day, stock_told
from crossdock.prove.faults import DATABASE, FAULT_NAMES, ClockJump, Fault, Outage, Plan, Reach, draw_plan
from crossdock.prove.run import SLOTS, Rhythm
from crossdock.prove.systems import SYSTEMS
from crossdock.prove.trade import Business, draw_business, draw_rush

ORDER_PATH: Final = "order-path"
ERP_OUTAGE: Final = "erp-outage"
RUSH: Final = "rush"
CALM: Final = Rhythm(
    idle_seconds=1.5, feed_seconds=1.2, poll_seconds=1.2, watch_seconds=1.4,
    housekeeping=Housekeeping(
        expiry_seconds=2.5, supply_seconds=4.0, stock_holds_seconds=2.5, mended_seconds=4.0, watch_seconds=6.0
    ),
)  # fmt: skip
BUSINESS_DAY: Final = business_day.NAME
STOCK_TOLD: Final = stock_told.NAME


@dataclass(frozen=True, slots=True)
class Scenario:
    """`orders`: how many there are when nobody says. `rush`: the share of seeds that are one, and where somebody says
    how many orders (`sized_rush`). `always` draws what goes wrong whatever else does; `hour_seconds` is a column of the
    report; `kinds` are the faults that there may be, `more` draws those of its own, hosts that are
    `steady` have clocks that do not jump; with `has_hours` the day takes as
    long as it takes, however many orders it has."""

    title: str
    orders: tuple[int, int]
    draw: Callable[[random.Random, int], Business]
    always: Callable[[random.Random], Outage] | None = None
    rhythm: Rhythm = Rhythm()  # noqa: RUF009 - frozen
    reach: Reach = Reach()  # noqa: RUF009 - frozen
    hour_seconds: float = 5.0
    has_hours: bool = False
    rush: float = 0
    sized_rush: float = 0
    kinds: frozenset[str] = frozenset(FAULT_NAMES)
    more: Callable[[int, Business, Collection[str]], tuple[Fault, ...]] | None = None
    steady: tuple[str, ...] = ()


def _draw_outage(chance: random.Random) -> Outage:
    begins = chance.uniform(0, 3)
    return Outage("erp", round(begins, 3), round(begins + chance.uniform(8, 60), 3))


SCENARIOS: Final[Mapping[str, Scenario]] = {
    ORDER_PATH: Scenario(
        "A shop's orders through tax, payment, ERP, warehouse and back, on a bad day (simulated time).", (3, 7),
        draw_business, sized_rush=0.3,
    ),
    RUSH: Scenario(
        "Ten to twenty buyers want the same few goods at the same moment (simulated time).", (10, 20), draw_business,
        rhythm=Rhythm(is_slow_alone=True), rush=1,
    ),
    ERP_OUTAGE: Scenario(
        "Twice as many orders, and the ERP is away for up to a minute while they come (simulated time).", (8, 14),
        draw_business, _draw_outage,
    ),
    BUSINESS_DAY: Scenario(
        "A distributor's day from six to ten: three channels, peaks, a campaign, prices, supply, the ERP's maintenance "
        "window (simulated time).", (150, 220), business_day.draw_day, business_day.draw_maintenance,
        Rhythm(idle_seconds=1.5, feed_seconds=2, watch_seconds=5, run_seconds_max=900),
        Reach(moments=40, seconds=business_day.at_hour(business_day.HOURS), pages=300, density=0.03),
        business_day.HOUR_SECONDS, has_hours=True,
    ),
    STOCK_TOLD: Scenario(
        "Four channels are told stock, each in its manner, while goods move, buyers buy and others write there "
        "(simulated time).", (6, 16), stock_told.draw_told,
        rhythm=dataclasses.replace(
            CALM, run_seconds_max=280, telling=Pauses((0.1, 0.6), (0.1, 1.2)),
            housekeeping=dataclasses.replace(CALM.housekeeping, reconcile_seconds=5.0),
        ),
        reach=Reach(moments=4, seconds=stock_told.WINDOW_SECONDS, pages=20), kinds=stock_told.KINDS,
        more=stock_told.draw_shelf_faults, steady=(DATABASE,),
    ),
}  # fmt: skip


LARGE: Final = 40
"""So many orders outgrow the plans that were made when the tables were empty."""


def draw(scenario: str, seed: int, wanted: Collection[str], size: int | None = None) -> tuple[Business, Plan, int]:
    """The business and the faults of a seed, and how many orders it has: as the scenario says, or `size`."""
    chosen = SCENARIOS[scenario]
    chance = random.Random(f"{seed}/business")
    drawn = chance.randint(*chosen.orders)
    orders = size or drawn
    business = chosen.draw(chance, orders)
    # By chances of their own: what was drawn before there were rushes stays as it was.
    rush = random.Random(f"{seed}/rush")
    if rush.random() < (chosen.sized_rush if size else chosen.rush):
        business = draw_rush(rush, business)
    partners = (*SYSTEMS, *sorted(set(business.channels.values())))
    reach = chosen.reach.stretch(_growth(chosen, size), size * 2 / sum(chosen.orders)) if size else chosen.reach
    wanted = chosen.kinds.intersection(wanted)
    plan = draw_plan(seed, SLOTS, partners, orders, wanted, reach)
    if chosen.steady:
        kept = tuple(one for one in plan.faults if not (isinstance(one, ClockJump) and one.host in chosen.steady))
        plan = msgspec.structs.replace(plan, faults=kept)
    if chosen.more is not None:
        plan = msgspec.structs.replace(plan, faults=(*plan.faults, *chosen.more(seed, business, wanted)))
    if chosen.always is not None:
        faults: tuple[Fault, ...] = (chosen.always(chance), *plan.faults)
        plan = msgspec.structs.replace(plan, faults=faults)
    return business, plan, orders


def rhythm_of(scenario: str, size: int | None = None) -> Rhythm:
    """How patient a run is, and how restless its processes: one with more orders takes longer. Where somebody said how
    many, they look less often whether there is something to do: that is most of what a small run costs."""
    chosen = SCENARIOS[scenario]
    if not size:
        return chosen.rhythm
    return dataclasses.replace(
        chosen.rhythm, idle_seconds=max(CALM.idle_seconds, chosen.rhythm.idle_seconds),
        feed_seconds=max(CALM.feed_seconds, chosen.rhythm.feed_seconds),
        poll_seconds=CALM.poll_seconds, watch_seconds=max(CALM.watch_seconds, chosen.rhythm.watch_seconds),
        housekeeping=CALM.housekeeping, replans=size >= LARGE, is_slow_alone=True,
        run_seconds_max=chosen.rhythm.run_seconds_max * max(1.0, _growth(chosen, size)),
    )  # fmt: skip


def _growth(chosen: Scenario, size: int) -> float:
    """How much longer a run of so many orders takes than a usual one."""
    return 1.0 if chosen.has_hours else math.sqrt(size * 2 / sum(chosen.orders))
