"""How orders are taxed: rules with CEL conditions, of which the first that holds decides, as with plans."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from crossdock.model.orders import TaxTreatment
from crossdock.policy.conditions import Choices, compile_condition

Stop = Literal["hold", "refuse"]


class TaxRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Orders for which `when` holds are treated so. `without_identifier`: what follows where a reverse charge lacks the
    account's identifier for value added tax, or that cannot be one of the European Union's."""

    name: str
    treatment: TaxTreatment
    when: str = ""
    without_identifier: Stop = "hold"


class TaxPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`categories` are those of products that can be taxed; none named: all. `unruled`: an order that no rule fits.
    Without any rule nothing is judged: what the account says of exemption goes to the tax engine."""

    rules: tuple[TaxRule, ...] = ()
    categories: tuple[str, ...] = ()
    category_unknown: Stop = "hold"
    unruled: Stop = "hold"


class TaxFacts(msgspec.Struct, frozen=True):
    """What a rule's condition may look at. `country` is where the goods go; `exempt`: the account need not be charged
    tax; `identifier_country`: that of the account's identifier for value added tax, "" without one of the Union's."""

    channel: str
    order_type: str
    region: str
    country: str
    currency: str
    payment: str
    customer: str
    exempt: bool
    identifier_country: str


_EXAMPLE: Final = TaxFacts("shop", "consumer", "EU", "DE", "EUR", "card", "", False, "")


def check_tax_condition(when: str) -> None:
    """Raises Invalid `condition` that says what is wrong with a rule's condition."""
    compile_condition(when, _EXAMPLE)


class Taxation:
    """The tax policy, its rules compiled."""

    def __init__(self, policy: TaxPolicy) -> None:
        self.policy: Final = policy
        self._choices: Final = Choices([(rule.when, rule) for rule in policy.rules], _EXAMPLE)

    def choose(self, facts: TaxFacts) -> TaxRule | None:
        return self._choices.choose(facts)
