"""What no single table can tell: names that must lead somewhere, and plans that must be whole.

Sections may be None where they could not be read; then only the others are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from crossdock.model.codes import COUNTRIES, CURRENCY_DIGITS
from crossdock.model.errors import Invalid
from crossdock.policy.connections import ConnectionPolicy
from crossdock.policy.console import ConsolePolicy
from crossdock.policy.plans import Plan, PlannedStep, check_condition
from crossdock.policy.policy import ChannelPolicy, Location, Sourcing
from crossdock.policy.problems import Problems
from crossdock.policy.stock import StockPolicy
from crossdock.policy.tax import TaxPolicy, check_tax_condition

PLACEHOLDERS: Final = ("@channel", "@warehouse")
_BOOKED_UPON: Final = ("payment.capture", "erp.ship")
Sections = Mapping[str, Any]


def check_references(read: Sections, problems: Problems) -> None:
    for section, check in _CHECKS.items():
        if read.get(section) is not None:
            check(read, problems)


def _check_cell(read: Sections, problems: Problems) -> None:
    _check_connection(read, read["cell"].erp, "cell.erp", problems)


def _check_regions(read: Sections, problems: Problems) -> None:
    for country in read["regions"]:
        if country not in COUNTRIES:
            message = f"{country} is no country."
            problems.add(f"regions.{country}", message, "Use an ISO 3166-1 alpha-2 code such as DE.")


def _check_locations(read: Sections, problems: Problems) -> None:
    seen: set[str] = set()
    locations: Sequence[Location] = read["locations"]
    for index, location in enumerate(locations):
        path = f"locations[{index}]"
        if location.code in seen:
            problems.add(f"{path}.code", f"The location {location.code} is there twice.", "Remove one of them.")
        seen.add(location.code)
        _check_connection(read, location.connection, f"{path}.connection", problems)


def _check_sourcing(read: Sections, problems: Problems) -> None:
    sourcing: Sourcing = read["sourcing"]
    codes = {location.code for location in read["locations"] or ()}
    regions = set((read["regions"] or {}).values())
    for region, preference in sourcing.preference.items():
        path = f"sourcing.preference.{region}"
        if region not in regions:
            problems.add(path, f"No country belongs to the region {region}.", "Add one to [regions], or remove this.")
        if not preference:
            problems.add(path, f"The region {region} has no location.", "Name at least one.")
        for code in preference:
            if code not in codes:
                problems.add(path, f"There is no location {code}.", f"Use one of: {', '.join(sorted(codes))}.")
    for region in sorted(regions - set(sourcing.preference)):
        message = f"Orders to the region {region} have no location to ship from."
        problems.add("sourcing.preference", message, f'Add {region} = ["..."].')


def _check_channels(read: Sections, problems: Problems) -> None:
    channels: Mapping[str, ChannelPolicy] = read["channels"]
    for name, channel in channels.items():
        path = f"channels.{name}"
        if channel.connection:
            _check_connection(read, channel.connection, f"{path}.connection", problems)
        for field, values in (("currencies", channel.currencies), ("payments", channel.payments)):
            if not values:
                problems.add(f"{path}.{field}", "This list is empty.", "Name at least one.")
        for currency in channel.currencies:
            if currency not in CURRENCY_DIGITS:
                message = f"{currency} is no currency."
                problems.add(f"{path}.currencies", message, "Use an ISO 4217 code such as EUR.")
        if channel.price_tolerance_percent < 0:
            problems.add(f"{path}.price_tolerance_percent", "A tolerance is zero or more.", "Correct the number.")
        if not 1 <= channel.lines_max <= 10_000:
            problems.add(f"{path}.lines_max", "An order has 1 to 10,000 lines.", "Correct the number.")


def _check_plans(read: Sections, problems: Problems) -> None:
    plans: Sequence[Plan] = read["plans"]
    seen: set[str] = set()
    for index, plan in enumerate(plans):
        path = f"plans[{index}]"
        if plan.name in seen:
            problems.add(f"{path}.name", f"The plan {plan.name} is there twice.", "Give it another name.")
        seen.add(plan.name)
        _check_when(plan, path, index == len(plans) - 1, problems)
        _check_steps(read, plan.steps, f"{path}.steps", set(), problems)
        of_order = {step.operation for step in plan.steps}
        _check_steps(read, plan.shipment_steps, f"{path}.shipment_steps", of_order, problems)
        for position, step in enumerate(plan.steps):
            if step.connection == "@warehouse" and step.each != "warehouse":
                message = f"{step.operation} is done at @warehouse, but once for the whole order."
                problems.add(f"{path}.steps[{position}]", message, 'Add each = "warehouse".')
        _check_payment(plan, path, problems)
        for operation in plan.on_refused:
            if operation not in of_order:
                message = f"{operation} is no step of this plan."
                problems.add(f"{path}.on_refused", message, f"Use one of: {', '.join(sorted(of_order))}.")
    if not plans:
        problems.add("plans", "There is no plan.", "Add [[plans]].")


def _check_payment(plan: Plan, path: str, problems: Problems) -> None:
    """What was captured for a shipment is booked upon that shipment's invoice: without either there is nothing."""
    for steps, field in ((plan.steps, "steps"), (plan.shipment_steps, "shipment_steps")):
        for position, step in enumerate(steps):
            missing = [needed for needed in _BOOKED_UPON if needed not in step.needs]
            if step.operation == "erp.payment" and (missing or field == "steps"):
                message = "erp.payment books what was captured for a shipment upon the shipment's invoice."
                needs = ", ".join(f'"{needed}"' for needed in _BOOKED_UPON)
                action = f"Put it under shipment_steps, with needs = [{needs}]."
                problems.add(f"{path}.{field}[{position}]", message, action)


