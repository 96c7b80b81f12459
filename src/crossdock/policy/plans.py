"""Plans as configuration: which steps an order takes, chosen by a CEL condition; the first that matches wins."""

from __future__ import annotations

from typing import Literal

import msgspec


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
