"""What the engine is given from outside: the clock, chance, and where plans and connections lead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from crossdock.kit.connector import Connector
from crossdock.model.errors import Misconfigured
from crossdock.model.orders import Order
from crossdock.policy.plans import Plan
from crossdock.rules.decision import Decision
from crossdock.rules.ownership import NO_OWNERS, Ownership
from crossdock.rules.plan import Routes

Clock = Callable[[], datetime]
Chance = Callable[[], float]
"""A number in [0, 1)."""


class Counts(Protocol):
    """Told what was committed, so that somebody may count it."""

    def count_order(self, channel: str, answer: str) -> None: ...

    def count_facts(self, connection: str, count: int) -> None: ...


class NoCounts:
    """Nobody counts."""

    def count_order(self, channel: str, answer: str) -> None: ...

    def count_facts(self, connection: str, count: int) -> None: ...


NO_COUNTS: Final = NoCounts()


def system_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class PlanBook:
    """Plans by name, where channels and warehouses are connected, who owns stock where, which channels are told it."""

    plans: Mapping[str, Plan]
    channel_connections: Mapping[str, str]
    warehouse_connections: Mapping[str, str]
    ownership: Ownership = NO_OWNERS
    told_channels: frozenset[str] = frozenset()

    def plan_of(self, order: Order) -> Plan:
        """The plan that an order follows since it was accepted. Raises Misconfigured if it was taken away since."""
        plan = self.plans.get(order.plan)
        if plan is None:
            raise Misconfigured(
                "plan_unknown", f"{order.number} follows the plan {order.plan!r}, which the configuration lost.",
                field="plans", next_action="Put the plan back until its orders are complete, then replay.",
            )  # fmt: skip
        return plan

    def ends_on_steps(self, order: Order, decision: Decision, steps_open: int) -> bool | None:
        """Whether the order is delivered when its last step is done; None while it has steps that are not.
        `steps_open` are those laid before the decision. Raises Misconfigured."""
        if steps_open + len(decision.steps) or decision.cancel_steps:
            return None
        return decision.progress.state == "accepted" and self.plan_of(order).completes_on == "steps"

    def routes(self, channel: str) -> Routes:
        return Routes(self.channel_connections.get(channel, ""), self.warehouse_connections)

    def channel_of(self, connection: str) -> str:
        """The channel that a connection's orders belong to; the connection's own name if none says so."""
        for channel, name in self.channel_connections.items():
            if name == connection:
                return channel
        return connection


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """A configured partner with its opened client. `feed_seconds` overrides the declared poll intervals."""

    name: str
    connector: Connector
    client: Any
    calls_per_second: float | None = None
    burst: float = 10.0
    concurrency: int = 4
    feed_seconds: Mapping[str, float] = field(default_factory=dict)