def _check_when(plan: Plan, path: str, is_last: bool, problems: Problems) -> None:
    if not plan.when:
        if not is_last:
            message = f"The plan {plan.name} has no condition, so the plans after it are never reached."
            problems.add(path, message, "Give it a condition, or move it to the end.")
        return
    if is_last:
        message = "The last plan must be for all other orders."
        problems.add(f"{path}.when", message, "Add a last plan without a condition.")
    try:
        check_condition(plan.when)
    except Invalid as error:
        problems.add(f"{path}.when", error.message, error.next_action)


def _check_steps(
    read: Sections, steps: Sequence[PlannedStep], path: str, known: set[str], problems: Problems
) -> None:
    operations = [step.operation for step in steps]
    reachable = set(known)
    for index, step in enumerate(steps):
        place = f"{path}[{index}]"
        if operations.count(step.operation) > 1:
            problems.add(place, f"{step.operation} is there twice.", "Remove one of them.")
        if step.connection not in PLACEHOLDERS:
            _check_connection(read, step.connection, place, problems)
        for needed in step.needs:
            if needed not in operations and needed not in known:
                message = f"{step.operation} needs {needed}, which is no step of this plan."
                problems.add(place, message, f"Use one of: {', '.join(sorted({*operations, *known}))}.")
            elif needed not in reachable:
                # Steps stand in the order in which they can be done, so there can be no circle.
                message = f"{step.operation} needs {needed}, which comes later."
                problems.add(place, message, f"Write {step.operation} after {needed}.")
        reachable.add(step.operation)


def _check_connection(read: Sections, name: str, path: str, problems: Problems) -> None:
    # By name, so that a connection with a problem of its own is not reported as missing everywhere.
    names: Sequence[str] = read["connection_names"]
    if name not in names:
        known = ", ".join(names) or "none is configured"
        problems.add(path, f"There is no connection {name}.", f"Add [connections.{name}], or use one of: {known}.")


def _check_connections(read: Sections, problems: Problems) -> None:
    connections: Mapping[str, ConnectionPolicy] = read["connections"]
    for name, connection in connections.items():
        for field in ("calls_per_second", "burst"):
            number = getattr(connection, field)
            if number is not None and number <= 0:
                problems.add(f"connections.{name}.{field}", "A pace is more than zero.", "Correct the number.")
        if "" in connection.webhook_secrets:
            problems.add(f"connections.{name}.webhook_secrets", "A webhook secret is empty.", "Set it.")


def _check_console(read: Sections, problems: Problems) -> None:
    console: ConsolePolicy = read["console"]
    if console.public_url and not console.is_address:
        message = f"{console.public_url} is no address of a host."
        problems.add("console.public_url", message, "Write scheme and host only, such as https://crossdock.example.com.")


def _check_stock(read: Sections, problems: Problems) -> None:
    stock: StockPolicy = read["stock"]
    codes = {location.code for location in read["locations"] or ()}
    seen: set[tuple[str, datetime]] = set()
    for index, owner in enumerate(stock.owners):
        path = f"stock.owners[{index}]"
        if read["locations"] is not None and owner.location not in codes:
            message = f"There is no location {owner.location}."
            problems.add(f"{path}.location", message, f"Use one of: {', '.join(sorted(codes))}.")
        _check_connection(read, owner.connection, f"{path}.connection", problems)
        if owner.since.tzinfo is None:
            problems.add(f"{path}.since", "This time has no zone.", "Write it as 2026-03-01T00:00:00Z.")
        elif (owner.location, owner.since) in seen:
            message = f"{owner.location} has two owners from the same time on."
            problems.add(f"{path}.since", message, "Say from when the second one owns it.")
        else:
            seen.add((owner.location, owner.since))
        if owner.contains == "orders" and not owner.told_by:
            message = "An owner whose balances contain orders is told of them by an operation."
            problems.add(f"{path}.told_by", message, 'Add told_by = "erp.place_order".')
        if owner.clock_skew_seconds < 0:
            problems.add(f"{path}.clock_skew_seconds", "A skew is zero or more.", "Correct the number.")
    for location in stock.safety:
        if read["locations"] is not None and location not in codes:
            message = f"There is no location {location}."
            problems.add(f"stock.safety.{location}", message, f"Use one of: {', '.join(sorted(codes))}.")


def _check_tax(read: Sections, problems: Problems) -> None:
    tax: TaxPolicy = read["tax"]
    seen: set[str] = set()
    for index, rule in enumerate(tax.rules):
        path = f"tax.rules[{index}]"
        if not rule.name.strip():
            problems.add(f"{path}.name", "The rule has no name.", "Orders are stamped with it: give it one.")
        elif rule.name in seen:
            problems.add(f"{path}.name", f"The rule {rule.name} is there twice.", "Give it another name.")
        seen.add(rule.name)
        if rule.when:
            try:
                check_tax_condition(rule.when)
            except Invalid as error:
                problems.add(f"{path}.when", error.message, error.next_action)
        elif index < len(tax.rules) - 1:
            message = f"The rule {rule.name} has no condition, so the rules after it are never reached."
            problems.add(path, message, "Give it a condition, or move it to the end.")
    if not tax.rules and tax != TaxPolicy():
        problems.add("tax", "Without a rule nothing of this section counts.", "Add [[tax.rules]], or remove it.")


_CHECKS: Final[Mapping[str, Callable[[Sections, Problems], None]]] = MappingProxyType({
    "cell": _check_cell,
    "regions": _check_regions,
    "locations": _check_locations,
    "sourcing": _check_sourcing,
    "channels": _check_channels,
    "connections": _check_connections,
    "plans": _check_plans,
    "stock": _check_stock,
    "tax": _check_tax,
    "console": _check_console,
})  # fmt: skip
