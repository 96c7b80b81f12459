"""Plans as configuration: which steps an order takes, chosen by a CEL condition; the first that matches wins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from crossdock.model.errors import Misconfigured
from crossdock.policy.conditions import Choices, compile_condition


class PlannedStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`connection` is a connection's name, `@channel` or `@warehouse`; `needs` are operations of the same plan."""

    operation: str
    connection: str
    needs: tuple[str, ...] = ()
    each: Literal["order", "warehouse"] = "order"


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`steps` are laid at acceptance, `shipment_steps` for each shipment part.

    `on_refused`: what becomes of the order when an operation is finally refused (operations not named: the step is
    parked). `completes_on`: "shipment" when all lines have left and all steps are done; "steps" for orders without a
    warehouse (services), whose lines count as shipped when the steps are done.
    """

    name: str
    steps: tuple[PlannedStep, ...]
    when: str = ""
    shipment_steps: tuple[PlannedStep, ...] = ()
    on_refused: dict[str, Literal["hold", "cancel"]] = {}
    completes_on: Literal["shipment", "steps"] = "shipment"


class PlanFacts(msgspec.Struct, frozen=True):
    """What a plan's condition may look at. `net` is the order's net amount in whole currency units, rounded down."""

    channel: str
    order_type: str
    region: str
    currency: str
    payment: str
    net: int
    line_count: int
    customer: str
    warehouses: tuple[str, ...]


_EXAMPLE: Final = PlanFacts("shop", "consumer", "EU", "EUR", "card", 100, 1, "", ("HAM",))


def check_condition(when: str) -> None:
    """Raises Invalid `condition` that says what is wrong with a plan's condition."""
    compile_condition(when, _EXAMPLE)


class Plans:
    """The plans in their order."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self.by_name: Final = {plan.name: plan for plan in plans}
        self._choices: Final = Choices([(plan.when, plan) for plan in plans], _EXAMPLE)

    def choose(self, facts: PlanFacts) -> Plan:
        """Return the first plan whose condition holds. Raises Misconfigured when there is none."""
        chosen = self._choices.choose(facts)
        if chosen is None:
            raise Misconfigured(
                "plan_missing", "No plan matches this order.",
                next_action="End the plans with one that has no condition.",
            )  # fmt: skip
        return chosen
