"""The rig: plays a scenario for a seed in simulated time, judges it, and makes a failing plan as small as it can."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from crossdock.ledger.database import open_connection
from crossdock.prove.checkers import Violation, judge
from crossdock.prove.faults import FAULT_NAMES, Outage, Plan, draw_plan
from crossdock.prove.history import History
from crossdock.prove.order_path import ERP_OUTAGE, ORDER_PATH, SLOTS, make_run, play
from crossdock.prove.processes import count_kills
from crossdock.prove.systems import SYSTEMS
from crossdock.prove.trade import draw_business
from crossdock.prove.virtual_time import VirtualLoop

SCENARIOS: Final = {
    ORDER_PATH: "A shop's orders through tax, payment, ERP, warehouse and back, on a bad day (simulated time).",
    ERP_OUTAGE: "Twice as many orders, and the ERP is away for up to a minute while they come (simulated time).",
}
SHRINK_RUNS_MAX: Final = 120


class Outcome(msgspec.Struct, frozen=True):
    """What came of one seed. `facts` counts orders and facts whose sender was told that they are kept."""

    scenario: str
    seed: int
    hash: str
    facts: int
    faults: dict[str, int]
    violations: tuple[Violation, ...]
    seconds: float
    simulated_seconds: float
    plan: Plan


class Rig:
    """Use it as a context. It owns one connection to a database that is there for simulations only."""

    def __init__(self, dsn: str) -> None:
        self._chance = random.Random(0)
        self._loop = VirtualLoop(self._chance)
        self._spoken: list[str] = []
        self._connection: asyncpg.Connection[Any] = self._loop.run_until_complete(self._open(dsn))

    async def _open(self, dsn: str) -> asyncpg.Connection[Any]:
        self._loop.outstanding += 1
        try:
            return await open_connection(dsn)
        finally:
            self._loop.outstanding -= 1

    def close(self) -> None:
        self._loop.outstanding += 1
        try:
            self._loop.run_until_complete(self._connection.close())
        finally:
            self._loop.outstanding -= 1
            self._loop.close()

    def play(
        self, seed: int, wanted: Collection[str] = FAULT_NAMES, plan: Plan | None = None, scenario: str = ORDER_PATH
    ) -> tuple[Outcome, History]:
        """Play one seed; `plan` in place of the drawn one."""
        started = time.monotonic()
        chance = random.Random(f"{seed}/business")
        orders = chance.randint(3, 7) if scenario == ORDER_PATH else chance.randint(8, 14)
        business = draw_business(chance, orders)
        drawn = draw_plan(random.Random(f"{seed}/faults"), SLOTS, SYSTEMS, orders, wanted)
        if scenario == ERP_OUTAGE:
            begins = chance.uniform(0, 3)
            away = Outage("erp", round(begins, 3), round(begins + chance.uniform(8, 60), 3))
            drawn = msgspec.structs.replace(drawn, faults=(away, *drawn.faults))
        chosen = plan if plan is not None else drawn
        self._chance.seed(f"{seed}/schedule")
        self._loop.begin_again()
        run = make_run(self._loop, seed, business, chosen, self._connection, scenario)
        self._spoken.clear()
        with _listening(self._spoken):
            history = self._loop.run_until_complete(play(run))
            self._loop.run_until_complete(_take_down())
        history.spoken = list(self._spoken)
        faults: dict[str, int] = {}
        for partner in run.partners.values():
            for kind, count in partner.injected.items():
                faults[kind] = faults.get(kind, 0) + count
        kills = count_kills(run.slots)
        cuts = sum(slot.cut for slot in run.slots)
        pauses = sum(slot.paused for slot in run.slots)
        copies = {
            kind: sum(run.plan.copies(kind, order) - 1 for order in range(orders))
            for kind in ("duplicate_order", "duplicate_fact")
        }
        faults |= {
            kind: count for kind, count in (("kill", kills), ("pause", pauses), ("cut", cuts), *copies.items()) if count
        }
        outcome = Outcome(
            scenario, seed, history.hash(), len(history.acknowledged) + len(history.recorded_facts),
            dict(sorted(faults.items())), tuple(judge(history)), round(time.monotonic() - started, 3),
            history.virtual_seconds, chosen,
        )  # fmt: skip
        return outcome, history

    def shrink(self, outcome: Outcome) -> Outcome:
        """Leave out faults and orders while the same checker still finds something."""
        checkers = {violation.checker for violation in outcome.violations}
        best = outcome
        runs = 0
        for size in (len(best.plan.faults) // 2, len(best.plan.faults) // 4, 1):
            first = 0
            while size and first < len(best.plan.faults) and runs < SHRINK_RUNS_MAX:
                faults = best.plan.faults[:first] + best.plan.faults[first + size :]
                tried, _ = self.play(
                    best.seed, plan=msgspec.structs.replace(best.plan, faults=faults), scenario=best.scenario
                )
                runs += 1
                if checkers & {violation.checker for violation in tried.violations}:
                    best = tried
                else:
                    first += size
        for order in range(15):
            without = (*best.plan.without_orders, order)
            tried, _ = self.play(
                best.seed, plan=msgspec.structs.replace(best.plan, without_orders=without), scenario=best.scenario
            )
            if checkers & {violation.checker for violation in tried.violations}:
                best = tried
        return best


@contextmanager
def _listening(lines: list[str]) -> Iterator[None]:
    """Log lines are collected while a simulation runs, as its checkers want to read them."""

    def collect(_logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
        lines.append(f"{method} {event}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[collect], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)


async def _take_down() -> None:
    """What was left of the dead: tasks that nobody waits for."""
    current = asyncio.current_task()
    rest = [task for task in asyncio.all_tasks() if task is not current]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
