"""How an order is taxed, by the policy's rules, and what speaks against taxing it so. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from crossdock.model.documents import Customer, Product
from crossdock.model.errors import Invalid
from crossdock.model.orders import OrderPlaced, TaxDecision
from crossdock.model.tax_identifiers import check_tax_identifier, country_of_tax_identifier
from crossdock.policy.tax import Stop, Taxation, TaxFacts, TaxRule

# What a person releases although no rule lets it pass: charging tax is what can be mended later by a credit note.
_RELEASED: Final = TaxDecision("taxed")


class TaxProblem(NamedTuple):
    wish: Stop
    code: str
    message: str
    line: str = ""
    field: str = ""


class TaxAnswer(NamedTuple):
    """`decision` is what counts once the problems are waived; None where the cell has no tax policy."""

    decision: TaxDecision | None
    problems: tuple[TaxProblem, ...] = ()


def decide_tax(
    placed: OrderPlaced, taxation: Taxation, lines: Iterable[tuple[str, Product]], customer: Customer | None, *,
    channel: str, order_type: str, region: str,
) -> TaxAnswer:  # fmt: skip
    """`lines` are the order's, each with its product."""
    policy = taxation.policy
    if not policy.rules:
        return TaxAnswer(None)
    country = placed.ship_to.country
    identifier = customer.tax_identifier if customer is not None else ""
    rule = taxation.choose(TaxFacts(
        channel, order_type, region, country, placed.currency, placed.payment.method, placed.customer,
        customer is not None and customer.tax_exempt, country_of_tax_identifier(identifier) if identifier else "",
    ))  # fmt: skip
    if rule is None:
        message = f"No tax rule says how an order of {channel} to {country} is taxed."
        return TaxAnswer(_RELEASED, (TaxProblem(policy.unruled, "tax_unruled", message, field="ship_to.country"),))
    if rule.treatment == "reverse_charge":
        return _shift_to_customer(rule, identifier, customer)
    if rule.treatment == "taxed" and policy.categories:
        problems = tuple([
            TaxProblem(
                policy.category_unknown, "tax_category_unknown",
                f"{product.sku} has the tax category {product.tax_category or '(none)'}, which has no rate here.",
                name, "sku",
            )
            for name, product in lines if product.tax_category not in policy.categories
        ])  # fmt: skip
        return TaxAnswer(TaxDecision("taxed", rule.name), problems)
    return TaxAnswer(TaxDecision(rule.treatment, rule.name))


def _shift_to_customer(rule: TaxRule, identifier: str, customer: Customer | None) -> TaxAnswer:
    """The customer owes the tax, which its identifier must show. The reason does not repeat the identifier."""
    account = f"account {customer.code}" if customer is not None else "an order without an account"
    if not identifier:
        message = f"The rule {rule.name} leaves the tax to {account}, which has no identifier for value added tax."
    else:
        try:
            compact = check_tax_identifier(identifier, "customer")
        except Invalid as error:
            message = f"The tax identifier of {account} is not valid. {error.message}"
        else:
            return TaxAnswer(TaxDecision("reverse_charge", rule.name, compact))
    return TaxAnswer(_RELEASED, (TaxProblem(rule.without_identifier, "tax_identifier", message, field="customer"),))
