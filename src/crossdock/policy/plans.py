"""Plans as configuration: which steps an order takes, chosen by a CEL condition; the first that matches wins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import cel
import msgspec

from crossdock.model.errors import Invalid, Misconfigured

_CHOICES_KEPT_MAX: Final = 4096


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


def check_condition(when: str) -> Any:
    """Compile a condition and try it on an example. Raises Invalid `condition` that says what is wrong."""
    try:
        program = cel.compile(when)
    except ValueError as error:
        message = f"The condition {when!r} is no CEL expression: {str(error).splitlines()[0]}"
        raise Invalid("condition", message, next_action="Mend the expression.") from None
    unknown = sorted(set(program.variables()) - set(PlanFacts.__struct_fields__))
    if unknown:
        message = f"The condition {when!r} names {', '.join(unknown)}, which an order does not have."
        action = f"Use one of {', '.join(PlanFacts.__struct_fields__)}."
        raise Invalid("condition", message, next_action=action)
    try:
        answer = program.execute(_as_context(_EXAMPLE))
    except (RuntimeError, TypeError, ValueError) as error:
        message = f"The condition {when!r} cannot be evaluated: {str(error).splitlines()[0]}"
        raise Invalid("condition", message, next_action="Compare texts with texts, numbers with numbers.") from None
    if not isinstance(answer, bool):
        message = f"The condition {when!r} answers {answer!r} instead of true or false."
        raise Invalid("condition", message, next_action='Compare with something, as in channel == "shop".')
    return program


class Plans:
    """The plans in their order. Conditions are compiled once; answers are kept by just the facts they look at."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self.by_name: Final = {plan.name: plan for plan in plans}
        self._ordered: Final = [(check_condition(plan.when) if plan.when else None, plan) for plan in plans]
        looked_at = {name for program, _ in self._ordered if program is not None for name in program.variables()}
        self._looked_at: Final = tuple(sorted(looked_at))
        self._choices: dict[tuple[object, ...], Plan] = {}

    def choose(self, facts: PlanFacts) -> Plan:
        """Return the first plan whose condition holds. Raises Misconfigured when there is none."""
        key = tuple([getattr(facts, name) for name in self._looked_at])
        chosen = self._choices.get(key)
        if chosen is None:
            chosen = self._first(facts)
            if len(self._choices) >= _CHOICES_KEPT_MAX:
                self._choices.clear()
            self._choices[key] = chosen
        return chosen

    def _first(self, facts: PlanFacts) -> Plan:
        context = _as_context(facts)
        for program, plan in self._ordered:
            if program is None or program.execute(context) is True:
                return plan
        raise Misconfigured(
            "plan_missing", "No plan matches this order.", next_action="End the plans with one that has no condition."
        )


def _as_context(facts: PlanFacts) -> dict[str, Any]:
    context = msgspec.structs.asdict(facts)
    context["warehouses"] = list(facts.warehouses)
    return context
