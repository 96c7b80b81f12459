"""The rig: plays a scenario for a seed in simulated time, judges it, and makes a failing plan as small as it can."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Collection, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from crossdock.ledger.database import open_connection
from crossdock.prove import figures
from crossdock.prove.checkers import Violation, judge
from crossdock.prove.direct import DirectConnection
from crossdock.prove.faults import FAULT_NAMES, Plan
from crossdock.prove.figures import Figures
from crossdock.prove.history import History
from crossdock.prove.order_path import play
from crossdock.prove.run import make_run
from crossdock.prove.scenarios import ORDER_PATH, SCENARIOS, draw, rhythm_of
from crossdock.prove.shrinking import leave_out
from crossdock.prove.virtual_time import VirtualLoop

SHRINK_RUNS_MAX: Final = 120


class Outcome(msgspec.Struct, frozen=True):
    """What came of one seed. `facts` counts orders and facts whose sender was told that they are kept. `lost`: what a
    partner had confirmed and has forgotten: its own breach, which a person mends at the partner."""

    scenario: str
    seed: int
    hash: str
    facts: int
    faults: dict[str, int]
    violations: tuple[Violation, ...]
    seconds: float
    simulated_seconds: float
    plan: Plan
    lost: tuple[str, ...] = ()
    figures: Figures | None = None
    size: int | None = None


class Rig:
    """Use it as a context. It owns one connection to a database that is there for simulations only."""

    def __init__(self, dsn: str) -> None:
        self._chance = random.Random(0)
        self._loop = VirtualLoop(self._chance)
        self._spoken: list[str] = []
        self._connection: asyncpg.Connection[Any] = self._loop.run_until_complete(self._open(dsn))
        self._direct = DirectConnection(self._connection)

    async def _open(self, dsn: str) -> asyncpg.Connection[Any]:
        self._loop.outstanding += 1
        try:
            # Its tables stay small: plans are made once. No disk is waited for: its server never loses power.
            return await open_connection(dsn, plan_cache_mode="force_generic_plan", synchronous_commit="off")
        finally:
            self._loop.outstanding -= 1

    def close(self) -> None:
        self._direct.release()
        self._loop.outstanding += 1
        try:
            self._loop.run_until_complete(self._connection.close())
        finally:
            self._loop.outstanding -= 1
            self._loop.close()

    def play(
        self, seed: int, wanted: Collection[str] = FAULT_NAMES, plan: Plan | None = None, scenario: str = ORDER_PATH,
        size: int | None = None,
    ) -> tuple[Outcome, History]:  # fmt: skip
        """Play one seed; `plan` in place of the drawn one, `size` orders in place of the scenario's own number."""
        started = time.monotonic()
        business, drawn, _ = draw(scenario, seed, wanted, size)
        chosen = plan if plan is not None else drawn
        self._chance.seed(f"{seed}/schedule")
        self._loop.begin_again()
        rhythm = rhythm_of(scenario, size)
        run = make_run(self._loop, seed, business, chosen, self._connection, self._direct, scenario, rhythm)
        self._spoken.clear()
        with _listening(self._spoken):
            history = self._loop.run_until_complete(play(run))
            self._loop.run_until_complete(_take_down())
        history.spoken = list(self._spoken)
        faults = Counter(deed.nemesis for deed in history.deeds)
        outcome = Outcome(
            scenario, seed, history.hash(), len(history.acknowledged) + len(history.recorded_facts),
            dict(sorted(faults.items())), tuple(judge(history)), round(time.monotonic() - started, 3),
            history.virtual_seconds, chosen, tuple(sorted({effect.key for effect in history.lost})),
            figures.count(history, SCENARIOS[scenario].hour_seconds), size,
        )  # fmt: skip
        return outcome, history

    def shrink(self, outcome: Outcome) -> Outcome:
        """Leave out faults and orders while the same checker still finds something."""
        checkers = {violation.checker for violation in outcome.violations}
        best = outcome

        def still_fails(plan: Plan) -> bool:
            nonlocal best
            tried, _ = self.play(outcome.seed, plan=plan, scenario=outcome.scenario, size=outcome.size)
            fails = bool(checkers & {violation.checker for violation in tried.violations})
            best = tried if fails else best
            return fails

        leave_out(outcome.plan.faults, lambda some: still_fails(Plan(some, best.plan.without_orders)), SHRINK_RUNS_MAX)
        _, _, orders = draw(outcome.scenario, outcome.seed, (), outcome.size)
        left = [order for order in range(orders) if order not in outcome.plan.without_orders]

        def without_others(some: tuple[int, ...]) -> Plan:
            return Plan(best.plan.faults, tuple(order for order in range(orders) if order not in some))

        leave_out(left, lambda some: still_fails(without_others(some)), SHRINK_RUNS_MAX)
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
